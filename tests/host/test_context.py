"""User code asks who it is and what became of its request; the answer follows the request to other threads and tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.host.context import (
    CallCancelledError,
    Process,
    cancelled,
    chain_of,
    check_cancelled,
    current_request,
    deadline,
    incarnation,
    self_id,
    waking,
)
from dspex_runtime.host.mailbox import Request


@pytest.fixture
def request_() -> Iterator[Request]:
    """The request being served on this thread."""
    request = Request(None, 4, "answer", [], {}, deadline=99.0)
    token = current_request.set(request)
    yield request
    current_request.reset(token)


def test_outside_a_module_process_there_is_no_id() -> None:
    assert Process.assignment is None
    with pytest.raises(RuntimeError, match="only inside a module process"):
        self_id()
    assert incarnation() is None


def test_outside_a_request_nothing_is_due_or_cancelled() -> None:
    assert (deadline(), cancelled()) == (None, False)
    check_cancelled()


def test_the_request_being_served_gives_its_deadline(request_: Request) -> None:
    assert deadline() == 99.0
    check_cancelled()


def test_a_request_given_up_says_which_it_was(request_: Request) -> None:
    request_.cancelled = True
    assert cancelled()
    with pytest.raises(CallCancelledError, match="<request 4 answer>"):
        check_cancelled()


def test_a_users_except_exception_does_not_catch_it() -> None:
    assert not issubclass(CallCancelledError, Exception)


def test_a_task_inherits_the_request(request_: Request) -> None:
    async def asks() -> Any:
        return await asyncio.create_task(inner())

    async def inner() -> Any:
        return deadline()

    assert asyncio.run(asks()) == 99.0


def test_a_thread_has_it_where_the_context_is_copied(request_: Request) -> None:
    seen: list[Any] = []
    context = copy_context()
    threads = [
        threading.Thread(target=lambda: seen.append(deadline())),
        threading.Thread(target=context.run, args=(lambda: seen.append(deadline()),)),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert seen == [None, 99.0]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the module "g/a"."""
    monkeypatch.setattr(Process, "assignment", SimpleNamespace(id="g/a"))


def test_outside_a_module_nothing_is_in_a_chain() -> None:
    assert chain_of(None) is None
    assert chain_of(Request(None, 1, "work", [], {})) is None


@pytest.mark.usefixtures("named")
def test_a_chain_goes_on_with_the_request_that_calls() -> None:
    first = chain_of(Request(None, 1, "work", [], {}))
    assert first is not None
    assert [id for id, _ in first] == ["g/a"]
    second = chain_of(Request(None, 2, "work", [], {}, chain=[["b", 7]]))
    assert second is not None
    assert (second[0], second[1][0]) == (["b", 7], "g/a")
    assert second[1][1] > first[0][1]


@pytest.mark.usefixtures("named")
def test_all_threads_of_a_request_name_it_alike() -> None:
    request, found = Request(None, 1, "work", [], {}), []
    go = threading.Barrier(8)

    def ask() -> None:
        go.wait()
        found.append(chain_of(request))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(chain == found[0] for chain in found)


def test_a_wait_ends_when_its_request_is_given_up() -> None:
    request, woken, waits = Request(None, 1, "work", [], {}), threading.Event(), threading.Event()
    ended: list[str] = []

    def wait() -> None:
        try:
            with waking(request, woken.set):
                waits.set()
                woken.wait()
        except CallCancelledError as exc:
            ended.append(str(exc))

    thread = threading.Thread(target=wait)
    thread.start()
    waits.wait()
    request.give_up()
    thread.join()
    assert ended == ["<request 1 work>"]
    assert request.wakers == set()


def test_no_wait_begins_for_a_request_that_is_given_up() -> None:
    request, began = Request(None, 1, "work", [], {}), []
    request.give_up()
    with pytest.raises(CallCancelledError), waking(request, lambda: None):
        began.append(True)
    assert began == []


def test_what_ends_a_request_itself_is_called_once() -> None:
    request, ended = Request(None, 1, "work", [], {}), []
    request.cancel = lambda: ended.append(request.cancelled)
    request.give_up()
    assert ended == [True]
