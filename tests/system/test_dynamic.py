"""Dynamic supervisors and auto_shutdown with real processes (otp-semantics §1.5, §1.8, §1.9, §1.11)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import PROGRAMS, Start, server
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

POOL: dict[str, Any] = {"id": "pool", "supervisor": {"dynamic": True, "max_restarts": 1000}}


class Local(dx.GenServer):
    """Travels by value, with arguments that do, too."""

    def init(self, *args: Any, **kwargs: Any) -> Any:
        return [repr(args), repr(kwargs)]

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(state, state)


def ids(rt: dx.Runtime, supervisor: str) -> list[str]:
    return sorted(id for id, _, _ in rt.which_children(supervisor))


def ended(rt: dx.Runtime, id: str, how: str = "kill") -> Any:
    """End a child by itself and return the reason."""
    down = rt.monitor(id)
    if how == "kill":
        rt.kill(id)
    else:
        rt.server(id).call("stop")
    notice = down.wait(20)
    assert notice is not None
    return notice.reason


class TestChildren:
    """Started without an id, each with a spec of its own; gone when they end for good."""

    def test_1_11_ids_are_made_for_children_that_have_none_or_one_that_is_taken(self, shared: Start) -> None:
        rt = shared(POOL)
        first = rt.start(f"{PROGRAMS}:Counter", supervisor="pool")
        second = rt.start(f"{PROGRAMS}:Counter", supervisor="pool")
        third = rt.start_child("pool", {"server": f"{PROGRAMS}:Bad"})
        named = [rt.start_child("pool", server("w", "Counter")) for _ in range(2)]
        assert [ref.id for ref in (first, second, third)] == ["pool/counter#1", "pool/counter#2", "pool/bad#1"]
        assert [ref.id for ref in named] == ["pool/w", "pool/w#1"]
        assert (first.call(1), second.call(2), rt.server("counter#2").call(2)) == (1, 2, 4)
        assert rt.count_children("pool") == {"specs": 5, "active": 5, "supervisors": 0, "workers": 5}
        assert rt.which_child("pool", "counter#1") == ("counter#1", rt.info("counter#1").pid, "worker")

    def test_1_11_a_crash_restarts_the_child_under_its_id_with_its_arguments(self, shared: Start) -> None:
        rt = shared(POOL)
        child = rt.start(f"{PROGRAMS}:Counter", supervisor="pool", start=7, backoff="none")
        assert ended(rt, child.id) == "killed"
        assert child.call(1, timeout=20) == 8
        assert rt.info(child.id).restarts == 1

    @pytest.mark.parametrize(("restart", "how"), [("transient", "stop"), ("temporary", "stop"), ("temporary", "kill")])
    def test_1_11_a_child_that_ends_for_good_is_forgotten(self, shared: Start, restart: str, how: str) -> None:
        rt = shared(POOL)
        child = rt.start(f"{PROGRAMS}:Counter", supervisor="pool", restart=restart)
        ended(rt, child.id, how)
        with pytest.raises(dx.NoProcessError, match="no such id"):
            rt.info(child.id)
        assert rt.which_children("pool") == []
        assert Path(rt.log_path(child.id)).exists()  # why it ended can still be read

    def test_1_11_stop_delete_and_terminate_child_forget_and_restart_does_not(self, shared: Start) -> None:
        rt = shared(POOL)
        for id in "abcd":
            rt.start_child("pool", server(id, "Counter"))
        rt.stop("a")
        rt.delete("b")
        rt.terminate_child("pool", "c")
        rt.restart("d")
        assert ids(rt, "pool") == ["d"]
        assert rt.info("d").incarnation == 2

    def test_1_11_max_children_is_an_error_with_its_atom(self, shared: Start) -> None:
        rt = shared()
        rt.start_supervisor("pool", dynamic=True, max_children=2)
        for _ in range(2):
            rt.start(f"{PROGRAMS}:Counter", supervisor="pool")
        with pytest.raises(dx.SupervisorError, match="max_children is 2") as caught:
            rt.start(f"{PROGRAMS}:Counter", supervisor="pool")
        assert caught.value.code == "max_children"
        about = rt.info("pool").supervisor
        assert about is not None
        assert (about["dynamic"], about["children"], about["max_children"]) == (True, 2, 2)

    def test_1_11_extra_arguments_come_before_a_childs_own(self, shared: Start) -> None:
        rt = shared()
        rt.start_supervisor("pool", dynamic=True, extra_arguments=["x", {"k": 1}])
        plain = rt.start(f"{PROGRAMS}:Told", "y", supervisor="pool")
        named = rt.start_child("pool", {"server": f"{PROGRAMS}:Told", "args": {"z": 1}})
        by_value = rt.start(Local, 2j, supervisor="pool", z={3})
        assert plain.call("?") == [["x", {"k": 1}, "y"], {}]
        assert named.call("?") == [["x", {"k": 1}], {"z": 1}]
        assert by_value.call("?") == ["('x', {'k': 1}, 2j)", "{'z': {3}}"]

    def test_1_11_a_child_that_ignores_leaves_nothing(self, shared: Start) -> None:
        rt = shared(POOL)
        assert rt.start(f"{PROGRAMS}:Ignores", supervisor="pool") == "undefined"
        with pytest.raises(dx.StartError, match="the index is missing"):
            rt.start(f"{PROGRAMS}:RaisesInInit", supervisor="pool")
        assert rt.count_children("pool")["specs"] == 0

    def test_1_1_bad_combinations_are_refused_before_anything_starts(self, shared: Start) -> None:
        rt = shared(POOL)
        with pytest.raises(dx.ConfigError, match="found any_significant with dynamic: true"):
            rt.start_supervisor("p", dynamic=True, auto_shutdown="any_significant")
        with pytest.raises(dx.ConfigError, match="found without dynamic: true"):
            rt.start_supervisor("p", max_children=3)
        with pytest.raises(dx.ConfigError, match="under a dynamic supervisor"):
            rt.start_child("pool", server("x", "Counter", restart="transient", significant=True))
        rt.start_supervisor("s", auto_shutdown="any_significant")
        with pytest.raises(dx.ConfigError, match="on a permanent child"):
            rt.start_child("s", server("x", "Counter", significant=True))
        assert [info.id for info in rt.modules()] == ["pool", "s"]


class TestEscalation:
    """otp-semantics §1.5: giving up, and what comes back."""

    def test_1_5_a_supervisor_that_starts_anew_has_its_static_children_only(self, shared: Start) -> None:
        group = {"id": "g", "supervisor": {"children": [server("a", "Counter"), server("b", "Counter")]}}
        rt = shared(group, POOL)
        rt.start_child("g", server("added", "Counter"))
        rt.terminate_child("g", "a")
        rt.delete_child("g", "a")
        rt.start_child("pool", server("w", "Counter"))
        rt.restart("g")
        rt.restart("pool")
        assert (ids(rt, "g"), ids(rt, "pool")) == (["a", "b"], [])
        for id in ("g/added", "pool/w"):
            with pytest.raises(dx.NoProcessError):
                rt.info(id)

    @pytest.mark.parametrize(("restart", "state"), [("permanent", "READY"), ("transient", "FAILED"), ("temporary", None)])
    def test_1_5_what_becomes_of_a_supervisor_that_gave_up(self, shared: Start, restart: str, state: str | None) -> None:
        children = [server("x", "Counter"), server("y", "Counter")]
        group = {"id": "g", "restart": restart, "supervisor": {"max_restarts": 0, "children": children}}
        rt = shared(group, server("z", "Counter"))
        watched = rt.monitor("g")
        ended(rt, "g/x")
        notice = watched.wait(20)
        assert notice is not None
        assert notice.reason == "shutdown"
        if state is None:
            wait_until(lambda: [info.id for info in rt.modules()] == ["z"])
        else:
            rt.wait(["g", "g/x", "g/y"], state=state.lower(), timeout=20)
        assert rt.info("z").restarts == 0

    @pytest.mark.parametrize(("outer", "inner"), [(0, 0), (0, 2), (1, 1), (2, 1)])
    def test_1_5_the_root_survives_the_product_of_the_intensities(self, runtime: Start, outer: int, inner: int) -> None:
        group = {"id": "g", "supervisor": {"max_restarts": inner, "max_seconds": 600, "children": [server("x", "Counter")]}}
        rt = runtime(group, tree={"max_restarts": outer, "max_seconds": 600})
        for _ in range((outer + 1) * (inner + 1) - 1):
            ended(rt, "g/x")
            rt.wait("g/x", timeout=20)
        assert rt.tree()["state"] == "READY"
        ended(rt, "g/x")
        rt.wait("g/x", state="failed", timeout=20)
        assert rt.tree()["state"] == "FAILED"


class TestTermination:
    """otp-semantics §1.8: a static supervisor stops its children one by one, a dynamic one all at once."""

    def test_1_8_children_of_a_dynamic_supervisor_are_stopped_together(self, shared: Start, tmp_path: Path) -> None:
        rt = shared(POOL)
        folder = tmp_path / "stopping"
        folder.mkdir()
        number = 20
        for place in range(number):
            args = {"folder": str(folder), "number": number, "name": str(place)}
            rt.start_child("pool", server(f"w{place}", "Together", args=args, shutdown="infinity"))
        downs = [rt.monitor(f"w{place}") for place in range(number)]
        rt.stop("pool")  # ends only if each of them was asked to before any of them has ended
        assert {notice.reason for notice in (down.wait(20) for down in downs) if notice} == {"shutdown"}

    def test_1_8_each_child_of_a_dynamic_supervisor_has_its_own_shutdown(self, shared: Start) -> None:
        rt = shared(POOL)
        rt.start_child("pool", server("polite", "Counter"))
        rt.start_child("pool", server("stubborn", "StubbornTerminate", shutdown={"drain": 0, "timeout": "300ms"}))
        rt.start_child("pool", server("brutal", "StubbornTerminate", shutdown="brutal_kill"))
        downs = {id: rt.monitor(id) for id in ("polite", "stubborn", "brutal")}
        rt.stop("pool")
        notices = {id: down.wait(20) for id, down in downs.items()}
        assert {id: notice.reason for id, notice in notices.items() if notice} == {
            "polite": "shutdown", "stubborn": "killed", "brutal": "killed",
        }  # fmt: skip
        assert rt.info("pool").last_exit == "shutdown"

    def test_1_8_a_child_that_must_be_killed_is_reported_and_the_stop_succeeds(self, shared: Start) -> None:
        children = [server("a", "Counter"), server("stubborn", "StubbornTerminate", shutdown={"drain": 0, "timeout": "300ms"})]
        rt = shared({"id": "g", "supervisor": {"children": children}})
        events = rt.events()
        rt.stop("g")
        assert rt.info("g").last_exit == "shutdown"
        report = next(event for event in events if event["type"] == "shutdown_error")
        events.close()
        assert (report["id"], report["supervisor"], report["reason"]) == ("g/stubborn", "g", "killed")

    def test_1_8_a_child_that_dies_by_itself_during_the_sweep_keeps_its_reason(self, shared: Start, tmp_path: Path) -> None:
        gated = server("gated", "Gated", args={"folder": str(tmp_path), "name": "gated", "gates": "stop"}, shutdown="infinity")
        rt = shared({"id": "g", "supervisor": {"children": [server("a", "Counter"), gated]}})
        stopper = threading.Thread(target=rt.stop, args=("g",))
        stopper.start()
        wait_until((tmp_path / "gated.waits").exists)
        assert ended(rt, "g/a") == "killed"
        (tmp_path / "stop").touch()
        stopper.join(20)
        assert (rt.info("g/a").last_exit, rt.info("g/a").incarnation) == ("killed", 1)


class TestOthersGoOn:
    """A supervisor that waits for one child delays its own queue and nobody else's."""

    @pytest.mark.parametrize("gate", ["start", "stop"])
    def test_1_7_a_slow_child_delays_only_the_requests_behind_it(self, shared: Start, tmp_path: Path, gate: str) -> None:
        empty: dict[str, Any] = {"supervisor": {"children": []}}
        rt = shared({"id": "g", **empty}, {"id": "h", **empty}, server("x", "Counter"))
        gated = server("gated", "Gated", args={"folder": str(tmp_path), "name": "gated", "gates": gate}, shutdown="infinity")
        if gate == "stop":
            rt.start_child("g", gated)
        busy = threading.Thread(target=lambda: rt.start_child("g", gated) if gate == "start" else rt.stop("g/gated"))
        busy.start()
        wait_until((tmp_path / "gated.waits").exists)
        behind = threading.Thread(target=rt.start_child, args=("g", server("behind", "Counter")))
        behind.start()
        rt.start_child("h", server("beside", "Counter"))
        rt.restart("x")
        assert rt.server("h/beside").call(1) == rt.server("x").call(1) == 1
        assert [info.id for info in rt.modules() if info.id == "g/behind"] == []
        (tmp_path / gate).touch()
        for thread in (busy, behind):
            thread.join(20)
        assert rt.server("g/behind").call(1) == 1

    @pytest.mark.parametrize("gate", ["start", "stop"])
    def test_1_11_a_slow_child_of_a_dynamic_supervisor_delays_no_sibling(self, shared: Start, tmp_path: Path, gate: str) -> None:
        rt = shared(POOL)
        gated = server("gated", "Gated", args={"folder": str(tmp_path), "name": "gated", "gates": gate}, shutdown="infinity")
        if gate == "stop":
            rt.start_child("pool", gated)
        busy = threading.Thread(target=lambda: rt.start_child("pool", gated) if gate == "start" else rt.stop("pool/gated"))
        busy.start()
        wait_until((tmp_path / "gated.waits").exists)
        rt.start_child("pool", server("w", "Counter"))
        ended(rt, "pool/w")
        assert rt.server("w").call(1, timeout=20) == 1
        rt.stop("w")
        assert ids(rt, "pool") == ["gated"]
        (tmp_path / gate).touch()
        busy.join(20)
        assert ids(rt, "pool") == (["gated"] if gate == "start" else [])


