"""A supervisor's place in the tree: full ids, incarnations, a second life, and what a failed start is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.registry import Registry
from dspex_runtime.node.supervisor_node import SupervisorNode, start_error
from dspex_runtime.types import ChildId
from helpers.fake_tree import ManualLoop, worker


@pytest.fixture
def loop() -> Iterator[ManualLoop]:
    loop = ManualLoop()
    yield loop
    loop.close()


def node(registry: Registry, path: str = "") -> SupervisorNode:
    spec = SupervisorSpec(children=(worker("a"),))
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
