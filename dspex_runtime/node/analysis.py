"""How the latest start of the tree went: what each child waited for, and the chain of those that made it take so long.

    the root supervisor is asked to boot, a child begins, a child is ready -> Timeline -> analyze(tree, timeline)

A child waits for what it comes after: the dependency of it, or the sibling before it; the first ones wait for their supervisor.
Pure but for the clock that is handed in. Owns what it has seen of each full id, of its latest start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec

__all__ = ["Timeline", "Times", "analyze"]


@dataclass(slots=True)
class Times:
    """Of one child's start, in seconds of one clock; None: that has not been."""

    asked: float
    started: float | None = None
    ready: float | None = None


@dataclass(slots=True)
class Timeline:
    """What happened when.

    Args:
        now: The clock.

    Attributes:
        booted: When the root supervisor was asked to boot.
        times: Of the children, by full id.
    """

    now: Callable[[], float]
    booted: float | None = None
    times: dict[str, Times] = field(default_factory=dict)

    def begin(self, path: str, spec: SupervisorSpec) -> None:
        """A supervisor is asked to start these children; at `path` "" it is the root, and all begins anew.

        One that is started again later belongs to no boot any more.
        """
        asked, own = self.now(), self.times.get(path)
        if not path:
            self.booted = asked
            self.times.clear()
        elif own is None or own.ready is not None:
            return
        for child in spec.children:
            self.times[f"{path}/{child.id}" if path else str(child.id)] = Times(asked)

    def starting(self, full_id: str) -> None:
        """A process, or a supervisor, begins to start; one that comes back later has another time than its first."""
        times = self.times.get(full_id)
        if times is not None and times.started is None:
            times.started = self.now()

    def ready(self, full_id: str) -> None:
        """It is up."""
        times = self.times.get(full_id)
        if times is not None and times.ready is None:
            times.ready = self.now()


@dataclass(frozen=True, slots=True)
class _Seen:
    """One child of the tree that has begun to start.

    Attributes:
        waited_for: Full id of what was ready last of all that it came after; None: nothing of the tree.
        why: "dependency", "sibling" or "supervisor".
    """

    id: str
    spec: ChildSpec
    started: float
    ready: float | None
    asked: float
    waited_for: str | None
    why: str | None


def analyze(tree: SupervisorSpec, timeline: Timeline) -> dict[str, Any]:
    """Return the times of all children and the chain that the whole start has waited for, as plain data.

    {"seconds": all of it, "children": [{"id", "asked", "started", "ready", "seconds", "waited_for", "why"}, ...] in the order of
    their starts, "chain": those of them, first to last, that made it so long}. Times are seconds since the root was asked to boot.
    """
    origin = timeline.booted or 0.0
    seen = {each.id: each for each in _look("", tree, timeline.times)}
    last = max((each for each in seen.values() if each.ready is not None), key=lambda each: each.ready or 0.0, default=None)
    order = sorted(seen.values(), key=lambda each: each.started)
    return {
        "seconds": None if last is None or last.ready is None else last.ready - origin,
        "children": [_shown(each, origin) for each in order],
        "chain": [_shown(each, origin) for each in reversed(_chain(last, seen))],
    }


def _look(path: str, spec: SupervisorSpec, times: Mapping[str, Times]) -> Iterator[_Seen]:
    abreast = any(child.after for child in spec.children)
    before: list[str] = []
    for child in spec.children:
        id = f"{path}/{child.id}" if path else str(child.id)
        at = times.get(id)
        if at is not None and at.started is not None:
            after = [f"{path}/{other}" if path else str(other) for other in child.after] if abreast else before[-1:]
            waited_for = max(
                (other for other in after if _ready(times, other)), key=lambda other: _ready(times, other), default=None
            )
            why = "supervisor" if waited_for is None else "dependency" if abreast else "sibling"
            yield _Seen(id, child, at.started, at.ready, at.asked, waited_for or path or None, why if waited_for or path else None)
        before.append(id)
        if child.supervisor is not None:
            yield from _look(id, child.supervisor, times)


def _ready(times: Mapping[str, Times], id: str) -> float:
    at = times.get(id)
    return 0.0 if at is None or at.ready is None else at.ready


def _chain(last: _Seen | None, seen: Mapping[str, _Seen]) -> list[_Seen]:
    """Return what the last one has waited for, and so on, the last first; of a supervisor that was waited for, its last child."""
    chain: list[_Seen] = []
    here, below = last, True
    while here is not None:
        if here in chain:
            break
        chain.append(here)
        inner = _last_below(here, seen) if below and here.spec.supervisor is not None else None
        if inner is not None:
            here = inner
            continue
        waited_for, below = here.waited_for, here.why != "supervisor"  # its supervisor was up to nothing but starting it
        here = None if waited_for is None else seen.get(waited_for)
    return chain


def _last_below(supervisor: _Seen, seen: Mapping[str, _Seen]) -> _Seen | None:
    assert supervisor.spec.supervisor is not None
    below = [seen.get(f"{supervisor.id}/{child.id}") for child in supervisor.spec.supervisor.children]
    return max(
        (each for each in below if each is not None and each.ready is not None), key=lambda each: each.ready or 0.0, default=None
    )


def _shown(each: _Seen, origin: float) -> dict[str, Any]:
    return {
        "id": each.id,
        "kind": each.spec.kind.value,
        "asked": each.asked - origin,
        "started": each.started - origin,
        "ready": None if each.ready is None else each.ready - origin,
        "seconds": None if each.ready is None else each.ready - each.started,
        "waited_for": each.waited_for,
        "why": each.why,
    }
