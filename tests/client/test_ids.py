"""Children as they are named to a runtime: every operation that takes an id takes what leads to it."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.client import inspection_ops, lifecycle_ops, naming, signal_ops, supervisor_ops
from dspex_runtime.client.ids import child_id, looked_up
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.steps import run
from dspex_runtime.client.via import NamedRef, Via
from dspex_runtime.errors import ConfigError, NoProcessError, SupervisorError
from helpers.asking_client import Client

INFO = {"id": "g/a", "kind": "server", "state": "READY"}
OPERATIONS: dict[str, Any] = {
    "start": lambda client, ref: lifecycle_ops.start(client, ref),
    "stop": lifecycle_ops.stop,
    "restart": lifecycle_ops.restart,
    "kill": lifecycle_ops.kill,
    "delete": lifecycle_ops.delete,
    "info": inspection_ops.info,
    "wait": inspection_ops.wait,
    "log_path": inspection_ops.log_path,
    "monitor": signal_ops.monitored,
    "link": lambda client, ref: signal_ops.linked(client, ref, ref),
    "unlink": lambda client, ref: signal_ops.unlink(client, ref, ref),
    "exit": signal_ops.exit,
    "register": lambda client, ref: naming.register(client, "k", ref),
    "unregister": lambda client, ref: naming.unregister(client, "k", ref),
    "keys": naming.keys,
    **{
        name: lambda client, ref, name=name: getattr(supervisor_ops, name)(client, "g", ref)
        for name in ("terminate_child", "restart_child", "delete_child", "which_child", "get_childspec")
    },
}


def answers(op: str) -> Any:
    return {"info": INFO, "monitor": {"ref": 1}, "unlink": {"linked": True}, "unregister": 0, "which_child": [], "keys": []}.get(op)


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("kind", [ServerRef, ModuleRef])
def test_an_operation_takes_a_reference_for_an_id(op: str, kind: type[ServerRef] | type[ModuleRef]) -> None:
    client = Client()
    client.connection.answers = [answers(op)]
    run(OPERATIONS[op](client, kind(client.session, "g/a")))
    ((asked, args),) = client.connection.asked
    wanted = "a" if "child" in op else ["g/a"] if op == "wait" else "g/a"
    got = args["spec"]["id"] if op == "start" else args["ids"] if op == "wait" else args["id"]
    assert (asked, got) == (op, wanted)
    assert args.get("with", "g/a") == "g/a"


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op not in ("start", "unregister")])
@pytest.mark.parametrize("wrong", [5, None, 1.5, float("nan"), b"a"])
def test_an_operation_refuses_what_is_no_id(op: str, wrong: Any) -> None:
    client = Client()
    with pytest.raises(ConfigError, match="expected the id of a child"):
        run(OPERATIONS[op](client, wrong))
    assert client.connection.asked == []


@pytest.mark.parametrize("op", OPERATIONS)
def test_an_operation_refuses_a_reference_of_another_runtime(op: str) -> None:
    client = Client()
    with pytest.raises(ConfigError, match="another runtime"):
        run(OPERATIONS[op](client, ServerRef(None, "g/a", "/run/other")))
    assert client.connection.asked == []


@pytest.mark.parametrize("by", [lambda client: Via("k"), lambda client: NamedRef(client.session, Via("k"), "server")])
def test_a_key_leads_to_who_holds_it_now(by: Any) -> None:
    client = Client()
    client.connection.answers = [{"id": "g/a", "kind": "server"}, None]
    assert run(looked_up(client.session, by(client))) == "g/a"
    with pytest.raises(NoProcessError, match="nobody is registered under key 'k'"):
        run(looked_up(client.session, by(client)))
    assert client.connection.ops == ["whereis", "whereis"]


@pytest.mark.parametrize(("supervisor", "full_id"), [("root", "a"), ("g", "g/a"), ("h", "g/h/a"), ("g/h", "g/h/a")])
def test_a_reference_knows_what_its_child_is_called_under_its_supervisor(supervisor: str, full_id: str) -> None:
    client = Client()
    assert run(child_id(client.session, supervisor, ServerRef(client.session, full_id))) == "a"


@pytest.mark.parametrize(("supervisor", "full_id"), [("root", "g/a"), ("h", "g/a"), ("g", "a"), ("g", "gg/a")])
def test_a_reference_to_another_supervisors_child_is_not_found(supervisor: str, full_id: str) -> None:
    client = Client()
    with pytest.raises(SupervisorError) as caught:
        run(child_id(client.session, supervisor, ServerRef(client.session, full_id)))
    assert caught.value.code == "not_found"
