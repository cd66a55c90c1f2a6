"""Questions to the parent over a real socketpair, before and after there is a control thread; the test plays the parent."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from dspex_runtime.errors import CallTimeoutError, NoProcessError, RuntimeUnreachableError, UnserialisableError
from dspex_runtime.host.uplink import Uplink, is_mail
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.faults import to_fault
from helpers.waiting import PATIENCE_S, wait_until

CODEC = Codec(pickle=True)


class Pair:
    """An uplink and its parent."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.channel = FdChannel(ours, CODEC)
        self.parent = FdChannel(theirs, CODEC)
        self.uplink = Uplink(self.channel, CODEC)

    def heard(self) -> list[Any]:
        return self.parent.recv(monotonic() + PATIENCE_S)

    def answer(self, value: Any = None) -> list[Any]:
        """Answer the next question; return it."""
        question = self.heard()
        self.parent.send([m.REPLY, question[1], value])
        return question


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.channel.close()
    pair.parent.close()


@pytest.fixture
def later() -> Iterator[Callable[..., Any]]:
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def soon() -> float:
    return monotonic() + PATIENCE_S


def named(text: str) -> int:
    """Return a descriptor of a file that holds this text."""
    fd = os.memfd_create("test")
    os.write(fd, text.encode())
    return fd


def text_of(fd: int) -> str:
    """Return what a descriptor's file holds; it is closed."""
    try:
        return os.pread(fd, 100, 0).decode()
    finally:
        os.close(fd)


def mail(message: Any) -> list[Any]:
    return [m.EVENT, 0, {"type": "message", "message": message}]


class TestBeforeTheControlThread:
    """In `init` whoever waits reads."""

    def test_a_question_has_a_negative_number_and_is_answered_by_it(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask, "status", {"x": 1}, soon())
        assert pair.answer({"name": "t"}) == [m.CONTROL, -1, "status", {"x": 1}]
        assert asked.result() == {"name": "t"}

    def test_what_is_no_answer_is_kept_for_the_control_thread_in_order(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask, "status", {}, soon())
        number = pair.heard()[1]
        pair.parent.send([m.CONTROL, 7, "ping", {}])
        pair.parent.send([m.CONTROL, -1, "never", {}])
        pair.parent.send(mail("hello"))
        pair.parent.send([m.REPLY, number, None])
        asked.result()
        early = [[m.CONTROL, 7, "ping", {}], [m.CONTROL, -1, "never", {}], mail("hello")]
        assert pair.uplink.serve() == [(message, []) for message in early]
        assert pair.uplink.served

    def test_many_threads_ask_at_once_and_each_gets_its_own(self, pair: Pair, later: Any) -> None:
        asked = {n: later(pair.uplink.ask, "echo", {"n": n}, soon()) for n in range(8)}
        questions = [pair.heard() for _ in asked]
        for _, number, _, args in reversed(questions):
            pair.parent.send([m.REPLY, number, args["n"]])
        assert {n: answer.result() for n, answer in asked.items()} == {n: n for n in asked}

    def test_the_control_thread_takes_over_from_one_that_reads(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask, "status", {}, soon())
        number = pair.heard()[1]
        wait_until(lambda: pair.uplink._wake >= 0)
        pair.uplink.serve()
        wait_until(lambda: pair.uplink._wake < 0)
        pair.parent.send([m.REPLY, number, "late"])
        pair.uplink.answered(pair.channel.recv(soon()))
        assert asked.result() == "late"

    def test_an_answer_may_bring_a_descriptor(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask_for_fd, "param_table", {"id": "$shared"}, soon())
        number, fd = pair.heard()[1], named("table")
        pair.parent.send([m.PARAM, number, {}], fds=[fd])
        os.close(fd)
        assert text_of(asked.result()) == "table"

    def test_or_none(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask_for_fd, "param_blob", {}, soon())
        pair.answer(None)
        assert asked.result() is None

    def test_the_descriptor_of_an_answer_that_nobody_waits_for_is_closed(self, pair: Pair, later: Any) -> None:
        question = pair.uplink.begin("param_table", {})
        pair.uplink.give_up(question)
        fd = named("late")
        pair.parent.send([m.PARAM, question.number, {}], fds=[fd])
        os.close(fd)
        asked = later(pair.uplink.ask, "status", {}, soon())
        for _ in range(3):
            message = pair.heard()
        pair.parent.send([m.REPLY, message[1], None])
        asked.result()
        assert question.fd is None

    def test_what_is_expected_is_waited_for_and_has_its_own_descriptors(self, pair: Pair, later: Any) -> None:
        expected = later(pair.uplink.expect, "kept")
        table, user, pipe = named("table"), named("user"), named("pipe")
        pair.parent.send([m.CONTROL, 7, "ping", {}])
        pair.parent.send([m.CONTROL, 0, "kept", {"table": True, "user": True}], fds=[table, user])
        pair.parent.send([m.CHANNEL, 0, {}], fds=[pipe])
        info, fds = expected.result()
        assert info == {"table": True, "user": True}
        assert list(map(text_of, fds)) == ["table", "user"]
        asked = later(pair.uplink.ask_for_fd, "param_table", {}, soon())
        pair.parent.send([m.PARAM, pair.heard()[1], {}], fds=[user])
        assert text_of(asked.result()) == "user"  # not the pipe's, which came before and is not taken yet
        (_, _), (channel, (fd,)) = pair.uplink.serve()
        assert (channel[0], text_of(fd)) == (m.CHANNEL, "pipe")
        for each in (table, user, pipe):
            os.close(each)

    def test_who_expects_something_hears_of_the_parents_end(self, pair: Pair, later: Any) -> None:
        expected = later(pair.uplink.expect, "kept")
        pair.parent.close()
        with pytest.raises(RuntimeUnreachableError):
            expected.result()

    def test_messages_for_the_mailbox_can_be_dropped(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask, "status", {}, soon())
        pair.parent.send(mail("a"))
        pair.parent.send(mail("b"))
        pair.answer()
        asked.result()
        assert pair.uplink.drop_messages(lambda message: message == "a") == 1
        assert pair.uplink.serve() == [(mail("b"), [])]

    def test_a_parent_that_goes_fails_all_who_wait_and_all_who_ask(self, pair: Pair, later: Any) -> None:
        asked = [later(pair.uplink.ask, "status", {}, soon()) for _ in range(2)]
        for _ in asked:
            pair.heard()
        pair.parent.close()
        for question in asked:
            with pytest.raises(RuntimeUnreachableError, match="the runtime is gone"):
                question.result()
        with pytest.raises(RuntimeUnreachableError):
            pair.uplink.ask("status", {}, soon())

    def test_an_answer_that_cannot_be_rebuilt_fails_its_question(self, pair: Pair, later: Any) -> None:
        asked = later(pair.uplink.ask, "status", {}, soon())
        number = pair.heard()[1]
        pair.parent.send([m.REPLY, number, _Unbuildable()])
        with pytest.raises(Exception, match="cannot be rebuilt here"):
            asked.result()


