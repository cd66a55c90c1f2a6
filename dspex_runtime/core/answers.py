"""Answers of a supervisor to requests: OTP's error atoms with a text, and the queries. Changes nothing."""

from __future__ import annotations

from itertools import islice
from typing import Any

from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.core.instructions import Err
from dspex_runtime.exit_reason import ExitReason, describe
from dspex_runtime.types import ChildId, Kind


def not_found(child_id: ChildId, table: ChildTable) -> Err:
    """Return the answer about an id the supervisor does not have."""
    known = ", ".join(islice((record.id for record in table), 20)) or "none"
    return Err("not_found", f"no child {child_id!r}; the supervisor's children: {known}")


def taken(record: Record) -> Err:
    """Return the answer to start_child with an id that exists."""
    if record.occupied:
        return Err("already_started", f"child {record.id!r} is already started (incarnation {record.incarnation})")
    if record.life is Life.RESTARTING:
        return Err("already_present", f"child {record.id!r} is already present, its restart is due; terminate it to cancel that")
    return Err("already_present", f"child {record.id!r} is already present, not running ({record.state}); restart or delete it")


def not_undefined(record: Record) -> Err | None:
    """Return why restart_child or delete_child is refused, or None when the child is not running and not about to."""
    if record.life is Life.RESTARTING:
        return Err("restarting", f"child {record.id!r} is being restarted; terminate it to cancel that")
    if record.occupied:
        return Err("running", f"child {record.id!r} is running (incarnation {record.incarnation})")
    return None


def start_failed(child_id: ChildId, reason: ExitReason, error: dict[str, Any] | None) -> Err:
    """Return the answer to a request whose start failed."""
    return Err("start_failed", f"child {child_id!r} failed to start: {describe(reason)}", reason, error, child_id)


def max_children(present: int, limit: int) -> Err:
    """Return the answer to start_child of a dynamic supervisor that is full."""
    return Err("max_children", f"the supervisor has {present} children, restarting ones included; max_children is {limit}")


def not_for_dynamic(request: str) -> Err:
    """Return the answer to a request that has no meaning where children that do not run are not kept."""
    return Err("dynamic", f"{request}: a dynamic supervisor keeps no spec of a child that is not running; use start_child")


def shutting_down() -> Err:
    """Return the answer to a request that a supervisor will not come to any more."""
    return Err("shutdown", "the supervisor is shutting down")


def gone() -> Err:
    """Return the answer to a request that reaches a supervisor after its end."""
    return Err("noproc", "the supervisor has ended")


def which_children(table: ChildTable) -> list[tuple[ChildId, int | str | None, str]]:
    """Return (id, pid | "undefined" | "restarting", type) of each child, last started first.

    The pid is what its start told, of a supervisor that of the process it runs in; None where it has just ended.
    """
    return [which_child(record) for record in reversed(table)]


def which_child(record: Record) -> tuple[ChildId, int | str | None, str]:
    """Return the same of one child."""
    return (record.id, _pid(record), _type(record.spec))


def count_children(table: ChildTable) -> dict[str, int]:
    """Return OTP's counts; active children are those whose process is alive."""
    supervisors = sum(1 for record in table if record.spec.kind is Kind.SUPERVISOR)
    return {
        "specs": len(table),
        "active": sum(1 for record in table if record.has_process),
        "supervisors": supervisors,
        "workers": len(table) - supervisors,
    }


def which_dynamic_children(table: ChildTable) -> list[tuple[ChildId, int | str | None, str]]:
    """Return the same of a dynamic supervisor, which starts children while it answers.

    A child that is being restarted is "restarting", one that is coming up for the first time "undefined".
    """
    return [which_dynamic_child(record) for record in reversed(table)]


def which_dynamic_child(record: Record) -> tuple[ChildId, int | str | None, str]:
    """Return the same of one child of a dynamic supervisor."""
    return (record.id, _dynamic_pid(record), _type(record.spec))


def count_dynamic_children(table: ChildTable) -> dict[str, int]:
    """Return the counts of a dynamic supervisor: active children are those that are up."""
    counts = count_children(table)
    counts["active"] = sum(1 for record in table if record.life in (Life.RUNNING, Life.STOPPING))
    return counts


def _dynamic_pid(record: Record) -> int | str | None:
    if record.life is Life.STARTING:
        return "restarting" if record.last_exit is not None else "undefined"
    return _pid(record)


def _pid(record: Record) -> int | str | None:
    if record.life is Life.RESTARTING:
        return "restarting"
    return record.pid if record.occupied else "undefined"


def _type(spec: ChildSpec) -> str:
    return "supervisor" if spec.kind is Kind.SUPERVISOR else "worker"
