"""However wrong its arguments: every operation of the TABLE is answered, or waited with, and the runtime goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf, nan
from typing import Any, Final

import cloudpickle
import pytest

from dspex_runtime.errors import ConfigError
from dspex_runtime.node.operations import TABLE
from dspex_runtime.node.operations.arguments import OPTIONAL, TYPES
from dspex_runtime.wire.codec import Opaque
from dspex_runtime.wire.ext import CLOUDPICKLE
from dspex_runtime.wire.messages import CONTROL, FAULT, REPLY, SUBSCRIBE
from helpers.fake_node import FakeNode, server

NEW: Final = {"id": "n", "server": "pkg.mod:Name"}
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "start": {"spec": NEW, "supervisor": None, "get_if_exists": False, "unnamed": False},
    "stop": {"id": "a", "timeout": None},
    "restart": {"id": "a"},
    "kill": {"id": "a", "signal": "TERM"},
    "delete": {"id": "a"},
    "shutdown": {},
    "info": {"id": "a"},
    "modules": {"metadata": {}},
    "tree": {},
    "analyze": {},
    "status": {},
    "log_path": {"id": "a"},
    "wait": {"ids": ["a"], "state": "failed", "timeout": None},
    "exit_of": {"id": "a", "incarnation": 1},
    "callees": {"ids": ["a", "nobody"]},
    "monitor": {"id": "a"},
    "demonitor": {"ref": 1},
    "link": {"id": "a", "with": "b"},
    "unlink": {"id": "a", "with": "b"},
    "exit": {"id": "a", "reason": "normal"},
    "module_op": {"id": "a", "op": "status", "args": {}, "timeout": 5.0, "incarnation": None, "now": False},
    "unanswered": {"id": "a", "incarnation": 1},
    "start_supervisor": {"supervisor": "root", "id": "n", "strategy": "one_for_one", "restart": "permanent", "max_restarts": 3},
    "start_child": {"supervisor": "d", "spec": NEW},
    "terminate_child": {"supervisor": "g", "id": "c"},
    "restart_child": {"supervisor": "g", "id": "c"},
    "delete_child": {"supervisor": "g", "id": "c"},
    "which_child": {"supervisor": "g", "id": "c"},
    "which_children": {"supervisor": "g"},
    "count_children": {"supervisor": "g"},
    "get_childspec": {"supervisor": "g", "id": "c"},
    "register": {"key": "k", "id": "a", "value": 1, "unique": True},
    "unregister": {"key": "k", "id": "a", "match": 1},
    "update_value": {"key": "k", "id": "a", "value": 2, "revision": None},
    "whereis": {"key": "k"},
    "lookup": {"key": "k", "match": 1},
    "keys": {"id": "a"},
    "select": {"metadata": {}, "version": None},
    "lock": {"key": "k", "token": "t", "timeout": None},
    "unlock": {"key": "k", "token": "t"},
    "listen": {},
    "unlisten": {},
    "param_table": {"id": "a"},
    "param_blob": {"id": "a", "name": "k", "at": 1},
    "param_history": {"id": "a", "name": "k", "n": 5},
    "param_value_at": {"id": "a", "name": "k", "at": 1},
    "param_write": {"id": "a", "how": "set", "name": "k", "value": b"v", "expect": None},
    "param_subscribe": {"pattern": "a.k"},
    "param_unsubscribe": {"pattern": "a.k"},
    "checkpoint": {"id": "a", "kind": "manual"},
    "attach_parts": {"parts": [], "strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5.0},
    "scale": {"id": "a", "n": 2},
    "spread": {"id": "a", "names": ["k"], "with": "a", "incarnation": 1},
    "board": {},
    "compile": {"id": "a", "job": b"job", "timeout": 5.0},
    "checkpoints": {"id": "a"},
    "image": {"id": "a", "number": None},
    "export": {"id": "a", "number": 1},
    "import": {"id": "a", "data": b"file"},
    "restore": {"id": "a", "number": None},
    "prune": {"id": "a", "keep": 3, "numbers": None},
    "past_events": {"n": 10},
    "swap": {"members": [{"id": "a", "spec": None}], "drain": None, "timeout": 5.0, "why": None},
    "abort_swap": {"id": "a"},
    "rollback": {"id": "a", "version": 1, "drain": 1.0, "timeout": None},
    "versions": {"id": "a"},
    "reload": {"config": {"version": 1, "name": "another", "tree": {"children": []}}, "plan": True, "why": None},
    "changed_sources": {},
    "set_alarm": {"alarm": "hot", "description": "98 %"},
    "clear_alarm": {"alarm": "hot"},
    "alarms": {},
}


WAITING: Final = {"wait", "lock", "module_op", "exit_of"} | {  # they may be answered later
    *("param_table", "param_blob", "param_history", "param_value_at", "param_subscribe"),
    *("swap", "scale", "board"),  # the last with a descriptor
    *("checkpoint", "checkpoints", "image", "export", "import", "restore", "prune", "past_events"),  # by the keeper
}


def nested(levels: int, value: Any, wrap: Callable[[Any], Any]) -> Any:
    for _ in range(levels):
        value = wrap(value)
    return value


VALUES: Final[dict[str, Any]] = {
    "None": None,
    "True": True,
    "negative": -1,
    "big": 2**70,
    "huge": 10**400,
    "nan": nan,
    "inf": inf,
    "far": 1e12,
    "empty": "",
    "nobody": "nobody",
    "root": "root",
    "slash": "/",
    "surrogate": "\udcff",
    "bytes": b"a",
    "list": [],
    "ids": ["a", 5],
    "pairs": [["id", "a"]],
    "map": {},
    "odd map": {1: 2, None: 3, ("x",): 4},
    "odd names": {"self": 1, "id": 2, "node": 3, "type": 4},
    "tuple": ("a", 1),
    "reason": ("shutdown", nested(27, 1, lambda x: (x,))),
    "deep reason": ("shutdown", nested(30, 1, lambda x: (x,))),
    "long reason": ("shutdown", nested(1000, 1, lambda x: [x])),
    "set": {1, 2},
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "pickle": Opaque(cloudpickle.dumps(object()), CLOUDPICKLE),
    "deep list": nested(1015, 1, lambda x: [x]),
    "deep tuple": nested(31, 1, lambda x: (x,)),
}


def mistakes(op: str) -> list[tuple[str, dict[str, Any]]]:
    """Return an operation's arguments with each of them left out, and replaced by each of the values."""
    good = ARGUMENTS[op]
    cases: list[tuple[str, dict[str, Any]]] = [("good", good), ("nothing", {}), ("odd names", VALUES["odd map"])]
    for name in good:
        cases.append((f"no {name}", {key: value for key, value in good.items() if key != name}))
        cases += [(f"{name}: {label}", {**good, name: value}) for label, value in VALUES.items()]
    return cases