class TestAutoShutdown:
    """otp-semantics §1.9, with processes that really end."""

    def group(self, auto_shutdown: str, **keys: Any) -> dict[str, Any]:
        children = [
            server("a", "Counter", restart="transient", significant=True),
            server("b", "Counter", restart="temporary", significant=True),
            server("c", "Counter"),
        ]
        return {"id": "g", "restart": "transient", "supervisor": {"auto_shutdown": auto_shutdown, "children": children}, **keys}

    @pytest.mark.parametrize(("id", "how"), [("g/a", "stop"), ("g/b", "stop"), ("g/b", "kill")])
    def test_1_9_any_significant(self, shared: Start, id: str, how: str) -> None:
        rt = shared(self.group("any_significant"), server("x", "Counter"))
        events = rt.events()
        ended(rt, id, how)
        event = next(event for event in events if event["type"] == "auto_shutdown")
        events.close()
        assert event["id"] == "g"
        rt.wait("g", state="exited", timeout=20)
        assert (rt.info("g").last_exit, rt.info("g/c").state, rt.info("x").state) == ("shutdown", "STOPPED", "READY")
        rt.start("g")
        assert rt.server("g/c").call(1) == 1

    def test_1_9_all_significant_counts_one_that_was_terminated_as_gone(self, shared: Start) -> None:
        rt = shared(self.group("all_significant"))
        rt.terminate_child("g", "a")
        assert rt.info("g").state == "READY"
        ended(rt, "g/b")
        rt.wait("g", state="exited", timeout=20)

    def test_1_9_a_crash_of_a_transient_child_is_no_end(self, shared: Start) -> None:
        rt = shared(self.group("any_significant"))
        ended(rt, "g/a")
        assert rt.server("g/a").call(1, timeout=20) == 1
        assert rt.info("g").incarnation == 1

    def test_1_9_the_end_of_the_tree_propagates_to_the_root_and_is_shown(self, runtime: Start) -> None:
        rt = runtime(self.group("any_significant", significant=True), tree={"auto_shutdown": "all_significant"})
        ended(rt, "g/a", "stop")
        rt.wait("g", state="exited", timeout=20)
        wait_until(lambda: rt.tree()["state"] == "EXITED")
        assert rt.info("root").state == "EXITED"
        rt.start("root")
        assert rt.server("g/c").call(1) == 1
        assert rt.tree()["state"] == "READY"
