"""OTP's supervisor functions over the wire: OTP's results, OTP's words for what is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import ConfigError, NoProcessError, StartError, SupervisorError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import FakeNode, server

GROUP: dict[str, Any] = {"id": "g", "supervisor": {"children": [server("a")]}}
POOL: dict[str, Any] = {"id": "pool", "supervisor": {"dynamic": True, "max_children": 3}}
LATER = {"initial": 10, "max": 10, "jitter": 0}  # a back-off that does not end by itself: time stands still


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
    assert ask(runtime, "which_children") == [("g", os.getpid(), "supervisor"), ("b", "undefined", "worker")]
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


def failing(runtime: FakeNode, id: str) -> None:
    """Let the next start of a child fail."""
    runtime.launcher.script[id] = ["fail"]


def in_backoff(runtime: FakeNode, id: str) -> None:
    """Crash a child with a back-off until its restart is due later."""
    for _ in range(2):
        runtime.crash(id)
    assert runtime.shown()[id] == "BACKOFF"


class TestBoot:
    """otp-semantics §1.7, start_link."""

    def test_1_7_start_link_answers_when_all_children_are_ready(self, runtime: FakeNode) -> None:
        runtime.boot().launcher.script |= {"g/b": ["hang"]}
        group = {"id": "g", "supervisor": {"children": [server("a"), server("b")]}}
        number = runtime.owner.begin("start_child", spec=group)
        assert not [message for message in runtime.owner.heard() if message[1] == number]
        assert runtime.shown() == {"g": "STARTING", "g/a": "READY", "g/b": "STARTING"}
        runtime.process("g/b").become_ready()
        runtime.turn()
        assert runtime.owner.heard()[-1] == [REPLY, number, {"id": "g", "incarnation": 1, "kind": "supervisor"}]

    def test_1_7_start_link_that_fails_stops_the_others_in_reverse_and_is_not_retried(self, runtime: FakeNode) -> None:
        runtime.boot()
        failing(runtime, "g/c")
        children = [server(id) for id in "abcd"]
        group = {"id": "g", "supervisor": {"max_restarts": 9, "children": children, "strategy": "rest_for_one"}}
        with pytest.raises(StartError) as caught:
            ask(runtime, "start_child", spec=group)
        assert (caught.value.id, caught.value.reason) == ("g/c", ("error", "ValueError", "no", "Traceback ..."))
        assert runtime.launcher.did() == ["start g/a", "start g/b", "start g/c", "stop g/b", "stop g/a"]
        assert runtime.shown() == {}
        assert ask(runtime, "count_children")["specs"] == 0

    def test_1_7_start_link_with_a_child_that_ignores_goes_on_and_keeps_its_spec_unless_temporary(self, runtime: FakeNode) -> None:
        runtime.boot().launcher.script |= {"g/a": ["ignore"], "g/b": ["ignore"]}
        children = [server("a"), server("b", restart="temporary"), server("c")]
        ask(runtime, "start_child", spec={"id": "g", "supervisor": {"children": children}})
        rows = ask(runtime, "which_children", supervisor="g")
        assert [(id, pid if pid == "undefined" else "up") for id, pid, _ in rows] == [("c", "up"), ("a", "undefined")]


class TestStartChild:
    """otp-semantics §1.7, start_child of a static supervisor."""

    @pytest.mark.parametrize(("restart", "specs"), [("permanent", 1), ("transient", 1), ("temporary", 0)])
    def test_1_7_start_child_that_ignores_keeps_the_spec_unless_temporary(
        self, runtime: FakeNode, restart: str, specs: int
    ) -> None:
        runtime.boot().launcher.script["x"] = ["ignore"]
        assert ask(runtime, "start_child", spec=server("x", restart=restart)) == "undefined"
        assert ask(runtime, "count_children") == {"specs": specs, "active": 0, "supervisors": 0, "workers": specs}
        assert ask(runtime, "which_children") == [("x", "undefined", "worker")][:specs]

    def test_1_7_start_child_that_fails_discards_the_spec_and_is_not_retried(self, runtime: FakeNode) -> None:
        runtime.boot(max_restarts=0)
        failing(runtime, "x")
        with pytest.raises(StartError):
            ask(runtime, "start_child", spec=server("x"))
        assert (runtime.launcher.did(), runtime.shown()) == (["start x"], {})
        assert refused(runtime, "get_childspec", id="x") == "not_found"

    def test_1_7_start_child_with_the_id_of_one_that_is_restarting_is_already_present(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", backoff=LATER))
        in_backoff(runtime, "a")
        assert refused(runtime, "start_child", spec=server("a")) == "already_present"

    def test_1_7_start_child_with_a_bad_spec_leaves_the_supervisor_alone(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        for bad in (server("x", restart="sometimes"), server("x", restart="transient", significant=True), {"id": "x"}, 3):
            with pytest.raises(ConfigError):
                ask(runtime, "start_child", spec=bad)
        assert runtime.shown() == {"a": "READY"}
        assert ask(runtime, "start_child", spec=server("x"))["id"] == "x"

    def test_1_3_a_new_child_goes_last_and_one_that_is_added_again_too(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        ask(runtime, "terminate_child", id="a")
        ask(runtime, "delete_child", id="a")
        ask(runtime, "start_child", spec=server("a"))
        assert [id for id, _, _ in ask(runtime, "which_children")] == ["a", "b"]


class TestRestartChild:
    """otp-semantics §1.7, restart_child."""

    def test_1_7_restart_child_that_ignores_is_undefined(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        ask(runtime, "terminate_child", id="a")
        runtime.launcher.script["a"] = ["ignore"]
        assert ask(runtime, "restart_child", id="a") == "undefined"
        assert ask(runtime, "which_children") == [("a", "undefined", "worker")]

    def test_1_7_restart_child_that_fails_keeps_the_spec_and_neither_retries_nor_counts(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), max_restarts=0)
        ask(runtime, "terminate_child", id="a")
        runtime.launcher.did()
        for _ in range(3):
            failing(runtime, "a")
            with pytest.raises(StartError):
                ask(runtime, "restart_child", id="a")
        assert runtime.launcher.did() == ["start a"] * 3
        assert ask(runtime, "which_children") == [("a", "undefined", "worker")]
        assert ask(runtime, "restart_child", id="a")["incarnation"] == 5

    @pytest.mark.parametrize("op", ["restart_child", "delete_child"])
    def test_1_6_restart_child_and_delete_child_of_one_that_is_restarting(self, runtime: FakeNode, op: str) -> None:
        runtime.boot(server("a", backoff=LATER))
        in_backoff(runtime, "a")
        assert refused(runtime, op, id="a") == "restarting"


class TestTerminateChild:
    """otp-semantics §1.7, terminate_child."""

    def test_1_7_terminate_child_deletes_a_temporary_child(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", restart="temporary"))
        assert ask(runtime, "terminate_child", id="a") is None
        assert runtime.shown() == {}
        assert refused(runtime, "terminate_child", id="a") == "not_found"

    @pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
    def test_1_7_terminate_child_never_restarts_siblings(self, runtime: FakeNode, strategy: str) -> None:
        runtime.boot(server("a"), server("b"), server("c"), strategy=strategy)
        runtime.launcher.did()
        ask(runtime, "terminate_child", id="b")
        assert runtime.launcher.did() == ["stop b"]

    def test_1_7_terminate_child_never_triggers_auto_shutdown(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", restart="transient", significant=True), server("b"), auto_shutdown="any_significant")
        ask(runtime, "terminate_child", id="a")
        assert runtime.shown() == {"a": "STOPPED", "b": "READY"}

    def test_1_6_terminate_child_of_one_that_is_restarting_cancels_that(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", backoff=LATER))
        in_backoff(runtime, "a")
        assert ask(runtime, "terminate_child", id="a") is None
        runtime.launcher.did()
        runtime.advance(60.0)
        assert (runtime.launcher.did(), runtime.shown()) == ([], {"a": "STOPPED"})

    def test_1_7_terminate_child_blocks_its_supervisor_and_no_other(self, runtime: FakeNode) -> None:
        runtime.boot(GROUP, {"id": "h", "supervisor": {"children": [server("b")]}})
        runtime.launcher.undying.add("g/a")
        stop = runtime.owner.begin("terminate_child", supervisor="g", id="a")
        behind = runtime.owner.begin("which_children", supervisor="g")
        assert ask(runtime, "which_children", supervisor="h")[0][0] == "b"
        assert ask(runtime, "which_children")[0][0] == "h"
        assert not [message for message in runtime.owner.heard() if message[1] in (stop, behind)]
        runtime.process("g/a").end("shutdown")
        runtime.turn()
        assert [m[1:] for m in runtime.owner.heard() if m[1] in (stop, behind)] == [
            [stop, None],
            [behind, [("a", "undefined", "worker")]],
        ]


class TestQueries:
    """otp-semantics §1.7, which_children, count_children and get_childspec."""

    def test_1_6_a_child_that_is_restarting_is_shown_and_counted_as_such(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", backoff=LATER), GROUP)
        in_backoff(runtime, "a")
        assert ask(runtime, "which_children") == [("g", os.getpid(), "supervisor"), ("a", "restarting", "worker")]
        assert ask(runtime, "count_children") == {"specs": 2, "active": 1, "supervisors": 1, "workers": 1}

    def test_1_7_which_children_is_in_reverse_start_order(self, runtime: FakeNode) -> None:
        runtime.boot(server("b"), server("a"))
        ask(runtime, "start_child", spec=server("c"))
        assert [id for id, _, _ in ask(runtime, "which_children")] == ["c", "a", "b"]

    def test_1_7_which_child_is_its_row_of_which_children_or_not_found(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", backoff=LATER), server("b"), GROUP)
        in_backoff(runtime, "a")
        for row in ask(runtime, "which_children"):
            assert ask(runtime, "which_child", id=row[0]) == row
        assert ask(runtime, "which_child", id="a")[1] == "restarting"
        assert refused(runtime, "which_child", supervisor="g", id="b") == "not_found"

    def test_1_7_get_childspec_of_what_does_not_run_is_its_spec(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", restart="transient"))
        ask(runtime, "terminate_child", id="a")
        assert ask(runtime, "get_childspec", id="a")["restart"] == "transient"

    def test_1_7_a_call_to_a_dead_supervisor_is_noproc(self, runtime: FakeNode) -> None:
        runtime.boot(GROUP)
        ask(runtime, "stop", id="g")
        for op, args in (("start_child", {"spec": server("x")}), ("restart_child", {"id": "a"}), ("get_childspec", {"id": "a"})):
            with pytest.raises(NoProcessError, match="supervisor 'g' is not running"):
                ask(runtime, op, supervisor="g", **args)


class TestDynamic:
    """otp-semantics §1.11: the same functions of a dynamic supervisor."""

    def test_1_11_start_supervisor_makes_one(self, runtime: FakeNode) -> None:
        runtime.boot()
        options = {"dynamic": True, "max_children": 2, "extra_arguments": [1]}
        assert ask(runtime, "start_supervisor", id="pool", **options)["id"] == "pool"
        spec = ask(runtime, "get_childspec", id="pool")["supervisor"]
        assert {key: spec[key] for key in options} == options
        with pytest.raises(ConfigError, match="found one_for_all with dynamic: true"):
            ask(runtime, "start_supervisor", id="other", dynamic=True, strategy="one_for_all")

    def test_1_11_each_start_child_has_a_spec_of_its_own(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        for spec in (server("a", restart="temporary"), {"server": "pkg.mod:Other"}, {"id": "g", "supervisor": {"children": []}}):
            ask(runtime, "start_child", supervisor="pool", spec=spec)
        assert runtime.shown() == {"pool": "READY", "pool/a": "READY", "pool/other#1": "READY", "pool/g": "READY"}
        assert ask(runtime, "get_childspec", supervisor="pool", id="a")["restart"] == "temporary"
        assert ask(runtime, "get_childspec", supervisor="pool", id="other#1")["server"] == "pkg.mod:Other"

    def test_1_11_max_children_counts_those_that_start_run_or_are_restarting(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        runtime.launcher.script["pool/b"] = ["hang"]
        ask(runtime, "start_child", supervisor="pool", spec=server("a", backoff=LATER))
        runtime.owner.begin("start_child", supervisor="pool", spec=server("b"))
        ask(runtime, "start_child", supervisor="pool", spec=server("c"))
        in_backoff(runtime, "pool/a")
        assert refused(runtime, "start_child", supervisor="pool", spec=server("d")) == "max_children"
        ask(runtime, "terminate_child", supervisor="pool", id="a")
        assert ask(runtime, "start_child", supervisor="pool", spec=server("d"))["id"] == "pool/d"

    def test_1_11_an_id_that_is_taken_is_no_error(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        ids = [ask(runtime, "start_child", supervisor="pool", spec=server("w"))["id"] for _ in range(3)]
        assert ids == ["pool/w", "pool/w#1", "pool/w#2"]

    def test_1_11_extra_arguments_come_first(self, runtime: FakeNode) -> None:
        runtime.boot({"id": "pool", "supervisor": {"dynamic": True, "extra_arguments": ["x", {"k": 1}]}})
        for id, args in (("a", ["y"]), ("b", {"z": 1}), ("c", [])):
            ask(runtime, "start_child", supervisor="pool", spec=server(id, args=args))
        launches = [runtime.process(f"pool/{id}").launch for id in "abc"]
        assert [(launch.args, dict(launch.kwargs)) for launch in launches] == [
            (("x", {"k": 1}, "y"), {}),
            (("x", {"k": 1}), {"z": 1}),
            (("x", {"k": 1}), {}),
        ]
        assert ask(runtime, "get_childspec", supervisor="pool", id="a")["args"] == ["y"]
        runtime.crash("pool/a")
        assert runtime.process("pool/a").launch.args == ("x", {"k": 1}, "y")

    def test_1_11_a_start_that_ignores_or_fails_leaves_nothing(self, runtime: FakeNode) -> None:
        runtime.boot(POOL).launcher.script |= {"pool/a": ["ignore"], "pool/b": ["fail"]}
        assert ask(runtime, "start_child", supervisor="pool", spec=server("a")) == "undefined"
        with pytest.raises(StartError) as caught:
            ask(runtime, "start_child", supervisor="pool", spec=server("b"))
        assert caught.value.id == "pool/b"
        assert runtime.shown() == {"pool": "READY"}

    @pytest.mark.parametrize(("restart", "reason"), [("transient", "normal"), ("temporary", "killed")])
    def test_1_11_a_child_that_ends_for_good_is_forgotten(self, runtime: FakeNode, restart: str, reason: str) -> None:
        runtime.boot(POOL)
        ask(runtime, "start_child", supervisor="pool", spec=server("a", restart=restart))
        runtime.process("pool/a").end(reason)
        runtime.turn()
        assert runtime.shown() == {"pool": "READY"}
        assert ask(runtime, "exit_of", id="pool/a", incarnation=1) == reason
        shown = [event["state"] for event in runtime.node.reports.events if event["id"] == "pool/a" and event["type"] == "state"]
        assert shown[-1] == "EXITED"
        assert (runtime.node.reports.events[-1]["type"], runtime.node.reports.events[-1]["id"]) == ("deleted", "pool/a")

    def test_1_11_a_restart_that_ignores_is_forgotten(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        ask(runtime, "start_child", supervisor="pool", spec=server("a"))
        runtime.launcher.script["pool/a"] = ["ignore"]
        runtime.crash("pool/a")
        assert runtime.shown() == {"pool": "READY"}

    def test_1_11_terminate_child_forgets_and_an_unknown_id_is_not_found(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        ask(runtime, "start_child", supervisor="pool", spec=server("a"))
        assert ask(runtime, "terminate_child", supervisor="pool", id="a") is None
        assert runtime.shown() == {"pool": "READY"}
        assert refused(runtime, "terminate_child", supervisor="pool", id="a") == "not_found"

    def test_1_11_the_id_addresses_a_child_that_is_restarting(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        ask(runtime, "start_child", supervisor="pool", spec=server("a", backoff=LATER))
        in_backoff(runtime, "pool/a")
        assert ask(runtime, "terminate_child", supervisor="pool", id="a") is None
        assert runtime.shown() == {"pool": "READY"}

    @pytest.mark.parametrize("op", ["restart_child", "delete_child"])
    def test_1_11_there_is_no_restart_child_and_no_delete_child(self, runtime: FakeNode, op: str) -> None:
        runtime.boot(POOL)
        ask(runtime, "start_child", supervisor="pool", spec=server("a"))
        assert refused(runtime, op, supervisor="pool", id="a") == "dynamic"

    def test_1_11_counts_are_of_children_and_active_excludes_restarting(self, runtime: FakeNode) -> None:
        runtime.boot(POOL)
        for spec in (server("a", backoff=LATER), server("b"), {"id": "g", "supervisor": {"children": []}}):
            ask(runtime, "start_child", supervisor="pool", spec=spec)
        in_backoff(runtime, "pool/a")
        assert ask(runtime, "count_children", supervisor="pool") == {"specs": 3, "active": 2, "supervisors": 1, "workers": 2}
        rows = ask(runtime, "which_children", supervisor="pool")
        assert rows == [
            ("g", os.getpid(), "supervisor"),
            ("b", runtime.process("pool/b").pid, "worker"),
            ("a", "restarting", "worker"),
        ]
