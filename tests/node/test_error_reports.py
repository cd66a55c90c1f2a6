"""Crash reports that came and those that did not, and the offender of a supervisor report (otp-semantics §2.11)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec, Shutdown
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.error_reports import ErrorReports
from dspex_runtime.node.reports import Reports
from dspex_runtime.types import ChildId, Kind, RestartType

SPEC = ChildSpec(ChildId("it"), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, target="pkg.mod:It"))
PROCESS: Any = SimpleNamespace(id="sup/it", incarnation=2, pid=4711, launch=SPEC.launch)


def ended(reason: Any, *, ignored: bool = False) -> Ending:
    return Ending(reason, ready=True, ignored=ignored, fault=None)


def events(reports: Reports) -> list[dict[str, Any]]:
    return [{key: event[key] for key in event if key not in ("seq", "time")} for event in reports.events]


def test_what_a_module_tells_is_an_event_of_its_incarnation() -> None:
    reports = Reports()
    ErrorReports(reports).event(PROCESS, {"type": "log_full", "message": "disk", "id": "another"})
    assert events(reports) == [{"type": "log_full", "id": "sup/it", "incarnation": 2, "message": "disk", "id_": "another"}]


def test_a_crash_report_that_came_is_the_only_one() -> None:
    reports = Reports()
    errors = ErrorReports(reports)
    errors.event(PROCESS, {"type": "crash_report", "reason": "killed", "pid": 4711})
    errors.ended(PROCESS, ended(("error", "E", "m", "")), expected=False)
    assert events(reports) == [{"type": "crash_report", "id": "sup/it", "incarnation": 2, "reason": "killed", "pid": 4711}]


@pytest.mark.parametrize("reason", ["killed", ("signal", "SEGV"), ("exit_status", 3), ("limit", "memory", 9)])
def test_the_runtime_makes_the_report_of_one_that_could_not(reason: Any) -> None:
    reports = Reports()
    ErrorReports(reports).ended(PROCESS, ended(reason), expected=False)
    (report,) = events(reports)
    assert (report["type"], report["id"], report["incarnation"], report["pid"]) == ("crash_report", "sup/it", 2, 4711)
    assert (report["reason"], report["initial_call"], report["synthesised"]) == (reason, "pkg.mod:It", True)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (ended("normal"), False),
        (ended("shutdown"), False),
        (ended(("shutdown", "x")), False),
        (ended("killed"), True),
        (ended(("exit_status", 1), ignored=True), False),
    ],
)
def test_no_crash_report_for_an_ordinary_or_an_expected_end(ending: Ending, expected: bool) -> None:
    reports = Reports()
    ErrorReports(reports).ended(PROCESS, ending, expected=expected)
    assert events(reports) == []


@pytest.mark.parametrize(
    ("shutdown", "shown"),
    [(Shutdown(timeout_s=10.0), 10.0), (Shutdown(brutal=True), "brutal_kill"), (Shutdown(timeout_s=None), "infinity")],
)
def test_the_offender_has_otps_fields(shutdown: Shutdown, shown: Any) -> None:
    errors = ErrorReports(Reports())
    errors.ended(PROCESS, ended("killed"), expected=True)
    spec = ChildSpec(ChildId("it"), Kind.SERVER, launch=SPEC.launch, restart=RestartType.TRANSIENT, shutdown=shutdown)
    assert errors.offender("sup/it", spec, 2) == {
        "id": "sup/it", "pid": 4711, "incarnation": 2, "initial_call": "pkg.mod:It", "restart_type": "transient",
        "significant": False, "shutdown": shown, "child_type": "worker",
    }  # fmt: skip
    assert errors.offender("sup/it", None, 3) == {"id": "sup/it", "pid": None, "incarnation": 3}
