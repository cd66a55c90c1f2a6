from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.testing.faults import Cut, Fault, FaultPlan, Latency, Status

PLANS: dict[str, tuple[list[tuple[Fault, int | None, int]], list[list[Fault]]]] = {
    "none": ([], [[], []]),
    "the next": ([(Cut(), 1, 1)], [[Cut()], []]),
    "the next two": ([(Cut(), 2, 1)], [[Cut()], [Cut()], []]),
    "every third": ([(Cut(), None, 3)], [[], [], [Cut()], [], [], [Cut()]]),
    "the second, once": ([(Cut(), 1, 2)], [[], [Cut()], [], []]),
    "two of them": ([(Latency(0.1), None, 1), (Status(500), 1, 2)], [[Latency(0.1)], [Latency(0.1), Status(500)], [Latency(0.1)]]),
}


@pytest.mark.parametrize(("planned", "met"), PLANS.values(), ids=PLANS)
def test_requests_meet_what_was_planned(planned: Any, met: list[list[Fault]]) -> None:
    plan = FaultPlan()
    for fault, times, every in planned:
        plan.add(fault, times=times, every=every)
    assert [list(plan.take()) for _ in met] == met


def test_a_plan_can_be_forgotten() -> None:
    plan = FaultPlan()
    plan.add(Cut(), times=None, every=1)
    plan.clear()
    assert plan.take() == ()


@pytest.mark.parametrize("counts", [{"times": 0, "every": 1}, {"times": 1, "every": 0}])
def test_a_fault_that_never_happens_is_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match="at least once"):
        FaultPlan().add(Cut(), **counts)
