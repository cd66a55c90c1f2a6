"""Calls and figures of modules beyond what the living process knows: of one that does not run, and of the incarnations before.

The keeper has what modules wrote down each second; a module has its own. Who asks gets them as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.node.registry import Record

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["KEPT_OPS", "joined", "of_stopped", "summary", "with_earlier"]

KEPT_OPS: Final = frozenset({"executions", "metrics"})
DEFAULT_N: Final = 20

Facts: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Any, Facts | None], None]  # (value, fault)


def of_stopped(node: Node, record: Record, op: str, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer one of KEPT_OPS for a child that has no process."""
    if op == "metrics":
        answer(summary(node.keeping.base(record.id)), None)
        return
    wanted = {"id": record.id, "n": asked.get("n", DEFAULT_N)}
    node.keeping.ask("executions", wanted, lambda value, fault, _: answer(value, fault))


def with_earlier(node: Node, record: Record, asked: Mapping[str, Any], answer: Answer) -> Answer:
    """Return the answer to "executions" of a process that may be too young to know as many as were asked for."""
    n = asked.get("n", DEFAULT_N)

    def own(value: Any, fault: Facts | None) -> None:
        is_first = record.incarnation <= 1 and not node.keeping.base(record.id)
        if fault is not None or len(value) >= n or is_first:
            answer(value, fault)
            return
        # A store that does not answer takes nothing away from what the module itself knows.
        node.keeping.ask("executions", {"id": record.id, "n": n}, lambda kept, _, __: answer(joined(value, kept or [], n), None))

    return own


def joined(own: list[Facts], kept: list[Facts], n: int) -> list[Facts]:
    """Return the newest n of both, newest first; a call that was written down already is in both."""
    known = {(each["started_at"], each["method"]) for each in own}
    return [*own, *(each for each in kept if (each["started_at"], each["method"]) not in known)][:n]


def summary(totals: Mapping[str, Any]) -> Facts:
    """Return the sums of all incarnations as `host.metrics` shows them; percentiles are known of living processes only."""
    count, failures, busy_ns = totals.get("calls", 0), totals.get("failures", 0), totals.get("busy_ns", 0)
    return {
        "count": count,
        "failures": failures,
        "success_rate": (count - failures) / count if count else None,
        "avg_ms": busy_ns / count / 1e6 if count else None,
        "p50_ms": None,
        "p99_ms": None,
        "busy_s": busy_ns / 1e9,
        "last_error": totals.get("last_error"),
    }
