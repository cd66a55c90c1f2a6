"""What moves of the loop: every client finds its channel, its calls, its place in the row, as if nothing had happened."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from dspex_runtime.core.child_spec import Limits
from dspex_runtime.errors import SwapError
from dspex_runtime.osproc.board import BEGUN, ENDED, FAILED, QUEUED
from dspex_runtime.params import values
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.framing import frame
from helpers.hosted_process import Client, HostedProcess
from helpers.moving import Move
from helpers.moving_servers import Idempotent, Recorder
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def queued(process: HostedProcess, n: int) -> None:
    wait_until(lambda: process.slot()[QUEUED] == n, what=f"{n} are queued")


def test_what_is_queued_runs_in_its_order_in_the_new_process_and_nowhere_else(moving: Any) -> None:
    move: Move = moving(Recorder)
    plain, mux, gone = move.old.client(), move.old.client(mux=True), move.old.client(name="gone")
    assert plain.call("$call", "before") == [move.old.pid, "before"]
    assert mux.call("$call", "too") == [move.old.pid, "too"]
    move.hold()
    plain.begin("$call", "first")
    queued(move.old, 1)
    gone.cast("$cast", "cast")
    queued(move.old, 2)
    gone.close()
    for word in ("second", "third"):
        mux.begin("$call", word)
    queued(move.old, 4)
    sent = move.pack()
    assert {**sent, "bytes": 0} == {"channels": 2, "queued": 4, "timers": 0, "bytes": 0}
    move.commit()
    assert plain.recv() == [m.BEGUN, 2, False]  # of the old one
    assert plain.recv() == [m.BEGUN, 2, True]
    assert plain.recv() == [m.REPLY, 2, [move.new.pid, "first"]]
    assert [mux.result() for _ in range(2)] == [[move.new.pid, "second"], [move.new.pid, "third"]]
    assert plain.call("$call", "seen") == ["before", "too", "first", "cast", "second", "third"]
    move.ended()
    assert move.old.text() == "terminated ('shutdown', 'swapped')\n"


def test_unread_bytes_and_half_frames_are_the_new_processs(moving: Any) -> None:
    move: Move = moving(Recorder)
    half, unread, new, silent = move.old.client(), move.old.client(), move.old.client(hello=False), move.old.client(hello=False)
    large = "x" * 300_000
    body = frame(move.old.codec.pack([m.CALL, 1, "$call", [large], {}, None, None, 0, None]))
    sending = threading.Thread(target=lambda: half.channel._sock.sendall(body[:-10]))
    sending.start()
    sending.join()
    new.channel._sock.sendall(frame(move.old.codec.pack([m.HELLO, 0, {"protocol": list(m.PROTOCOL)}]))[:7])
    assert move.hold()["running"] == 0
    move.old.ask("ping")
    move.pack()
    unread.begin("$call", "unread")
    move.commit()
    half.channel._sock.sendall(body[-10:])
    assert half.result() == [move.new.pid, large]
    assert unread.result() == [move.new.pid, "unread"]
    new.channel._sock.sendall(frame(move.old.codec.pack([m.HELLO, 0, {"protocol": list(m.PROTOCOL)}]))[7:])
    assert new.call("$call", 1) == [move.new.pid, 1]
    silent.send([m.HELLO, 0, {"protocol": list(m.PROTOCOL), "client": "test"}])
    assert silent.call("$call", 2) == [move.new.pid, 2]


def test_who_waits_for_a_queued_call_goes_along(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    client.begin("$call", "who waits", chain=[["a", 1], ["b", 2]])
    queued(move.old, 1)
    move.pack()
    move.commit()
    assert client.result() == [["a", 1], ["b", 2]]


@pytest.mark.parametrize("n", [600])
def test_many_channels_move(moving: Any, n: int) -> None:
    move: Move = moving(Recorder)
    clients = [move.old.client(name=f"client {place}") for place in range(n)]
    for place in (0, n // 2, n - 1):
        clients[place].call("$call", "before")
    move.hold()
    for client in clients[::3]:
        client.begin("$call", "queued")
    queued(move.old, n // 3)
    assert move.pack()["channels"] == n
    move.commit()
    assert {tuple(client.result()) for client in clients[::3]} == {(move.new.pid, "queued")}
    assert all(client.call("$call", "after") == [move.new.pid, "after"] for client in clients)
    move.ended()


def test_a_client_that_goes_after_the_move_is_noticed_and_one_whose_server_goes_too(moving: Any) -> None:
    move: Move = moving(Recorder)
    stays, goes = move.old.client(), move.old.client()
    for client in (stays, goes):
        client.call("$call", "before")
    move.whole()
    move.ended()
    goes.close()
    wait_until(lambda: move.new.ask("statistics")["clients"] == 1)
    move.new.tell("stop", reason="shutdown", drain_s=0.0)
    with pytest.raises(EOFError):
        stays.recv()


def test_a_deferred_call_is_answered_by_the_new_process_by_its_from_in_the_state(moving: Any) -> None:
    move: Move = moving(Recorder)
    waits, answers, timed, cancels = (move.old.client() for _ in range(4))
    waits.begin("$call", ["defer", "it"])
    number = cancels.begin("$call", ["defer", "that"])
    timed.begin("$call", ["timed answer", 0.3])
    wait_until(lambda: move.old.slot()[ENDED] == 3)
    move.whole()
    move.ended()  # its terminate() answers nobody
    assert move.old.text() == "terminated ('shutdown', 'swapped') False False\n"
    cancels.send([m.CANCEL, number])
    assert answers.call("$call", ["answer", "it"]) is True
    assert waits.result() == "answer to it"
    assert answers.call("$call", ["answer", "that"]) is False
    assert timed.result() == "in time"
    # Numbers go on, so that none that is known elsewhere leads to another call.
    waits.begin("$call", ["defer", "more"])
    wait_until(lambda: move.new.ask("get_state").waiting.keys() == {"more"})
    assert move.new.ask("get_state").waiting["more"].number == 4


def test_timers_move_and_their_handles_too(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    for seconds, message in ((60.0, "late"), (2.0, "soon"), (60.0, "later")):
        client.call("$call", ["timer", seconds, message])
    assert move.whole()["timers"] == 3
    assert 0 < client.call("$call", ["cancel", "late"]) <= 60.0
    assert client.call("$call", ["cancel", "late"]) is None
    wait_until(lambda: client.call("$call", "seen") == ["soon"])
    assert client.call("$call", ["cancel", "soon"]) is None
    assert client.call("$call", ["timer", 60.0, "new"]) is None
    assert 0 < client.call("$call", ["cancel", "later"]) <= 60.0
    assert 0 < client.call("$call", ["cancel", "new"]) <= 60.0


def test_a_timer_that_is_due_meanwhile_comes_before_what_was_sent_later(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    client.call("$call", ["timer", 0.0, "due"])
    move.hold()
    move.pack()
    client.begin("$call", "later")
    move.commit()
    client.result()
    assert client.call("$call", "seen") == ["due", "later"]


def test_the_wait_for_a_message_goes_on(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    began = time.monotonic()
    client.call("$call", ["idle", 0.3])
    move.whole()
    wait_until(lambda: move.new.ask("get_state").seen == ["timeout"])
    assert time.monotonic() - began >= 0.3


def test_the_users_suspend_moves_with_the_process(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.old.ask("suspend")
    client.begin("$call", 1)
    queued(move.old, 1)
    move.whole()
    assert move.new.ask("status")["suspended"] is True
    queued(move.new, 1)
    move.new.ask("resume")
    assert client.result() == [move.new.pid, 1]


def test_a_key_that_was_answered_is_answered_again_and_not_run(moving: Any) -> None:
    move: Move = moving(Idempotent)
    client, other = move.old.client(), move.old.client()
    client.begin("$call", "once", key="k")
    assert client.result() == [move.old.pid, "once"]
    client.begin("$call", ["defer", "it"], key="owed")
    wait_until(lambda: move.old.slot()[ENDED] == 2)
    other.begin("$call", ["defer", "it"], key="owed")  # waits for the answer of the first
    move.old.ask("ping")
    move.whole()
    third = move.new.client()
    third.begin("$call", "once", key="k")
    assert third.result() == [move.old.pid, "once"]
    assert third.call("$call", ["answer", "it"]) is True
    assert client.result() == other.result() == "answer to it"
    assert third.call("$call", "seen") == ["once"]


def test_the_row_of_each_client_goes_on(moving: Any) -> None:
    move: Move = moving(Recorder)
    one = move.old.client(name="me")
    other = move.old.client(name="me")
    sent(one, 1)
    sent(other, 2)
    wait_until(lambda: move.old.ask("get_state").seen == [1, 2])
    move.hold()
    sent(one, 4)  # ahead of 3, which is on its way over the other one
    queued(move.old, 1)
    move.pack()
    sent(other, 3)
    move.commit()
    wait_until(lambda: move.new.ask("get_state").seen == [1, 2, 3, 4])
    sent(one, 5)
    wait_until(lambda: move.new.ask("get_state").seen == [1, 2, 3, 4, 5])


def sent(client: Client, number: int) -> None:
    client.send([m.CAST, number, "$cast", [number], {}])


def test_counters_and_executions_go_on(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    for word in ("a", "b"):
        client.call("$call", word)
    executions = move.old.ask("executions", n=10)
    move.whole(calls=2, failures=0, last_error=None)
    client.call("$call", "c")
    assert move.new.ask("metrics")["count"] == 3
    for shown, before in zip(move.new.ask("executions", n=10)[1:], executions, strict=True):
        assert shown == {**before, "started_at": pytest.approx(before["started_at"], abs=1.0)}
    slot = move.new.slot()
    assert (slot[BEGUN], slot[ENDED], slot[FAILED]) == (3, 1, 0)


def test_a_limit_of_calls_counts_those_of_both(moving: Any) -> None:
    move: Move = moving(Recorder, limits=Limits(max_calls=3))
    client = move.old.client()
    for word in ("a", "b"):
        client.call("$call", word)
    move.whole()
    assert client.call("$call", "c") == [move.new.pid, "c"]
    assert move.new.bye() == ("limit", "max_calls", 3)


def test_changes_that_it_watches_go_on_where_they_were(moving: Any) -> None:
    move: Move = moving(Recorder)
    change = {"type": "changed", "id": "qa", "name": "k", "when": 1.5, "who": "me", "skipped": 0}
    codec = move.old.codec
    move.old.control.send([m.EVENT, 0, {**change, "version": 1, "value": values_of(codec, 1)}])
    wait_until(lambda: len(move.old.ask("get_state").seen) == 1)
    move.hold()
    move.old.control.send([m.EVENT, 0, {**change, "version": 2, "value": values_of(codec, 2)}])
    queued(move.old, 1)
    move.pack()
    move.commit()
    move.new.control.send([m.EVENT, 0, {**change, "version": 2, "value": values_of(codec, 2)}])  # twice is once
    move.new.control.send([m.EVENT, 0, {**change, "version": 5, "value": values_of(codec, 5)}])
    wait_until(lambda: len(move.new.ask("get_state").seen) == 3)
    seen = move.new.ask("get_state").seen
    assert [(each.version, each.value, each.skipped) for each in seen] == [(1, 1, 0), (2, 2, 0), (5, 5, 2)]


def values_of(codec: Any, value: Any) -> bytes:
    return bytes(values.encode(codec, value))


def test_what_comes_for_one_that_rehearses_is_behind_what_moves(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client(name="me")
    sent(client, 1)
    wait_until(lambda: move.old.ask("get_state").seen == [1])
    move.hold()
    move.pack()
    move.new.control.send([m.EVENT, 0, {"type": "message", "message": "mail"}])
    other = move.new.client(name="me")
    sent(other, 2)
    sent(client, 3)
    move.new.ask("ping")
    assert move.new.slot()[BEGUN] == 0
    move.commit()
    wait_until(lambda: len(move.new.ask("get_state").seen) == 4)
    seen = move.new.ask("get_state").seen
    assert [each for each in seen if each != "mail"] == [1, 2, 3]


def test_a_message_that_cannot_be_rebuilt_is_named_and_the_old_process_goes_on(moving: Any) -> None:
    move: Move = moving(Recorder)
    client = move.old.client()
    move.hold()
    client.begin("$call", Sticky(move.old.pid))
    queued(move.old, 1)
    packing, preparing = move.begin()
    with pytest.raises(SwapError, match=r"the queued call of '\$call' cannot be taken over by the new version"):
        move.new.answer(preparing)
    with pytest.raises(SwapError):
        move.old.answer(packing)
    move.old.ask("unhold")
    assert client.result()[0] == move.old.pid


class Sticky:
    """Can be rebuilt in the test and in one process only."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> Any:
        return (rebuilt, (self.pid,))


