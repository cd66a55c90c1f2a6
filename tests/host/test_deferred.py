"""A call's from_ as a value that travels: the same number for every copy, and found as long as somebody waits."""

from __future__ import annotations

import copy
import gc
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.host import deferred
from dspex_runtime.host.context import Process
from dspex_runtime.host.deferred import Deferred, From
from dspex_runtime.host.mailbox import Request
from dspex_runtime.wire.codec import Codec


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Deferred:
    table = Deferred()
    monkeypatch.setattr(Process, "assignment", SimpleNamespace(socket="/s", id="sup/it", incarnation=3))
    monkeypatch.setattr(Process, "loop", SimpleNamespace(deferred=table))
    return table


class Client(SimpleNamespace):
    __hash__ = object.__hash__


def request(id: int = 7, **peer: Any) -> Request:
    return Request(Client(open=True, client="c", **peer), id, "$call", ["q"], {})  # type: ignore[arg-type]


def test_a_from_is_pickled_copied_and_sent_as_who_got_the_call_and_a_number(here: Deferred) -> None:
    call = request()
    expected = From("/s", "sup/it", 3, 1)
    assert pickle.loads(pickle.dumps(call)) == expected
    assert copy.deepcopy({"open": [call]}) == {"open": [expected]}
    codec = Codec(pickle=True)
    assert codec.unpack(codec.pack([call, {"again": call}])) == [expected, {"again": expected}]
    assert here.find(1) is call


@pytest.mark.parametrize("id", [0])
def test_a_cast_has_nobody_who_waits(here: Deferred, id: int) -> None:
    with pytest.raises(TypeError, match="no caller who waits"):
        pickle.dumps(request(id))


def test_a_call_that_is_answered_cancelled_or_whose_client_is_gone_is_not_kept(here: Deferred) -> None:
    answered, given_up, left, kept = (request(n) for n in (1, 2, 3, 4))
    numbers = [here.note(call) for call in (answered, given_up, left, kept)]
    here.forget(answered)
    here.given_up(given_up.peer, 2)  # type: ignore[arg-type]
    here.given_up(kept.peer, 99)  # type: ignore[arg-type]
    here.client_gone(left.peer)  # type: ignore[arg-type]
    assert [here.find(number) for number in numbers] == [None, None, None, kept]
    assert len(here) == 1


def test_forgetting_one_that_never_left_changes_nothing(here: Deferred) -> None:
    kept = request(1)
    number = here.note(kept)
    here.forget(request(2))
    assert here.find(number) is kept


def test_a_call_nobody_waits_for_any_more_gets_a_number_that_is_not_found(here: Deferred) -> None:
    call = request()
    call.replied = True
    assert here.find(here.note(call)) is None


def test_an_answer_from_another_process_of_the_runtime_is_asked_for_through_the_parent(
    here: Deferred, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Process, "parent", object())
    monkeypatch.setattr(dx.parent, "ask", lambda op, args: asked.append((op, args)) or True)
    assert dx.reply(From("/s", "sup/other", 1, 5), "value") is True
    ((op, args),) = asked
    assert (op, args["id"], args["incarnation"], args["op"]) == ("module_op", "sup/other", 1, "reply")
    assert args["args"] == {"number": 5, "value": "value"}


def test_an_answer_to_a_process_that_is_gone_is_dropped(here: Deferred, monkeypatch: pytest.MonkeyPatch) -> None:
    from dspex_runtime.errors import NoProcessError

    def nobody(*_: Any) -> None:
        raise NoProcessError("gone")

    monkeypatch.setattr(Process, "parent", object())
    monkeypatch.setattr(dx.parent, "ask", nobody)
    assert dx.reply(From("/s", "sup/it", 2, 1), "value") is False  # an earlier incarnation of this very id


def test_an_answer_elsewhere_goes_by_the_clients_way_or_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(deferred, "elsewhere", lambda from_, value: sent.append((from_, value)) or True)
    far = From("/other.sock", "x", 1, 1)
    assert dx.reply(far, 2) is True
    assert sent == [(far, 2)]
    monkeypatch.setattr(deferred, "elsewhere", None)
    with pytest.raises(RuntimeError, match="connect to its runtime first"):
        dx.reply(far, 2)


def test_a_call_whose_from_never_left_can_only_be_answered_here(here: Deferred) -> None:
    pickled, kept, answered, given_up, left = (request(n) for n in range(1, 6))
    for call in (pickled, kept, answered, given_up, left):
        here.keep(call)
    here.note(pickled)
    answered.replied = True
    here.given_up(given_up.peer, 4)  # type: ignore[arg-type]
    left.peer.open = False  # type: ignore[union-attr]
    assert here.only_here() == [kept]
    del kept, call  # nobody can answer it any more
    gc.collect()
    assert here.only_here() == []


def test_numbers_and_calls_go_on_elsewhere(here: Deferred) -> None:
    first, second, third = (request(n) for n in (1, 2, 3))
    here.note(first)
    here.note(second)
    here.forget(first)
    last, calls = here.calls()
    assert (last, calls) == (2, {2: second})
    other = Deferred()
    other.adopt(last, calls)
    assert other.find(2) is second
    assert other.note(second) == 2
    assert other.note(third) == 3
    other.forget(second)
    assert other.number_of(second) is None
