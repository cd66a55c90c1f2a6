"""What a reload tells a process that goes on: limits that it goes by, values as if a client had set them."""

from __future__ import annotations

import os
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.errors import ConfigError, ConstraintViolationError, ParameterNotFoundError
from dspex_runtime.wire import messages as m
from helpers.hosted_process import Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def checked(value: Any) -> bool:
    return value != 13


class Tuned(dx.GenServer):
    temperature = dx.Parameter(float, default=0.2, min=0.0, max=2.0)
    style = dx.Parameter(str, default="brief")
    odd = dx.Parameter(int, default=1, check=checked)

    def init(self, gate: Any = None) -> Any:
        return gate

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        match request:
            case "wait":
                pass_through(state)
            case "nice":
                return dx.Reply([os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir("/proc/self/task")], state)
        return dx.Reply([self.temperature, self.style, self.odd], state)


class Bare(dx.GenServer):
    def init(self) -> None:
        return None

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        return dx.Reply(request, state)


def runs(process: HostedProcess) -> None:
    """Wait until a call runs."""
    wait_until(lambda: process.ask("statistics")["running"] == 1)


def values(process: HostedProcess) -> Any:
    return process.client().call("$call", None)


def written(process: HostedProcess) -> dict[str, list[Any]]:
    """Return version and by whom, by name."""
    found = process.ask("watched", names=True)
    return {name: [version, who] for name, (version, _, who) in found.items()}


class TestParams:
    """Configured values."""

    def test_are_set_by_the_configuration(self, fork: Any) -> None:
        process = fork()
        process.start(Tuned, params={"temperature": 0.5})
        process.ask("configure", params={"set": {"temperature": 0.7, "odd": 3}, "unset": []})
        assert values(process) == [0.7, "brief", 3]
        assert written(process) == {"temperature": [2, "yaml"], "style": [1, "default"], "odd": [2, "yaml"]}

    def test_that_are_gone_are_the_defaults_unless_somebody_has_set_them(self, fork: Any) -> None:
        process = fork()
        process.start(Tuned, params={"temperature": 0.5, "style": "full", "odd": 3})
        process.client(name="17-1").call("$set", "style", "mine")
        process.ask("configure", params={"set": {}, "unset": ["temperature", "style", "odd", "never"]})
        assert values(process) == [0.2, "mine", 1]

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"temperature": 0.9, "style": 5}, ConstraintViolationError),
            ({"temperature": 0.9, "odd": 13}, ConstraintViolationError),
            ({"temperature": 0.9, "unknown": 1}, ParameterNotFoundError),
        ],
        ids=["type", "check", "unknown"],
    )
    def test_that_are_refused_change_nothing(self, fork: Any, given: dict[str, Any], error: type[Exception]) -> None:
        process = fork()
        process.start(Tuned)
        with pytest.raises(error):
            process.ask("configure", params={"set": given, "unset": []})
        assert values(process) == [0.2, "brief", 1]

    def test_of_one_that_has_none(self, fork: Any) -> None:
        process = fork()
        process.start(Bare)
        with pytest.raises(ConfigError, match="it has no parameters, and its `params` set 'k'"):
            process.ask("configure", params={"set": {"k": 1}, "unset": []})
        assert process.ask("configure", params={"set": {}, "unset": ["k"]}) == {}

    def test_wait_for_nobody_where_no_check_is_to_be_run(self, fork: Any, gate: Gate) -> None:
        process = fork()
        process.start(Tuned, gate.path)
        client = process.client()
        client.begin("$call", "wait")
        runs(process)
        assert process.ask("configure", params={"set": {"temperature": 1.5}, "unset": []})["temperature"][0] == 2
        gate.open()
        client.answer()


class TestLimits:
    """What the process goes by itself."""

    def test_the_mailbox_takes_no_more_than_it_may_now(self, fork: Any, gate: Gate) -> None:
        process = fork()
        process.start(Tuned, gate.path)
        client = process.client()
        client.begin("$call", "wait")
        runs(process)
        process.ask("configure", limits={"mailbox": 1})
        for _ in range(2):
            client.begin("$call", None)
        assert client.answer() == [m.OVERLOADED, 3, 1]
        gate.open()
        assert client.answer()[0] == m.REPLY

    def test_it_is_replaced_after_so_many_calls(self, fork: Any) -> None:
        process = fork()
        process.start(Bare)
        client = process.client()
        for _ in range(3):
            client.call("$call", 1)
        process.ask("configure", limits={"max_calls": 2})  # more than that were begun: with the next one
        client.call("$call", 1)
        assert process.recv()[2] == {"type": "max_calls", "calls": 4}
        assert process.bye() == ("limit", "max_calls", 4)

    def test_or_never(self, fork: Any) -> None:
        from dspex_runtime.core.child_spec import Limits

        process = fork()
        process.start(Bare, limits=Limits(max_calls=2))
        process.ask("configure", limits={"max_calls": None})
        client = process.client()
        assert [client.call("$call", n) for n in range(5)] == list(range(5))

    def test_all_its_threads_yield(self, fork: Any) -> None:
        process = fork()
        process.start(Tuned)
        process.ask("configure", limits={"nice": 7})
        found = process.client().call("$call", "nice")
        assert set(found) == {7}
        assert len(found) > 1

    def test_one_that_no_process_goes_by(self, fork: Any) -> None:
        process = fork()
        process.start(Bare)
        with pytest.raises(ConfigError, match="cannot be given the limit 'memory'"):
            process.ask("configure", limits={"memory": 1})


def test_nothing_is_nothing(fork: Any) -> None:
    process = fork()
    process.start(Bare)
    assert process.ask("configure") == {}


class TestCommand:
    """A command that says whether the module is fit to serve."""

    def test_it_runs_where_the_module_is_while_that_serves(self, fork: Any, gate: Gate) -> None:
        process = fork()
        process.start(Tuned, gate.path, env={"A": "1"})
        client = process.client()
        client.begin("$call", "wait")
        runs(process)
        here = os.path.realpath(process.folder)
        assert process.ask("command", command=f'test "$A" = 1 && test "$(pwd -P)" = "{here}"', timeout_s=20.0) is None
        gate.open()
        client.answer()

    def test_its_output_is_told(self, fork: Any) -> None:
        process = fork()
        process.start(Bare)
        with pytest.raises(Exception, match=r"(?s)ended with status 4:\nno index"):
            process.ask("command", command=["sh", "-c", "echo no index; exit 4"], timeout_s=20.0)
