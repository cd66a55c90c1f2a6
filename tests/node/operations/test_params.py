"""Parameters as clients ask the runtime for them: what goes to the keeper, and what a module that runs is to do itself."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from dspex_runtime.errors import (
    CallTimeoutError,
    ConfigError,
    ConstraintViolationError,
    DspexError,
    NoProcessError,
    ParameterNotFoundError,
)
from dspex_runtime.node.keeping import ON_ITS_WAY_S
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.operations import params
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, PARAM, REPLY
from helpers.fake_node import Client, FakeNode, server


@pytest.fixture
def fd() -> Any:
    """A descriptor to give."""
    made = os.memfd_create("table")
    yield made
    os.close(made)


def stopped(runtime: FakeNode, id: str = "a") -> Client:
    """A runtime with one child that does not run."""
    client = runtime.boot(server(id)).owner
    client.begin("stop", id=id)
    runtime.turn()
    client.heard()
    return client


def outcome(client: Client) -> Any:
    """The only answer: a value, the info that came with a descriptor, or the error."""
    ((kind, _, value),) = client.heard()
    return from_fault(value) if kind == FAULT else value


def answered(runtime: FakeNode, op: str, value: Any, *fds: int) -> None:
    runtime.keeper.answer(runtime.keeper.question(op), value, fds)
    runtime.turn()


def test_a_table_is_given_as_a_descriptor(runtime: FakeNode, fd: int) -> None:
    client = runtime.boot(server("a")).owner
    number = client.begin("param_table", id="a")
    assert runtime.keeper.of("reader") == [{"id": "a"}]
    answered(runtime, "reader", None, fd)
    assert client.heard() == [[PARAM, number, {"id": "a"}]]
    assert client.descriptors == 1


def test_a_child_without_parameters_has_no_table(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    number = client.begin("param_table", id="a")
    answered(runtime, "reader", None)
    assert client.heard() == [[REPLY, number, None]]


def test_the_table_of_a_stopped_child_is_given_as_well(runtime: FakeNode, fd: int) -> None:
    client = stopped(runtime)
    client.begin("param_table", id="a")
    answered(runtime, "reader", None, fd)
    assert outcome(client) == {"id": "a"}
    assert client.descriptors == 1


def test_the_first_table_of_a_child_that_is_starting_is_waited_for(runtime: FakeNode) -> None:
    client = runtime.boot().owner
    runtime.launcher.script["a"] = ["hang"]
    client.begin("start", spec=server("a"))
    number = client.begin("param_table", id="a")
    assert runtime.keeper.of("reader") == []
    runtime.process("a").become_ready()
    runtime.turn()
    answered(runtime, "reader", None)
    assert [REPLY, number, None] in client.heard()


def test_it_is_not_waited_for_without_end(runtime: FakeNode) -> None:
    client = runtime.boot().owner
    runtime.launcher.script["a"] = ["hang"]
    client.begin("start", spec=server("a"))
    number = client.begin("param_table", id="a")
    runtime.advance(params.STARTING_S)
    ((_, _, fault),) = [message for message in client.heard() if message[1] == number]
    assert isinstance(from_fault(fault), CallTimeoutError)


def test_the_runtimes_own_table_needs_no_child(runtime: FakeNode, fd: int) -> None:
    client = runtime.boot().owner
    client.begin("param_table", id="$shared")
    answered(runtime, "reader", None, fd)
    assert client.heard()[0][2] == {"id": "$shared"}


def test_a_descriptor_for_a_client_that_left_is_closed(runtime: FakeNode, fd: int) -> None:
    client = runtime.boot(server("a")).connect()
    before = len(os.listdir("/proc/self/fd"))
    client.begin("param_table", id="a")
    client.close()
    number = runtime.keeper.question("reader")
    runtime.keeper.send([number, "ok", None, 1], [fd])
    runtime.turn()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_large_value_is_given_by_version(runtime: FakeNode, fd: int) -> None:
    client = runtime.boot(server("a")).owner
    client.begin("param_blob", id="a", name="k", at=3)
    runtime.advance(ON_ITS_WAY_S)
    assert runtime.keeper.of("blob_of") == [{"id": "a", "name": "k", "version": 3}]
    answered(runtime, "blob_of", None, fd)
    assert outcome(client) == {"id": "a"}
    assert client.descriptors == 1
    number = client.begin("param_blob", id="a", name="k", at=2)
    runtime.advance(ON_ITS_WAY_S)
    answered(runtime, "blob_of", None)
    assert client.heard()[-1] == [REPLY, number, None]


def test_the_past_passes_through(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    client.begin("param_history", id="a", name="k", n=5)
    assert runtime.keeper.of("history") == [{"id": "a", "name": "k", "n": 5}]
    answered(runtime, "history", [{"version": 1}])
    assert outcome(client) == [{"version": 1}]
    client.begin("param_value_at", id="a", name="k", at=1)
    answered(runtime, "value_at", b"v")
    assert outcome(client) == b"v"


def test_a_version_that_is_not_kept_is_not_found(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    client.begin("param_value_at", id="a", name="k", at=1)
    answered(runtime, "value_at", None)
    error = outcome(client)
    assert isinstance(error, ParameterNotFoundError)
    assert "version 1 of 'k' is not kept" in str(error)


WRITES = [
    ({"how": "set", "value": b"v", "expect": 3}, "set", {"value": b"v", "expect": 3}),
    ({"how": "set", "value": b"v"}, "set", {"value": b"v", "expect": None}),
    ({"how": "rollback", "at": 2}, "rollback", {"version": 2}),
    ({"how": "reset"}, "reset", {}),
]


@pytest.mark.parametrize(("args", "op", "asked"), WRITES)
def test_of_a_stopped_child_the_keeper_writes(runtime: FakeNode, args: dict[str, Any], op: str, asked: dict[str, Any]) -> None:
    client = stopped(runtime)
    client.begin("param_write", id="a", name="k", **args)
    assert runtime.keeper.of(op) == [{"id": "a", "name": "k", "who": f"client#{os.getpid()}", **asked}]
    answered(runtime, op, [4, 1.5])
    assert outcome(client) == [4, 1.5]


@pytest.mark.parametrize(("args", "op", "asked"), WRITES)
def test_the_runtimes_own_parameters_are_the_keepers(
    runtime: FakeNode, args: dict[str, Any], op: str, asked: dict[str, Any]
) -> None:
    client = runtime.boot().owner
    client.begin("param_write", id="$shared", name="style", **args)
    assert [{"name": "style", **asked}] == [
        {key: value for key, value in told.items() if key not in ("id", "who")} for told in runtime.keeper.of(f"shared_{op}")
    ]


def test_a_child_that_runs_writes_itself(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    assert client.ask("param_write", id="a", name="k", how="reset") is None
    assert runtime.keeper.of("reset") == []


def test_a_refused_value_is_told_as_it_was_refused(runtime: FakeNode) -> None:
    client = stopped(runtime)
    client.begin("param_write", id="a", name="k", how="set", value=b"v")
    runtime.keeper.refuse(runtime.keeper.question("set"), ConstraintViolationError("too hot", name="k", constraint="max", limit=2))
    runtime.turn()
    error = outcome(client)
    assert isinstance(error, ConstraintViolationError)
    assert (error.constraint, error.limit) == ("max", 2)


def test_an_unknown_way_to_write_is_refused(runtime: FakeNode) -> None:
    with pytest.raises(DspexError, match="unknown way to write a parameter: 'paint'"):
        stopped(runtime).ask("param_write", id="a", name="k", how="paint")


@pytest.mark.parametrize("n", [0, -1])
def test_a_history_of_no_versions_is_refused(runtime: FakeNode, n: int) -> None:
    client = runtime.boot(server("a")).owner
    client.begin("param_history", id="a", name="k", n=n)
    error = outcome(client)
    assert isinstance(error, ConfigError)
    assert f"n is 1 or more; got {n}" in str(error)
    assert runtime.keeper.of("history") == []


@pytest.mark.parametrize("op", ["param_table", "param_blob", "param_history", "param_value_at", "param_write"])
def test_of_nobody_there_is_nothing(runtime: FakeNode, op: str) -> None:
    client = runtime.boot().owner
    with pytest.raises(NoProcessError):
        client.ask(op, id="nobody", name="k", at=1, how="reset")


# -- modules that subscribe


def test_a_module_subscribes_and_is_answered_when_it_is_told(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    process = runtime.process("b")
    assert process.ask("param_subscribe", pattern="a.k") == []
    ((_, args, _, tell),) = [request for request in runtime.process("a").requests if request[0] == "watched"]
    assert args == {"names": ["k"]}
    tell({}, None)
    assert process.peer.sent[-1] == [REPLY, -1, None]
    assert process.ask("param_subscribe", pattern="a.k") == [[REPLY, -2, None]], "once is enough"
    assert process.ask("param_unsubscribe", pattern="a.k") == [[REPLY, -3, True]]
    assert process.ask("param_unsubscribe", pattern="a.k") == [[REPLY, -4, False]]


def test_a_client_has_no_mailbox_for_changes(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    for op in ("param_subscribe", "param_unsubscribe"):
        with pytest.raises(DspexError, match="only a module or server has a mailbox"):
            client.ask(op, pattern="a.k")


def test_a_module_says_what_it_subscribes_to(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    ((kind, _, fault),) = runtime.process("a").ask("param_subscribe", pattern="")
    assert (kind, type(from_fault(fault))) == (FAULT, ConfigError)


def test_a_deleted_childs_table_is_gone_when_that_is_answered(runtime: FakeNode, fd: int) -> None:
    client = runtime.boot(server("a"), server("b")).owner
    runtime.node.keeping.offered(cast(ModuleProcess, runtime.process("a")), {"type": "table"}, os.dup(fd))
    del runtime.keeper.answers["figures"]
    number = client.begin("delete", id="a")
    runtime.turn()
    assert [op for op, _ in runtime.keeper.told if op in ("drop", "figures")] == ["drop", "figures"]
    assert [message for message in client.heard() if message[1] == number] == []
    answered(runtime, "figures", {})
    assert [REPLY, number, None] in client.heard()
    other = client.begin("delete", id="b")  # it had none
    runtime.turn()
    assert [REPLY, other, None] in client.heard()
