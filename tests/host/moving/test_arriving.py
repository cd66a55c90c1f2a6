"""Real processes, one after the other, with one table and one journal; the test plays their parent and their keeper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import cloudpickle
import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import ParameterNotFoundError, StartError, SwapError
from dspex_runtime.params.parameter import Parameter
from dspex_runtime.wire import messages as m
from helpers.hosted_parameters import killed, restarted
from helpers.swapped import Swap, segments

pytestmark = pytest.mark.process

TURNS = 12


class One(dx.GenServer):
    """A server with parameters of all durabilities, and a state."""

    __version__ = "1"
    target = Parameter(float, 20.0)
    name = Parameter(str, "hall")
    quick = Parameter(int, 0, durability="memory")
    safe = Parameter(int, 0, durability="fsync")
    big = Parameter("any", None)
    items = Parameter(list, [])
    gone = Parameter(int, 1)

    def init(self, n: int = 0) -> Any:
        return {"n": n}

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["set", name, value]:
                setattr(self, name, value)
            case "add":
                state = {**state, "n": state["n"] + 1}
            case "append":
                self.items.append(len(self.items))
            case "lock":
                state = {**state, "lock": threading.Lock()}
            case "later":  # a write that comes while everything is sealed
                threading.Thread(target=self._write_later, daemon=True).start()
        return dx.Reply([type(self).__name__, {key: state[key] for key in state if key != "lock"}], state)

    def _write_later(self) -> None:
        while True:
            try:
                self.quick = self.quick + 1
            except Exception as exc:
                print("not written:", type(exc).__name__, getattr(exc, "code", None), flush=True)
                return
            threading.Event().wait(0.0001)

    def terminate(self, reason: Any, state: Any) -> None:
        self.target = -1.0
        print("terminated", reason, self.target, flush=True)


class Two(One):
    __version__ = "2"
    target = Parameter(float, 20.0, max=100.0)
    fresh = Parameter(int, 7)
    gone = None

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        self.name = f"{self.name}, {old_version}"
        return {**state, "from": old_version}


class Away(One):
    """The first one again, for a swap that changes nothing."""


@pytest.fixture
def swap(fork: Any) -> Any:
    """A factory of swaps, from a process that is given or a new one of the first version."""

    def make(found: Any = Two, *, old: Any = None, **options: Any) -> Swap:
        if old is None:
            old = fork()
            old.start(One, 5, trap_exit=True, **({"params": options["params"]} if "params" in options else {}))
        return Swap(fork, old, found, 5, trap_exit=True, **options)

    return make


def test_the_new_version_is_who_the_old_one_was(swap: Any, keeper: Any) -> None:
    move = swap()
    client, view = move.old.client(), keeper(move.old).view()
    client.call("$call", ["set", "target", 25.0])
    client.call("$call", "add")
    assert move.rehearse().items() >= {"version": "2", "migrated": True, "parameters": ["name"], "dropped": ["gone"]}.items()
    client.call("$call", "add")
    assert client.call("$set", "target", 26.0)[0] == 3
    move.hold()
    assert move.move() == {"again": True, "queued": 0, "channels": 1}
    assert move.commit() == {"name": 2}
    assert client.call("$call", "add") == ["Two", {"n": 8, "from": "1"}]
    assert (view.get("target"), view.get("name"), view.get("fresh")) == (26.0, "hall, 1", 7)
    assert client.call("$set", "target", 27.0)[0] == 4
    assert view.get("target") == 27.0
    with pytest.raises(ParameterNotFoundError):
        view.get("gone")
    assert (move.new.offered, len(move.old.offered)) == ([], 1)
    assert move.old.wait() == 0
    assert "terminated ('shutdown', 'swapped') -1.0" in move.old.text(), "what terminate() sets is its own"
    assert view.get("target") == 27.0
    view.close()


def test_a_snapshot_that_nothing_has_changed_is_not_migrated_again(swap: Any) -> None:
    move = swap()
    move.rehearse()
    move.hold()
    assert move.move()["again"] is False
    assert move.commit() == {"name": 2}


def test_a_rehearsal_tells_writes_and_offers_nothing(swap: Any) -> None:
    move = swap(Two)
    move.rehearse()
    move.new.ask("ping")
    assert (move.new.offered, move.new._early, segments(move.old)) == ([], [], [])


def test_the_old_one_goes_on_as_if_nothing_had_happened(swap: Any, keeper: Any) -> None:
    move = swap()
    client, view = move.old.client(), keeper(move.old).view()
    client.call("$call", ["set", "name", "mine"])
    move.rehearse()
    move.hold()
    move.move()
    killed(move.new)
    waiting = client.begin("$set", "target", 29.0)
    assert view.get("target") == 20.0
    move.old.ask("unhold")
    assert client.result()[0] == 2
    assert waiting
    assert client.call("$call", "add") == ["One", {"n": 6}]
    assert (view.get("target"), view.get("name"), view.names()) == (29.0, "mine", sorted(view.names()))
    assert "gone" in view.names()
    again = swap(old=move.old)
    again.whole()
    assert client.call("$call", "x") == ["Two", {"n": 6, "from": "1"}]
    view.close()


def test_a_write_of_a_users_thread_is_in_the_table_or_fails(swap: Any, keeper: Any) -> None:
    """It writes before, while and after everything is sealed; what it was told is true."""
    move = swap(Away)
    client, view = move.old.client(), keeper(move.old).view()
    client.call("$call", "later")
    move.rehearse()
    move.hold()
    move.move()
    sealed = view.version("quick")
    assert view.version("quick") == sealed
    move.commit()
    assert move.old.wait() == 0
    assert view.version("quick") == sealed
    assert client.call("$set", "quick", 1)[0] == sealed + 1
    view.close()


@pytest.mark.parametrize("with_table", [True, False], ids=["the keeper lives", "only the disk is left"])
def test_killed_right_after_it_serves_the_new_one_has_lost_nothing(swap: Any, fork: Any, keeper: Any, with_table: bool) -> None:
    move = swap()
    client, held = move.old.client(), keeper(move.old)
    client.call("$call", ["set", "target", 25.0])
    client.call("$set", "safe", 3)
    client.call("$set", "big", "x" * 100_000)
    move.old.ask("ping")
    held.close()
    held = keeper(move.old)
    move.whole()
    killed(move.new)
    if not with_table:
        held.close()
    new = restarted(fork, held, move.old, Two)
    view = keeper(new).view() if not with_table else held.view()
    names = ("target", "name", "safe", "fresh")
    assert [view.get(name) for name in names] == [25.0, "hall, 1", 3, 7]
    assert [view.version(name) for name in names[:3]] == [2, 2, 2]
    assert view.get("big") == "x" * 100_000
    view.close()


def test_a_reader_sees_every_swap_and_never_an_older_value(swap: Any, keeper: Any) -> None:
    """It has the table mapped all the time, in a process of its own, while versions and writes alternate."""
    move = swap(Away)
    client, view = move.old.client(), keeper(move.old).view()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(_reads(view, tell))
        finally:
            os._exit(1)
    os.close(tell)
    acknowledged, old = 0, move.old
    for turn in range(TURNS):
        if turn:
            move = swap(Away, old=old)
        for n in range(3):
            acknowledged = client.call("$set", "target", float(10 * turn + n))[0]
        move.rehearse()
        acknowledged = client.call("$set", "target", float(10 * turn + 5))[0]
        move.hold()
        move.move()
        move.commit()
        assert (view.version("target"), view.get("target")) == (acknowledged, 10.0 * turn + 5)
        old = move.new
    assert acknowledged == 4 * TURNS + 1
    client.call("$set", "target", -5.0)
    assert os.waitpid(pid, 0)[1] == 0, os.read(told, 1000).decode()
    os.close(told)
    view.close()


def _reads(view: Any, tell: int) -> int:
    version, value = 0, -100.0
    while value != -5.0:
        entry = view.entry("target")
        if entry.version < version or (entry.version == version and entry.value != value):
            os.write(tell, f"{entry.version}: {entry.value} after {version}: {value}".encode())
            return 2
        version, value = entry.version, entry.value
    return 0


def test_what_is_watched_goes_on_to_be_told(swap: Any) -> None:
    move = swap()
    client = move.old.client()
    move.old.ask("watched", names=["name", "target"])
    client.call("$set", "target", 25.0)
    move.whole()
    client.call("$set", "target", 26.0)
    client.call("$set", "quick", 1)
    told: list[Any] = []
    while len(told) < 2:  # one that the pipe did not take at once comes a moment later
        message = move.new.recv()
        if message[0] == m.EVENT and message[2].get("type") == "changed":
            told.append(tuple(message[2][key] for key in ("name", "version", "who")))
    assert sorted(told) == [("name", 2, "swap"), ("target", 3, "test")]


def test_a_refusal_in_the_rehearsal_ends_nobody(swap: Any) -> None:
    move = swap()
    client = move.old.client()
    client.call("$call", ["set", "target", 400.0])
    with pytest.raises(SwapError, match=r"refuses what is kept: target must be at most 100.0 \(max\); got 400.0") as caught:
        move.rehearse()
    assert caught.value.code == "migrate"
    assert move.new.ask("ping")["id"] == "sup/it"
    assert client.call("$call", "x") == ["One", {"n": 5}]


def test_a_verification_is_asked_of_the_migrated_version(swap: Any) -> None:
    move = swap()
    with pytest.raises(SwapError) as caught:
        move.rehearse(verify=lambda server, state: state["from"] != "1" or server.name != "hall, 1")
    assert caught.value.code == "verify"
    assert swap().rehearse(verify=lambda state: state["n"] == 5)["migrated"]


def test_a_state_that_cannot_move_is_said_by_the_old_one(swap: Any) -> None:
    move = swap()
    move.rehearse()
    client = move.old.client()
    client.call("$call", "lock")
    move.hold()
    with pytest.raises(SwapError, match=r"cannot send state\['lock'\], a _thread.lock") as caught:
        move.move()
    assert caught.value.code == "move"
    move.old.ask("unhold")
    assert client.call("$call", "add") == ["One", {"n": 6}]
    assert client.call("$set", "target", 22.0)[0] == 2


def test_a_migration_that_fails_on_the_final_state_is_an_error_of_the_move(swap: Any) -> None:
    move = swap()
    client = move.old.client()
    move.rehearse(migrate=lambda state: {"n": 5 // (7 - state["n"])})
    client.call("$call", "add")
    client.call("$call", "add")
    move.hold()
    with pytest.raises(SwapError, match="migrate of 'sup/it' failed: ZeroDivisionError"):
        move.move()
    move.old.ask("unhold")
    assert client.call("$call", "add") == ["One", {"n": 8}]


def test_a_configuration_that_the_new_spec_changes_is_a_set(swap: Any, keeper: Any, fork: Any) -> None:
    old = fork()
    old.start(One, 5, params={"target": 21.0, "name": "yaml's"}, trap_exit=True)
    view = keeper(old).view()
    old.client().call("$set", "name", "mine")
    move = swap(old=old, params={"target": 22.0, "name": "yaml's"})
    move.rehearse()
    move.hold()
    move.move()
    assert move.commit() == {"target": 2, "name": 3}
    assert [(view.get(name), view.entry(name).who) for name in ("target", "name")] == [(22.0, "yaml"), ("mine, 1", "swap")]
    view.close()


def test_down_again_through_the_class_that_is_left(swap: Any, keeper: Any) -> None:
    class Three(Two):
        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            return {"n": -state["n"], "extra": extra} if old_version == ("down", "1") else state

    first = swap(Three)
    view = keeper(first.old).view()
    client = first.old.client()
    client.call("$set", "gone", 9)
    first.whole()
    assert "gone" not in view.names()
    second = swap(Away, old=first.new)
    how = {"has_down": True, "down": "1"}
    extra = cloudpickle.dumps("x")
    fd = second.image(**how, extra=extra)
    assert second.new.ask("rehearse", fd, old_version="2")["dropped"] == ["fresh"]
    os.close(fd)
    client.call("$call", "add")
    second.hold()
    second.move(**how, extra=extra)
    second.commit()
    assert client.call("$call", "x") == ["Away", {"n": -6, "extra": "x"}]
    assert view.get("gone") == 9, "what was withdrawn is there again"
    view.close()


class Init(dx.GenServer):
    """What would not start."""

    def init(self, a: int, b: int) -> Any:
        raise AssertionError("it was run")


def test_an_init_is_not_run_but_looked_at(fork: Any) -> None:
    fork().start(Init, 1, 2, rehearsal=True)
    with pytest.raises(StartError, match=r"Init.init cannot be called with what it is given: missing a required argument: 'b'"):
        fork().start(Init, 1, rehearsal=True)


def test_steps_that_come_out_of_order_are_refused(fork: Any, swap: Any) -> None:
    move = swap()
    with pytest.raises(SwapError, match="there is nothing to be taken over"):
        move.new.ask("serve", base={})
    assert move.new.wait() != 0, "a process that was told to serve and cannot is no use"
    second = swap(old=move.old)
    second.rehearse()
    with pytest.raises(SwapError, match="has rehearsed already"):
        second.rehearse()
    fd = second.image()
    with pytest.raises(SwapError, match="was not started for a rehearsal"):
        move.old.ask("rehearse", fd, old_version="1")
    os.close(fd)


def test_a_write_that_the_rehearsal_makes_is_nobodys(swap: Any, keeper: Any) -> None:
    move = swap(Two)
    view = keeper(move.old).view()
    move.rehearse()
    os.kill(move.new.pid, signal.SIGKILL)
    assert (view.get("name"), view.names()) == ("hall", sorted({*view.names()} - {"fresh"}))
    view.close()


def test_an_ordinary_process_loads_nothing_of_it() -> None:
    script = "import sys, dspex_runtime.host.bootstrap; print([name for name in sys.modules if '.host.moving' in name])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