def boot(runtime: FakeNode) -> None:
    """A tree with everything that can be asked about; "z" watches, is linked, listens and holds a lock."""
    group = {"id": "g", "supervisor": {"children": [server("c")]}}
    pool = {"id": "d", "supervisor": {"dynamic": True, "children": []}}
    runtime.boot(server("a"), server("b"), server("z"), group, pool, max_restarts=10**6)
    runtime.process("z").ask("listen")
    runtime.process("z").ask("lock", key="k", token="z")
    for id in ("a", "b", "g", "d"):
        runtime.process("z").ask("monitor", id=id)
        runtime.process("z").ask("link", id=id)


def test_every_operation_is_here() -> None:
    assert ARGUMENTS.keys() == TABLE.keys()


@pytest.mark.parametrize("op", [op for op in TABLE if op != "shutdown"])
def test_wrong_arguments_of_a_client_are_answered_and_end_nothing(runtime: FakeNode, op: str) -> None:
    boot(runtime)
    client, follower = runtime.connect(), runtime.connect()
    follower.send([SUBSCRIBE, 1, "events", {}])
    for number, (label, args) in enumerate(mistakes(op), 1000):
        client.send([CONTROL, number, op, args])
        answers = [message for message in client.heard() if message[0] in (REPLY, FAULT) and message[1] == number]
        assert len(answers) == 1 or (not answers and op in WAITING), label
        assert client.ask("status")["state"] == "running", label
        follower.heard()
        assert not client.ended, label
        assert not follower.ended, label
    runtime.advance(3600.0)
    assert client.ask("status")["state"] == "running"


@pytest.mark.parametrize("op", [op for op in TABLE if op != "shutdown"])
def test_wrong_arguments_of_a_module_are_answered_and_end_nothing(runtime: FakeNode, op: str) -> None:
    boot(runtime)
    process = runtime.process("b")
    for number, (label, args) in enumerate(mistakes(op), 1000):
        process.send([CONTROL, -number, op, args])
        runtime.turn()
        answers = [message for message in process.peer.sent if message[0] in (REPLY, FAULT) and message[1] == -number]
        assert len(answers) == 1 or (not answers and op in WAITING), label
    assert not process.illegal_messages
    assert runtime.owner.ask("status")["state"] == "running"


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("value", [VALUES[label] for label in ("bytes", "set", "time", "pickle", "nan", "True")])
def test_an_argument_of_a_wrong_type_is_named_with_what_came(runtime: FakeNode, name: str, value: Any) -> None:
    if type(value) in TYPES[name]:
        return
    with pytest.raises(ConfigError, match=f"malformed request 'status': '{name}' is .*; got"):
        runtime.boot().owner.ask("status", **{name: value})


def test_only_what_may_be_left_out_may_be_none(runtime: FakeNode) -> None:
    client = runtime.boot().owner
    for name in TYPES:
        if name in OPTIONAL:
            client.ask("status", **{name: None})
        else:
            with pytest.raises(ConfigError, match="got None"):
                client.ask("status", **{name: None})
