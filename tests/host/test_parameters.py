"""Parameters of a real module process: made, adopted, set from anywhere, saved and given back. The test plays the parent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import ConstraintViolationError, ParameterError, ParameterNotFoundError, StartError
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.osproc.board import BEGUN, ENDED, EXPECTED_BY, RUNNING
from dspex_runtime.params import image, values
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.parameter import Parameter
from dspex_runtime.params.records import EXECUTIONS, SET, tail
from dspex_runtime.params.view import View
from dspex_runtime.types import Durability
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from helpers.hosted_process import Client, Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

CODEC = Codec(pickle=True)


class Thermostat(dx.GenServer):
    """A server with parameters of all ways to be written."""

    target = Parameter(float, 20.0, min=5.0, max=30.0)
    name = Parameter(str, "hall")
    odd = Parameter(int, 1, check=lambda value: value % 2 == 1)
    gated = Parameter(str, "", check=lambda path: not path or pass_through(path) is None)
    weights = Parameter("array", [0.0, 0.0], requires_grad=True, learning_rate=0.5)
    safe = Parameter(int, 0, durability="fsync")
    quick = Parameter(int, 0, durability="memory")
    big = Parameter("any", None)

    def init(self, state: Any = None) -> Any:
        return state

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["wait", path]:
                pass_through(path)
            case ["set", name, value]:
                setattr(self, name, value)
            case ["state", value]:
                state = value
            case "fork":
                return dx.Reply(self.forked(), state)
        return dx.Reply({"target": self.target, "name": self.name, "odd": self.odd, "quick": self.quick, "safe": self.safe}, state)

    def forked(self) -> Any:
        """Set a parameter in a child of ours; return what that sees of it."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.target = 29.0
            os.write(theirs, str(self.target).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(theirs)
        try:
            return os.read(ours, 100).decode()
        finally:
            os.close(ours)

    def get_state(self, state: Any) -> Any:
        return {"state": state}

    def set_state(self, saved: Any, state: Any) -> Any:
        return ["given back", saved["state"], state]


class Collector(dx.GenServer):
    """A server that changes its parameters in place."""

    items = Parameter(list, [])
    seen = Parameter(dict, {})

    def init(self) -> Any:
        self.items.append("init")
        return dx.NoReply(None, continue_="continue")

    def handle_continue(self, word: Any, state: Any) -> Any:
        self.items.append(word)
        return dx.NoReply(state)

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case ["replace", *items]:
                self.items = []
                self.items.extend(items)
            case ["nested", name]:
                self.seen.setdefault(name, []).append(request)
            case "stop":
                self.items.append("stop")
                return dx.Stop("normal", state, reply="stopped")
            case "crash":
                self.items.append("crash")
                raise ValueError("crash")
            case _:
                self.items.append(request)
        return dx.Reply(len(self.items), state)


class Plain(dx.GenServer):
    def init(self) -> Any:
        return "plain"

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(state, state)


class Keeper:
    """What a keeper does for the module of a test: holds its descriptors, and gives them to the next incarnation."""

    def __init__(self, process: HostedProcess) -> None:
        process.ask("ping")
        self.fds = {self._key(event): os.dup(fd) for event, fd in process.offered}

    @staticmethod
    def _key(event: dict[str, Any]) -> tuple[Any, ...]:
        return (event["type"], *((event["name"], event["version"]) if event["type"] == "blob" else ()))

    def view(self) -> View:
        return View(os.dup(self.fds["table",]), CODEC, lambda name, version: os.dup(self.fds["blob", name, version]))

    def give(self, process: HostedProcess, **more: Any) -> None:
        blobs = [key for key in self.fds if key[0] == "blob"]
        info = {"table": ("table",) in self.fds, "blobs": [list(key[1:]) for key in blobs], "volatile": ("volatile",) in self.fds}
        keys = [key for key in ("table",) if (key,) in self.fds]
        fds = [self.fds[key,] for key in keys] + [self.fds[key] for key in blobs]
        fds += [self.fds["volatile",]] if info["volatile"] else []
        user = more.pop("user", None)
        if user is not None:
            fds.append(memory(user))
            info["user"] = True
        process.control.send([m.CONTROL, 0, "kept", {**info, **more}], fds=fds)
        if user is not None:
            os.close(fds[-1])

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


def memory(data: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


@pytest.fixture
def keepers() -> Iterator[list[Keeper]]:
    made: list[Keeper] = []
    yield made
    for keeper in made:
        keeper.close()


@pytest.fixture
def keeper(keepers: list[Keeper]) -> Any:
    def keep(process: HostedProcess) -> Keeper:
        keepers.append(Keeper(process))
        return keepers[-1]

    return keep


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def killed(process: HostedProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def restarted(fork: Any, keeper: Keeper, before: HostedProcess, found: Any = Thermostat, **options: Any) -> HostedProcess:
    """Return the next incarnation, with what is kept of the one before."""
    given = {key: options.pop(key) for key in ("user", "facts", "configured", "stored") if key in options}
    process: HostedProcess = fork()
    process.assign(found, kept=True, journal=str(before.folder / "journal"), **options)
    keeper.give(process, **given)
    assert process.recv()[0] == m.READY
    return process


def test_a_server_without_parameters_has_no_table(fork: Any) -> None:
    process = fork()
    process.start(Plain)
    assert process.client().call("$call", None) == "plain"
    process.ask("ping")
    assert process.offered == []
    with pytest.raises(ParameterNotFoundError, match="'sup/it' has no parameters"):
        process.client().call("$set", "target", 1.0)


def test_configured_parameters_that_nobody_declared_fail_the_start(fork: Any) -> None:
    with pytest.raises(StartError, match="it has no parameters, and its `params` set 'target'"):
        fork().start(Plain, params={"target": 1.0})
    process = fork()
    with pytest.raises(StartError) as caught:
        process.start(Thermostat, params={"targt": 1.0})
    names = "big, gated, name, odd, quick, safe, target, weights"
    expected = f"'sup/it' has no parameter 'targt', which its `params` set; it has {names}; did you mean 'target'?"
    assert str(caught.value) == expected
    process.wait()
    assert process.text().splitlines() == [f"dspex_runtime.errors.StartError: {expected}"], "no traceback of ours"


def test_a_configured_value_that_is_refused_fails_the_start(fork: Any) -> None:
    process = fork()
    with pytest.raises(StartError) as caught:
        process.start(Thermostat, params={"target": 99.0})
    expected = (
        "target of 'sup/it' must be at most 30.0 (max); got 99.0 (float); this value is configured under `params` of 'sup/it'"
    )
    assert str(caught.value) == expected
    process.wait()
    assert process.text().splitlines() == [f"dspex_runtime.errors.StartError: {expected}"]


def test_the_table_is_there_before_ready_with_configured_and_declared_values(fork: Any, keeper: Any) -> None:
    process = fork()
    process.start(Thermostat, params={"target": 18.0})
    assert [event["type"] for event, _ in process.offered] == ["table"]
    view = keeper(process).view()
    assert (view.get("target"), view.get("name"), view.get("odd")) == (18.0, "hall", 1)
    assert process.client().call("$call", "get")["target"] == 18.0
    view.close()


def test_a_write_from_inside_and_one_from_outside_are_the_same(fork: Any, keeper: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client, view = process.client(name="7-abc"), keeper(process).view()
    client.call("$call", ["set", "target", 21.0])
    assert (view.get("target"), view.version("target")) == (21.0, 2)
    version, when = client.call("$set", "target", 22.0)
    assert (version, view.get("target")) == (3, 22.0)
    entry = view.entry("target")
    assert (entry.who, entry.updated_at, entry.version) == ("client#7", when, 3)
    assert client.call("$call", "get")["target"] == 22.0
    view.close()


def test_every_kind_of_write(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client = process.client()
    assert client.call("$set", "odd", 7)[0] == 2
    assert client.call("$set", "safe", 5)[0] == 2
    assert client.call("$set", "quick", 6)[0] == 2
    assert client.call("$gradient", "weights", [1.0, 2.0])[0] == 2
    assert {name: each[0] for name, each in client.call("$set_many", {"target": 7.0, "name": "attic"}).items()} == {
        "target": 2,
        "name": 2,
    }
    assert client.call("$reset", "target")[0] == 3
    assert client.call("$call", "get") == {"target": 20.0, "name": "attic", "odd": 7, "quick": 6, "safe": 5}


def test_a_process_that_user_code_forks_writes_for_itself_alone(fork: Any, keeper: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client, view = process.client(), keeper(process).view()
    assert client.call("$call", "fork") == "29.0"
    assert (client.call("$call", "get")["target"], view.get("target"), view.version("target")) == (20.0, 20.0, 1)
    view.close()


REFUSED: dict[str, tuple[str, list[Any], type[Exception]]] = {
    "above its maximum": ("$set", ["target", 31.0], ConstraintViolationError),
    "of the wrong type": ("$set", ["target", "warm"], ConstraintViolationError),
    "refused by the user's check": ("$set", ["odd", 4], ConstraintViolationError),
    "one of many": ("$set_many", [{"name": "attic", "target": 1.0}], ConstraintViolationError),
    "an unknown name": ("$set", ["colour", 1], ParameterNotFoundError),
    "of another version than expected": ("$set", ["target", 21.0, 9], ParameterError),
    "a gradient nobody asked for": ("$gradient", ["target", 1.0], ParameterError),
}


@pytest.mark.parametrize(("method", "args", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_write_changes_nothing_and_ends_nobody(
    fork: Any, keeper: Any, method: str, args: list[Any], error: type[Exception]
) -> None:
    process = fork()
    process.start(Thermostat)
    client, view = process.client(), keeper(process).view()
    before = {name: view.version(name) for name in view.names()}
    with pytest.raises(error):
        client.call(method, *args)
    assert {name: view.version(name) for name in view.names()} == before
    assert client.call("$call", "get") == {"target": 20.0, "name": "hall", "odd": 1, "quick": 0, "safe": 0}
    view.close()


def busy(process: HostedProcess, gate: Gate) -> Client:
    client = process.client(name="busy")
    client.begin("$call", ["wait", gate.path])
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the call runs")
    return client


def test_a_write_is_made_while_the_module_is_busy(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Thermostat)
    waiting, client = busy(process, gate), process.client()
    assert client.call("$set", "target", 25.0)[0] == 2
    assert client.call("$set", "safe", 1)[0] == 2
    gate.open()
    assert waiting.result()["target"] == 25.0


def test_a_check_of_the_users_is_stamped_as_a_call_with_its_deadline(fork: Any, gate: Gate) -> None:
    """So that whoever waits gets CallTimeoutError, and a check that hangs is found as any call that does."""
    process = fork()
    process.start(Thermostat)
    client = process.client()
    deadline = float(round(time.monotonic() + 1000))
    client.begin("$set", "gated", gate.path, deadline=deadline)
    wait_until(lambda: process.slot()[RUNNING] == 1, what="the check runs")
    assert (process.slot()[BEGUN], process.slot()[EXPECTED_BY]) == (1, int(deadline * 1e9))
    gate.open()
    assert client.result()[0] == 2
    assert (process.slot()[RUNNING], process.slot()[ENDED]) == (0, 1)


def test_a_write_is_made_while_the_module_is_suspended(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    process.ask("suspend")
    client = process.client()
    assert client.call("$set", "target", 25.0)[0] == 2
    client.begin("$call", "get")
    process.ask("resume")
    assert client.result()["target"] == 25.0


def test_a_module_that_stops_gives_writes_back(fork: Any, gate: Gate) -> None:
    process = fork()
    process.start(Thermostat)
    waiting, client = busy(process, gate), process.client()
    process.tell("drain")
    process.ask("ping")
    number = client.begin("$set", "target", 25.0)
    assert client.answer() == [m.RETRY, number]
    gate.open()
    assert waiting.result()["target"] == 20.0


def test_what_was_acknowledged_is_there_after_a_kill(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat)
    client = first.client()
    for name, value in {"target": 25.0, "safe": 3, "quick": 4, "name": "attic"}.items():
        client.call("$set", name, value)
    client.call("$call", ["set", "odd", 5])
    kept = keeper(first)
    killed(first)
    second = restarted(fork, kept, first)
    assert second.client().call("$call", "get") == {"target": 25.0, "name": "attic", "odd": 5, "quick": 4, "safe": 3}
    assert second.client().call("$set", "target", 26.0)[0] == 3


def test_without_the_table_the_journal_has_it(fork: Any) -> None:
    first = fork()
    first.start(Thermostat)
    first.client().call("$set", "target", 25.0)
    killed(first)
    second = fork()
    second.assign(Thermostat, kept=True, journal=str(first.folder / "journal"))
    second.control.send([m.CONTROL, 0, "kept", {}])
    assert second.recv()[0] == m.READY
    assert second.client().call("$call", "get")["target"] == 25.0


def test_a_large_value_is_kept_and_readers_map_it(fork: Any, keeper: Any) -> None:
    import numpy as np

    first = fork()
    first.start(Thermostat)
    array = np.arange(131072.0)
    first.client().call("$set", "big", array)
    kept = keeper(first)
    assert ("blob", "big", 2) in kept.fds
    view = kept.view()
    read = view.get("big")
    assert np.array_equal(read, array)
    assert not read.flags.writeable
    killed(first)
    second = restarted(fork, kept, first)
    assert second.client().call("$rollback", "big", 2)[0] == 3
    assert Blob.map(keeper(second).fds["blob", "big", 3])[0].nbytes >= array.nbytes
    view.close()


def test_the_user_state_of_the_last_checkpoint_is_given_back_at_a_restart(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat, "begun")
    first.client().call("$call", ["state", 42])
    kept = keeper(first)
    saved = image.decode(checkpoint(first))
    killed(first)
    second = restarted(fork, kept, first, user=saved.user)
    assert second.ask("get_state") == ["given back", 42, None]


def test_a_user_state_that_is_refused_is_reported_and_not_fatal(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat)
    kept = keeper(first)
    killed(first)
    second = fork()
    second.assign(Thermostat, "fresh", kept=True, journal=str(first.folder / "journal"))
    kept.give(second, user=CODEC.pack(["no map"]))
    kind, _, event = second.recv()
    assert (kind, event["type"]) == (m.EVENT, "state_report")
    assert "was refused" in event["message"]
    assert second.recv()[0] == m.READY
    assert second.ask("get_state") == "fresh"


def checkpoint(process: HostedProcess) -> bytes:
    size = process.ask("checkpoint", kind="manual")["size"]
    fd = process.control.take_fd()
    try:
        return os.pread(fd, size + 1, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("suspended", [False, True])
def test_a_checkpoint_is_given_back_whole(fork: Any, suspended: bool) -> None:
    process = fork()
    process.start(Thermostat, "s0")
    client = process.client()
    client.call("$set_many", {"target": 11.0, "name": "cellar"})
    client.call("$call", ["state", "s1"])
    if suspended:
        process.ask("suspend")
    data = checkpoint(process)
    if suspended:
        process.ask("resume")
    assert image.decode(data).metrics["calls"] >= 1
    client.call("$set_many", {"target": 29.0, "name": "roof"})
    client.call("$call", ["state", "s2"])
    fd = memory(data)
    assert set(process.ask("restore", fd, who="me")) == {"target", "name"}
    os.close(fd)
    assert client.call("$call", "get") == {"target": 11.0, "name": "cellar", "odd": 1, "quick": 0, "safe": 0}
    assert process.ask("get_state") == ["given back", "s1", "s2"]


def test_a_checkpoint_that_is_refused_changes_nothing(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client = process.client()
    fd = memory(b"nothing of the kind")
    with pytest.raises(Exception, match="no checkpoint"):
        process.ask("restore", fd)
    os.close(fd)
    assert client.call("$call", "get")["target"] == 20.0


def test_who_watches_hears_of_each_change(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client = process.client(name="7-abc")
    client.call("$set", "target", 21.0)
    versions = process.ask("watched", names=["t*"])
    assert versions["target"][0] == 2
    assert versions["target"][2] == "client#7"
    client.call("$set", "target", 22.0)
    client.call("$set", "name", "attic")
    client.call("$call", ["set", "target", 23.0])
    heard = [process.recv()[2] for _ in range(2)]
    assert [(each["name"], each["version"], values.decode(CODEC, each["value"])) for each in heard] == [
        ("target", 3, 22.0),
        ("target", 4, 23.0),
    ]
    process.ask("watched", names=False)
    client.call("$set", "target", 24.0)
    process.ask("ping")
    assert process._early == []


def test_a_parent_that_does_not_read_holds_no_writer_up(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    process.ask("watched", names=True)
    client = process.client()
    text = "x" * 900
    for n in range(2000):
        client.call("$set", "name", f"{text}{n}")
    last = 0
    while last < 2001:
        event = process.recv()[2]
        assert event["version"] > last
        last = event["version"]
    assert values.decode(CODEC, event["value"]).endswith("x1999")


def test_a_new_keeper_gets_everything_again(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client = process.client()
    client.call("$set", "big", b"x" * 100_000)
    client.call("$set", "quick", 5)
    process.ask("ping")
    before = len(process.offered)
    process.ask("hand_over")
    again = [event for event, _ in process.offered[before:]]
    assert sorted(event["type"] for event in again) == ["blob", "table", "volatile"]


def test_calls_and_sums_are_in_the_journal_within_a_second_and_at_the_end(fork: Any) -> None:
    process = fork()
    process.start(Thermostat, base={"calls": 10, "failures": 0, "busy_ns": 0})
    client = process.client()
    for _ in range(3):
        client.call("$call", "get")
    journal = process.folder / "journal"
    wait_until(lambda: written(journal, EXECUTIONS), what="the calls are written down")
    client.call("$call", "get")
    process.tell("stop", reason="shutdown", drain_s=5.0)
    process.bye()
    process.wait()
    records = written(journal, EXECUTIONS)
    assert sum(len(record[2]) for record in records) == 4
    assert records[-1][3]["calls"] == 14


def test_a_write_is_in_the_journal_when_it_is_acknowledged(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    process.client().call("$set", "target", 25.0)
    versions = [record[2] for record in written(process.folder / "journal", SET) if record[1] == "target"]
    assert versions[-1] == 2


def test_writes_of_durability_memory_touch_no_disk(fork: Any) -> None:
    process = fork()
    process.start(Thermostat, durability=Durability.MEMORY)
    process.client().call("$set", "target", 25.0)
    assert not written(process.folder / "journal", SET)


def written(journal: Path, kind: int) -> list[list[Any]]:
    return [payload for _, payload in tail(journal) if payload[0] == kind] if journal.exists() else []


def test_what_is_kept_and_not_needed_is_let_go(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat)
    kept = keeper(first)
    second = fork()
    second.assign(Plain, kept=True)
    kept.give(second)
    assert second.recv()[0] == m.READY
    assert second.client().call("$call", None) == "plain"
    third = fork()
    third.start(Plain)
    third.client().call("$call", None)
    assert memfds(second) == memfds(third)


def memfds(process: HostedProcess) -> int:
    folder = f"/proc/{process.pid}/fd"
    return sum("memfd:" in os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder))


def test_what_a_server_changes_in_place_is_published_before_its_reply(fork: Any, keeper: Any) -> None:
    process = fork()
    process.start(Collector)
    client = process.client()
    client.call("$call", "a")
    view = keeper(process).view()
    assert view["items"] == ["init", "continue", "a"]
    client.call("$call", ["replace", 1, 2])
    assert view["items"] == [1, 2]
    client.call("$call", ["nested", "x"])
    client.call("$call", ["nested", "x"])
    assert len(view["seen"]["x"]) == 2
    version = view.version("seen")
    client.call("$call", 3)
    assert view["items"] == [1, 2, 3]
    assert view.version("seen") == version, "what did not change is not published again"
    assert view.entry("items").who == "self"
    assert client.call("$call", "stop") == "stopped"
    assert view["items"][-1] == "stop"
    view.close()


@pytest.mark.parametrize("end", ["kill", "crash"])
def test_what_a_server_changed_in_place_outlives_it(fork: Any, keeper: Any, end: str) -> None:
    process = fork()
    process.start(Collector)
    client = process.client()
    client.call("$call", "a")
    kept = keeper(process)
    if end == "crash":
        client.begin("$call", "crash")
        process.bye()
        process.wait()
    else:
        killed(process)
    again = restarted(fork, kept, process, Collector)
    again.client().call("$call", "b")
    view = kept.view()
    assert view["items"] == ["init", "continue", "a", *(["crash"] if end == "crash" else []), "init", "continue", "b"]
    view.close()


class Stubborn:
    """A hosted module whose predictor changed, once, and an owner whose disk is full."""

    serial = False
    keeps_user_state = False
    mode = "eval"

    def __init__(self) -> None:
        self.has_changed = True
        self.full = True
        self.published = 0

    def changed(self) -> bool:
        changed, self.has_changed = self.has_changed, False
        return changed

    def parameters(self) -> list[Any]:
        return []

    def names(self) -> list[str]:
        return []

    def republish(self) -> None:
        if self.full:
            raise ParameterError("the disk is full")
        self.published += 1

    def facts(self) -> dict[str, Any]:
        return {}

    def set_facts(self, facts: Any) -> None:
        self.mode = facts["mode"]


def test_what_cannot_be_published_is_reported_once_and_tried_again_after_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn: Any = Stubborn()
    parameters = Parameters(stubborn, stubborn, CODEC)
    reports: list[str] = []
    monkeypatch.setattr(parameters, "report", reports.append)
    parameters.owner = parameters._hosted = stubborn
    parameters._mode = "eval"
    for _ in range(3):
        parameters.after_call()
    assert (len(reports), stubborn.published) == (1, 0)
    stubborn.full = False
    for _ in range(3):
        parameters.after_call()
    assert (len(reports), stubborn.published) == (1, 1)


def test_a_shared_parameter_is_read_from_the_runtimes_table(fork: Any) -> None:
    from dspex_runtime.params.table import Table

    table = Table.create("shared")
    table.lease(0)
    slot = table.add("style")
    table.publish(slot, 1, values.encode(CODEC, "brief"))
    process = fork()
    process.start(Reader, shared=True)
    client = process.client()
    client.begin("$call", None)
    _, number, op, args = process.recv()
    assert (op, args) == ("param_table", {"id": "$shared"})
    process.control.send([m.PARAM, number, {}], fds=[table.fd])
    assert client.result() == "brief"
    table.publish(slot, 2, values.encode(CODEC, "full"))
    assert client.call("$call", None) == "full"
    table.close()


def test_without_shared_parameters_reading_one_says_so(fork: Any) -> None:
    lonely = fork()
    lonely.start(Asker)
    assert lonely.client().call("$call", None) == "ParameterError"
    process = fork()
    process.start(Asker, shared=True)
    client = process.client()
    client.begin("$call", None)
    process.control.send([m.REPLY, process.recv()[1], None])
    assert client.result() == "ParameterNotFoundError"


class Reader(dx.GenServer):
    from dspex_runtime.params.parameter import Shared

    style = Shared("style")

    def init(self) -> Any:
        return None

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(self.style, state)


class Asker(Reader):
    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        try:
            return dx.Reply(self.style, state)
        except ParameterError as exc:
            return dx.Reply(type(exc).__name__, state)