def rebuilt(pid: int) -> Any:
    if os.getpid() not in (pid, TEST_PID):
        raise RuntimeError("not here")
    return Sticky(pid)


TEST_PID = os.getpid()


def test_a_second_move_carries_what_the_first_one_brought(moving: Any) -> None:
    move: Move = moving(Recorder)
    client, waits = move.old.client(), move.old.client()
    client.call("$call", ["timer", 60.0, "late"])
    waits.begin("$call", ["defer", "it"])
    wait_until(lambda: move.old.slot()[ENDED] == 2)
    move.whole()
    again: Move = moving(Recorder, old=move.new)
    again.whole()
    assert client.call("$call", "pid") == again.new.pid
    assert 0 < client.call("$call", ["cancel", "late"]) <= 60.0
    assert client.call("$call", ["answer", "it"]) is True
    assert waits.result() == "answer to it"
    again.ended()


@pytest.mark.parametrize("mux", [False, True])
def test_a_client_that_never_stops_loses_nothing_and_nothing_is_run_twice(moving: Any, fork: Any, mux: bool) -> None:
    last, *others = [fork() for _ in range(5)]  # before there are threads
    last.start(Recorder, limits=Limits(mailbox=100_000))
    client = last.client(mux=mux, name="busy")
    stop, room = threading.Event(), threading.Semaphore(200)
    answered: list[Any] = []
    sent_words = 0

    def send() -> None:
        nonlocal sent_words
        while not stop.is_set():
            room.acquire()
            sent_words += 1
            client.begin("$call", sent_words)
        client.begin("$call", "last")

    def read() -> None:
        while (answer := client.result())[1] != "last":
            answered.append(answer)
            room.release()

    def go_on() -> None:
        had = len(answered)
        wait_until(lambda: len(answered) > had + 100)

    threads = [threading.Thread(target=each) for each in (send, read)]
    for thread in threads:
        thread.start()
    try:
        for place, new in enumerate(others):
            go_on()
            step: Move = moving(Recorder, old=last, new=new, limits=Limits(mailbox=100_000))
            step.hold()
            step.pack()
            if place % 2:
                last.ask("unhold")  # given up: the old one goes on
            else:
                step.commit()
                step.ended()
                last = new
        go_on()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [word for _, word in answered] == list(range(1, sent_words + 1))
    assert len({pid for pid, _ in answered}) == 3
    assert last.client().call("$call", "seen") == [*range(1, sent_words + 1), "last"]
