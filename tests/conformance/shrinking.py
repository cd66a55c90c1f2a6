"""Makes a scenario that diverges smaller, as long as it diverges: drops steps, actions, children and scripts, one at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Scenario = dict[str, Any]
Place = tuple[Any, ...]  # keys and indices from the scenario down to what may be left out


def shrink(scenario: Scenario, diverging: Callable[[Sequence[Scenario]], Scenario | None], *, rounds: int = 60) -> Scenario:
    """Return a smaller scenario that still diverges.

    Args:
        scenario: One that diverges.
        diverging: Returns the first of some scenarios that diverges, or None.
        rounds: How often to ask at most.
    """
    for _ in range(rounds):
        smaller = diverging(list(_smaller(scenario)))
        if smaller is None:
            return scenario
        scenario = smaller
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield the two halves of the steps, then every scenario with one thing less."""
    steps = scenario["steps"]
    if len(steps) > 1:
        yield {**scenario, "steps": steps[: len(steps) // 2]}
        yield {**scenario, "steps": steps[len(steps) // 2 :]}
    for *above, last in _places(scenario):
        smaller = copy.deepcopy(scenario)
        container: Any = smaller
        for key in above:
            container = container[key]
        del container[last]
        yield smaller


def _places(scenario: Scenario) -> Iterator[Place]:
    for number, step in enumerate(scenario["steps"]):
        yield ("steps", number)
        if step[0] == "burst":
            yield from (("steps", number, 2, index) for index in range(len(step[2])))
    yield from _places_below(scenario["root"], ("root",))
    for number, actions in enumerate(scenario.get("gates", ())):
        yield ("gates", number)
        yield from (("gates", number, index) for index in range(len(actions)))


def _places_below(supervisor: dict[str, Any], path: Place) -> Iterator[Place]:
    for number, child in enumerate(supervisor.get("children", ())):
        here = (*path, "children", number)
        yield here
        yield from ((*here, key) for key in ("starts", "stop", "significant") if key in child)
        yield from ((*here, "starts", count) for count in child.get("starts", ()))
        if "supervisor" in child:
            yield from _places_below(child["supervisor"], (*here, "supervisor"))
