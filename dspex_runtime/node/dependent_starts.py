"""Starts that somebody has asked for, of what depends on something that is down: they wait for it while it is coming.

    all up                        at once
    coming (STARTING, BACKOFF)    as soon as it is up; refused after the child's own start time-out
    not coming                    refused at once: whoever asks is told what to start first

Owns who waits. Never starts anything itself; restarts by policy wait in their supervisor's machine (`Hold`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dspex_runtime.core.child_spec import ChildSpec, Dependency
from dspex_runtime.errors import StartError
from dspex_runtime.node.event_loop import EventLoop, Timer

if TYPE_CHECKING:
    from dspex_runtime.node.dependencies import Dependencies

__all__ = ["DependentStarts"]

Refuse = Callable[[StartError], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    id: str
    edges: Mapping[str, Dependency]
    go: Callable[[], None]
    refuse: Refuse
    timer: Timer | None = None
    goes_by: frozenset[str] = frozenset()  #: all that it depends on, directly or not


class DependentStarts:
    """Of one runtime."""

    def __init__(self, loop: EventLoop, dependencies: Dependencies) -> None:
        self._loop = loop
        self._dependencies = dependencies
        self._waiting: list[_Waiting] = []
        dependencies.on_change.append(self._look)

    def when_possible(self, id: str, spec: ChildSpec, go: Callable[[], None], refuse: Refuse) -> None:
        """Call `go` now or as soon as all is up that the start of a child waits for; else `refuse`, with what is not."""
        start = _Waiting(id, spec.depends_on, go, refuse)
        if self._is_through(start):
            return
        limit_s = spec.start_timeout_s
        if limit_s is not None:
            start.timer = self._loop.call_later(limit_s, lambda: self._too_late(start, limit_s))
        self._waiting.append(start)

    def give_up(self, id: str | None, why: str) -> None:
        """Refuse the starts of a child, or all of them, that are waiting."""
        for start in [each for each in self._waiting if id in (None, each.id)]:
            self._end(start)
            start.refuse(StartError(f"{start.id!r} was not started: {why} while it waited for {self._shown(start)}", id=start.id))

    def _look(self, changed: Collection[str]) -> None:
        for start in [each for each in self._waiting if not each.goes_by.isdisjoint(changed)]:
            if start in self._waiting:
                self._is_through(start)

    def _is_through(self, start: _Waiting) -> bool:
        obstacles = self._dependencies.machine.obstacles(start.id, start.edges)
        lost = next((id for id, coming in obstacles.items() if not coming), None)
        if lost is not None:
            self._end(start)
            start.refuse(self._refusal(start, lost))
        elif not obstacles:
            self._end(start)
            start.go()
        else:
            start.goes_by = self._dependencies.machine.reached(start.edges)
            return False
        return True

    def _end(self, start: _Waiting) -> None:
        if start.timer is not None:
            start.timer.cancel()
        if start in self._waiting:
            self._waiting.remove(start)

    def _too_late(self, start: _Waiting, after_s: float) -> None:
        self._end(start)
        text = f"{start.id!r} was not started: it depends on {self._shown(start)}, and still waits for that after {after_s:g} s"
        start.refuse(StartError(text, id=start.id, reason=("limit", "start_timeout", after_s)))

    def _refusal(self, start: _Waiting, lost: str) -> StartError:
        on_down, state = start.edges[lost].on_down.value, self._dependencies.state_of(lost) or "not there"
        text = f"{start.id!r} was not started: {lost!r}, which it depends on (on_down: {on_down}), is {state}"
        return StartError(text, id=start.id, reason="noproc", hint=f"`dspex start {lost}` starts that one first")

    def _shown(self, start: _Waiting) -> str:
        waits_for = self._dependencies.machine.obstacles(start.id, start.edges)
        return ", ".join(f"{id!r} ({self._dependencies.state_of(id) or 'not there'})" for id in waits_for) or "nothing any more"
