"""Which children a restart takes along, in what order. Never stops or starts anything.

Source: supervisor.erl restart/3, restart_multiple_children.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.types import ChildId, State, Strategy


@dataclass(frozen=True, slots=True)
class Plan:
    """What one restart does: `stop` last to first, then `start` first to last. Both are in start order.

    `start` names every child in range, also those that were not running: a sweep brings back children that were stopped
    by request, finished or had ignored. Temporary ones are deleted while they are stopped, so starting must skip ids
    that are gone.
    """

    stop: list[ChildId]
    start: list[ChildId]


def plan(strategy: Strategy, table: ChildTable, pivot: ChildId) -> Plan:
    """Return the plan for restarting `pivot`, whose own process is already gone."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            start = [pivot]
        case Strategy.REST_FOR_ONE:
            ids = table.ids()
            start = ids[ids.index(pivot) :]
        case Strategy.ONE_FOR_ALL:
            start = table.ids()
        case _:
            assert_never(strategy)
    return Plan(stop=[child_id for child_id in start if child_id != pivot], start=start)


def abandoned(strategy: Strategy, table: ChildTable) -> list[Record]:
    """Return the children that wait for a restart nobody will make any more.

    A sweep that failed half-way leaves children PENDING until the pivot's retry. When that retry is cancelled they stay
    down, as in OTP, and must not be shown as waiting.
    """
    if strategy is Strategy.ONE_FOR_ONE:
        return []  # nobody ever waits for a sibling; and with many children this must not cost a walk
    if strategy is Strategy.ONE_FOR_ALL and any(record.life is Life.RESTARTING for record in table):
        return []
    found: list[Record] = []
    for record in table:
        if record.life is Life.RESTARTING:
            break  # its retry covers everything after it
        if record.life is Life.UNDEFINED and record.state is State.PENDING:
            found.append(record)
    return found
