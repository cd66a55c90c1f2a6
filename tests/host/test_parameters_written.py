"""Parameters of a real module process, set from inside and outside, busy or not; who watches hears. The test plays the parent."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dspex_runtime.errors import ConstraintViolationError, ParameterError, ParameterNotFoundError
from dspex_runtime.osproc.board import BEGUN, ENDED, EXPECTED_BY, RUNNING
from dspex_runtime.params import values
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from helpers.hosted_parameters import Collector, Thermostat
from helpers.hosted_process import Client, Gate, HostedProcess
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

CODEC = Codec(pickle=True)


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
