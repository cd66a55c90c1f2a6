"""Who calls itself: only where the thread that asks is the one that would have to answer (OTP calling_self). And its own mail."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client.itself import is_itself, own_kind, refuse_itself, sent_to_itself
from dspex_runtime.errors import CallError, UnserialisableError
from dspex_runtime.host.context import Process
from dspex_runtime.wire.codec import Codec


def become(monkeypatch: pytest.MonkeyPatch, *, ready: bool = True, server: bool = False, concurrency: int = 1) -> None:
    own = SimpleNamespace(socket="/s", id="sup/it", launch=SimpleNamespace(concurrency=concurrency))
    monkeypatch.setattr(Process, "assignment", own)
    monkeypatch.setattr(Process, "loop", object() if ready else None)
    monkeypatch.setattr(Process, "server", object() if server else None)


def refused() -> bool:
    try:
        refuse_itself("sup/it")
    except CallError as exc:
        return exc.code == "calling_self" and not exc.retryable
    return False


def test_an_address_is_a_runtime_and_a_full_id(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_itself("/s", "sup/it")
    become(monkeypatch)
    assert is_itself("/s", "sup/it")
    assert not is_itself("/s", "sup/other")
    assert not is_itself("/another", "sup/it")


def test_in_init_a_process_knows_what_it_is_before_the_runtime_does(monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, ready=False, server=True)
    assert own_kind("/s", "sup/it") == "server"
    assert own_kind("/s", "sup/other") is None
    become(monkeypatch, ready=False)
    assert own_kind("/s", "sup/it") == "module"


@pytest.mark.parametrize(
    ("how", "deadlock"),
    [
        ({"server": True, "concurrency": 4}, True),
        ({"concurrency": 1}, True),
        ({"concurrency": 4}, False),
        ({"concurrency": 4, "ready": False}, True),
    ],
)
def test_calling_self_is_refused_where_nobody_could_answer(
    monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], deadlock: bool
) -> None:
    become(monkeypatch, **how)
    assert refused() is deadlock


def test_another_thread_of_the_process_may_call(monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, server=True)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(refused()))
    thread.start()
    thread.join()
    assert answers == [False]


def test_a_client_is_nobodys_module() -> None:
    assert not refused()


class Mail:
    def __init__(self) -> None:
        self.got: list[Any] = []

    def put(self, client: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.got.append((client, method, args, kwargs))


@pytest.fixture
def pool() -> Any:
    return SimpleNamespace(codec=Codec(pickle=True), client="4711-ab")


def test_a_message_to_oneself_goes_into_the_own_mailbox_as_a_copy(monkeypatch: pytest.MonkeyPatch, pool: Any) -> None:
    mail, sent = Mail(), [1, (2, 3)]
    monkeypatch.setattr(Process, "mail", mail)
    monkeypatch.setattr(Process, "pid", os.getpid())
    assert sent_to_itself(pool, "$cast", (sent,), {"x": sent})
    sent.append(4)
    assert mail.got == [("4711-ab", "$cast", [[1, (2, 3)]], {"x": [1, (2, 3)]})]


def test_what_cannot_be_sent_to_others_cannot_be_sent_to_oneself(monkeypatch: pytest.MonkeyPatch, pool: Any) -> None:
    monkeypatch.setattr(Process, "mail", Mail())
    monkeypatch.setattr(Process, "pid", os.getpid())
    with pytest.raises(UnserialisableError, match=r"args\[0\]"):
        sent_to_itself(pool, "$cast", (threading.Lock(),), {})


def test_a_process_that_user_code_forked_is_not_the_module(monkeypatch: pytest.MonkeyPatch, pool: Any) -> None:
    mail = Mail()
    monkeypatch.setattr(Process, "mail", mail)
    monkeypatch.setattr(Process, "pid", os.getpid() + 1)
    assert not sent_to_itself(pool, "$cast", (1,), {})
    assert mail.got == []
