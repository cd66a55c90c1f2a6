"""A supervisor's place in the tree: full ids, incarnations, a second life, and what a failed start is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import LaunchSpec, SupervisorSpec
from dspex_runtime.core.dynamic_machine import DynamicMachine
from dspex_runtime.core.supervisor_machine import SupervisorMachine
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Registry
from dspex_runtime.node.supervisor_node import SupervisorNode, start_error, supervisor_facts
from dspex_runtime.types import ChildId, Kind
from helpers.fake_tree import ManualLoop, group, worker


@pytest.fixture
def loop() -> Iterator[ManualLoop]:
    loop = ManualLoop()
    yield loop
    loop.close()


def node(registry: Registry, path: str = "", spec: SupervisorSpec | None = None) -> SupervisorNode:
    spec = spec or SupervisorSpec(children=(worker("a"),))
    return SupervisorNode(registry, spec, key=path, path=path, booted=lambda _: None, exited=lambda _: None)


@pytest.mark.parametrize(("path", "expected"), [("", "a"), ("g", "g/a"), ("g/h", "g/h/a")])
def test_a_childs_full_id_begins_with_its_supervisors(path: str, expected: str) -> None:
    assert node(Registry(), path).full_id(ChildId("a")) == expected


def test_a_supervisor_that_starts_again_is_new_and_counts_incarnations_on() -> None:
    first = node(Registry(), "g")
    again = first.again(lambda _: None)
    assert (again.key, again.path, again.spec, again.exited) == (first.key, first.path, first.spec, first.exited)
    started = [supervisor.machine.handle(ev.Boot(), 0.0)[0] for supervisor in (first, again)]
    assert started == [do.StartChild(worker("a"), incarnation) for incarnation in (1, 2)]


def test_closing_drops_the_timers(loop: ManualLoop) -> None:
    fired: list[str] = []
    supervisor = node(Registry())
    supervisor.timers["t"] = loop.call_later(1.0, lambda: fired.append("t"))
    supervisor.close()
    loop.advance(2.0)
    assert (fired, supervisor.timers, supervisor.closed) == ([], {}, True)


@pytest.mark.parametrize(
    ("reason", "fault", "traceback"),
    [
        (("error", "ValueError", "no", "of the reason"), {"traceback": "of the fault"}, "of the fault"),
        (("error", "ValueError", "no", "of the reason"), None, "of the reason"),
        (("error", "ValueError", "no", ""), {}, None),
        ("killed", None, None),
    ],
)
def test_a_failed_start_carries_the_childs_own_traceback(reason: ExitReason, fault: dict[str, Any] | None, traceback: str) -> None:
    error = start_error("g/a", reason, fault)
    assert (error.id, error.reason, error.remote_traceback) == ("g/a", reason, traceback)
    assert error.message.startswith("'g/a' did not start: ")


def test_a_target_that_the_host_refused_is_told_without_the_hosts_own_frames() -> None:
    reason = ("error", "dspex_runtime.errors.StartError", "X is not hostable: ...", "Traceback of the host")
    error = start_error("a", reason, {"traceback": "Traceback of the host"})
    assert (error.message, error.remote_traceback) == ("'a' did not start: X is not hostable: ...", None)


DYNAMIC = SupervisorSpec(dynamic=True, max_children=9, extra_arguments=("x", 1))


@pytest.mark.parametrize(("spec", "kind"), [(SupervisorSpec(), SupervisorMachine), (DYNAMIC, DynamicMachine)])
def test_its_spec_says_which_machine_it_has(spec: SupervisorSpec, kind: type) -> None:
    assert type(node(Registry(), "g", spec).machine) is kind


def test_extra_arguments_reach_processes_only() -> None:
    supervisor = node(Registry(), "pool", DYNAMIC)
    child = worker("w", launch=LaunchSpec(Kind.SERVER, target="pkg:X", args=("own",), pickled_args=b"..."))
    launched = supervisor.launched(child).launch
    assert launched is not None
    assert (launched.args, launched.pickled_args) == (("x", 1, "own"), b"...")
    nested = group("g")
    assert supervisor.launched(nested) is nested
    assert node(Registry()).launched(child) is child


def test_an_id_is_kept_where_it_is_free_and_numbered_where_it_is_not() -> None:
    registry = Registry()
    supervisor = node(registry, "pool", DYNAMIC)
    assert supervisor.free_id("w", named=True) == "w"
    registry.ensure("pool/w", worker("w"))
    assert [supervisor.free_id("w", named=True) for _ in range(2)] == ["w#1", "w#2"]
    assert supervisor.free_id("v", named=False) == "v#1"
    assert supervisor.again(lambda _: None).free_id("v", named=False) == "v#2"


def test_a_dynamic_supervisors_facts_show_its_limit() -> None:
    facts = supervisor_facts(DYNAMIC, node(Registry(), "pool", DYNAMIC), 0.0)
    assert (facts["dynamic"], facts["max_children"], facts["children"]) == (True, 9, 0)
    assert "max_children" not in supervisor_facts(SupervisorSpec(), None, 0.0)
