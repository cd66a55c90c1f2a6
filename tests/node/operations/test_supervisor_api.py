"""OTP's supervisor functions over the wire: OTP's results, OTP's words for what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import NoProcessError, StartError, SupervisorError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import FakeNode, server

GROUP: dict[str, Any] = {"id": "g", "supervisor": {"children": [server("a")]}}


def ask(runtime: FakeNode, op: str, **args: Any) -> Any:
    runtime.owner.heard()
    number = runtime.owner.begin(op, **args)
    (answer,) = [message for message in runtime.owner.heard() if message[1] == number]
    if answer[0] == FAULT:
        raise from_fault(answer[2])
    assert answer[0] == REPLY
    return answer[2]


def refused(runtime: FakeNode, op: str, **args: Any) -> str:
    with pytest.raises(SupervisorError) as caught:
        ask(runtime, op, **args)
    return caught.value.code


@pytest.mark.parametrize(("supervisor", "full_id"), [({}, "x"), ({"supervisor": "root"}, "x"), ({"supervisor": "g"}, "g/x")])
def test_start_child_starts_under_the_root_unless_told_otherwise(
    runtime: FakeNode, supervisor: dict[str, str], full_id: str
) -> None:
    runtime.boot(GROUP)
    assert ask(runtime, "start_child", spec=server("x"), **supervisor) == {"id": full_id, "incarnation": 1, "kind": "server"}


def test_start_child_that_ignores_is_undefined(runtime: FakeNode) -> None:
    runtime.boot().launcher.script["x"] = ["ignore"]
    assert ask(runtime, "start_child", spec=server("x")) == "undefined"


def test_start_child_that_fails_carries_the_childs_error(runtime: FakeNode) -> None:
    runtime.boot(GROUP).launcher.script["g/x"] = ["fail"]
    with pytest.raises(StartError) as caught:
        ask(runtime, "start_child", supervisor="g", spec=server("x"))
    assert (caught.value.id, caught.value.reason) == ("g/x", ("error", "ValueError", "no", "Traceback ..."))


def test_start_child_with_an_id_that_is_taken_is_refused(runtime: FakeNode) -> None:
    runtime.boot(GROUP)
    assert refused(runtime, "start_child", supervisor="g", spec=server("a")) == "already_started"
    ask(runtime, "terminate_child", supervisor="g", id="a")
    assert refused(runtime, "start_child", supervisor="g", spec=server("a")) == "already_present"


def test_start_child_with_the_id_of_a_child_started_alone_is_refused(runtime: FakeNode) -> None:
    runtime.boot()
    ask(runtime, "start", spec=server("x"))
    assert refused(runtime, "start_child", spec=server("x")) == "already_started"
    ask(runtime, "stop", id="x")
    assert refused(runtime, "start_child", spec=server("x")) == "already_present"


def test_start_supervisor_starts_one_with_its_options(runtime: FakeNode) -> None:
    runtime.boot(GROUP)
    answer = ask(runtime, "start_supervisor", id="h", supervisor="g", strategy="one_for_all", max_restarts=9, restart="transient")
    assert answer == {"id": "g/h", "incarnation": 1, "kind": "supervisor"}
    spec = runtime.node.registry.resolve("h").spec
    assert spec.supervisor is not None
    assert (spec.supervisor.strategy, spec.supervisor.max_restarts, spec.restart) == ("one_for_all", 9, "transient")
    assert ask(runtime, "start_child", supervisor="h", spec=server("x"))["id"] == "g/h/x"


def test_a_child_is_terminated_restarted_and_deleted_in_that_order(runtime: FakeNode) -> None:
    runtime.boot(GROUP)
    child = {"supervisor": "g", "id": "a"}
    assert refused(runtime, "restart_child", **child) == "running"
    assert refused(runtime, "delete_child", **child) == "running"
    assert ask(runtime, "terminate_child", **child) is None
    assert ask(runtime, "terminate_child", **child) is None
    assert ask(runtime, "restart_child", **child) == {"id": "g/a", "incarnation": 2, "kind": "server"}
    ask(runtime, "terminate_child", **child)
    assert ask(runtime, "delete_child", **child) is None
    assert runtime.shown() == {"g": "READY"}


@pytest.mark.parametrize("op", ["terminate_child", "restart_child", "delete_child", "get_childspec"])
def test_a_child_that_is_not_there_is_not_found(runtime: FakeNode, op: str) -> None:
    assert refused(runtime.boot(GROUP), op, supervisor="g", id="x") == "not_found"


def test_children_are_listed_and_counted_as_otp_does(runtime: FakeNode) -> None:
    runtime.boot(server("b"), GROUP)
    ask(runtime, "stop", id="b")
    assert ask(runtime, "which_children") == [("g", None, "supervisor"), ("b", "undefined", "worker")]
    assert ask(runtime, "which_children", supervisor="g") == [("a", runtime.process("g/a").pid, "worker")]
    assert ask(runtime, "count_children", supervisor="root") == {"specs": 2, "active": 1, "supervisors": 1, "workers": 1}


def test_a_childspec_is_what_was_written_with_the_defaults(runtime: FakeNode) -> None:
    spec = ask(runtime.boot(GROUP), "get_childspec", id="g")
    assert (spec["id"], spec["type"], spec["restart"]) == ("g", "supervisor", "permanent")
    assert spec["supervisor"]["children"][0]["server"] == "pkg.mod:Name"


@pytest.mark.parametrize("op", ["which_children", "count_children"])
def test_a_supervisor_that_is_down_or_is_none_answers_nothing(runtime: FakeNode, op: str) -> None:
    runtime.boot(GROUP)
    assert refused(runtime, op, supervisor="g/a") == "not_found"
    ask(runtime, "stop", id="g")
    for supervisor in ("g", "nobody"):
        with pytest.raises(NoProcessError):
            ask(runtime, op, supervisor=supervisor)