class _Unbuildable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


class TestAnswers:
    """Once the control thread reads it hands the answers over."""

    def test_an_error_is_raised_as_what_it_is(self, pair: Pair, later: Any) -> None:
        pair.uplink.serve()
        asked = later(pair.uplink.ask, "info", {"id": "x"}, soon())
        error = NoProcessError("no such id 'x'", id="x")
        number = pair.heard()[1]
        pair.uplink.answered([m.FAULT, number, to_fault(error, id=None, incarnation=None, codec=CODEC)])
        with pytest.raises(NoProcessError, match="no such id 'x'"):
            asked.result()

    @pytest.mark.parametrize("served", [True, False])
    def test_one_that_does_not_come_in_time_is_given_up_and_dropped_when_it_comes(self, pair: Pair, served: bool) -> None:
        if served:
            pair.uplink.serve()
        with pytest.raises(CallTimeoutError, match="has not answered 'lock' in time"):
            pair.uplink.ask("lock", {}, monotonic() + 0.5)
        assert pair.heard()[:3] == [m.CONTROL, -1, "lock"]
        assert pair.heard() == [m.CANCEL, -1]
        pair.uplink.answered([m.REPLY, -1, "late"])

    def test_nothing_is_sent_after_the_deadline(self, pair: Pair) -> None:
        with pytest.raises(CallTimeoutError):
            pair.uplink.ask("status", {}, monotonic())
        pair.channel.close()
        with pytest.raises(EOFError):
            pair.heard()

    def test_whoever_began_a_question_is_called_when_it_is_settled(self, pair: Pair) -> None:
        pair.uplink.serve()
        settled = threading.Event()
        question = pair.uplink.begin("status", {}, settled.set)
        pair.uplink.answered([m.REPLY, question.number, 5])
        assert settled.is_set()
        assert question.result() == 5
        pair.uplink.give_up(question)  # nothing is left to give up: nobody is told
        pair.channel.close()
        assert pair.heard()[0] == m.CONTROL
        with pytest.raises(EOFError):
            pair.heard()

    def test_one_that_cannot_be_rebuilt_fails_its_question_and_no_other(self, pair: Pair, later: Any) -> None:
        pair.uplink.serve()
        asked = later(pair.uplink.ask, "status", {}, soon())
        number = pair.heard()[1]
        pair.uplink.undecodable(UndecodableError("a stranger's", kind=m.CONTROL, request=3))
        pair.uplink.undecodable(UndecodableError("no class", kind=m.REPLY, request=number))
        with pytest.raises(Exception, match="no class"):
            asked.result()


def test_arguments_that_cannot_be_sent_are_the_askers_mistake_and_cost_nothing_else(pair: Pair, later: Any) -> None:
    pair.uplink.serve()
    with pytest.raises(UnserialisableError, match="lock"):
        pair.uplink.ask("register", {"value": threading.Lock()}, soon())
    asked = later(pair.uplink.ask, "status", {}, soon())
    pair.uplink.answered([m.REPLY, pair.heard()[1], "ok"])
    assert asked.result() == "ok"


def test_a_forked_child_cannot_ask(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(RuntimeUnreachableError, match="does not survive a fork"):
        pair.uplink.ask("status", {}, None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [(mail(1), True), ([m.EVENT, 0, {"type": "other"}], False), ([m.CONTROL, 1, "ping", {}], False), ([m.REPLY, -1, None], False)],
)
def test_what_is_for_the_mailbox(message: list[Any], expected: bool) -> None:
    assert is_mail(message) is expected
