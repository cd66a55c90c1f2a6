"""Which processes were told how things are and have not said yet that they go by it; and who waits until they do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dspex_runtime.core.dependencies import Dependencies

__all__ = ["Tellings"]


class Tellings:
    """Of one runtime.

    Args:
        machine: Knows who depends on whom.
    """

    def __init__(self, machine: Dependencies) -> None:
        self._machine = machine
        self._made = 0
        self._open: dict[int, str] = {}  #: who was told, by telling
        self._waiting: list[tuple[set[int], Callable[[], None]]] = []

    def begin(self, id: str) -> Callable[[], None]:
        """A process is told; return what is to be called when it goes by it, or cannot be waited for."""
        self._made += 1
        telling = self._made
        self._open[telling] = id
        return lambda: self._end(telling)

    def when_heard(self, ids: Iterable[str], then: Callable[[], None]) -> None:
        """Call `then` when these, and all that depend on one of them or on what is below one, go by what they were told before.

        Cost: proportional to the tellings that are open, whatever they are about.
        """
        about = frozenset(ids)
        concerned = {telling for telling, id in self._open.items() if self._concerns(id, about)}
        if concerned:
            self._waiting.append((concerned, then))
        else:
            then()

    def _concerns(self, told: str, about: Collection[str]) -> bool:
        return _is_below(told, about) or any(_is_below(dep, about) for dep in self._machine.edges(told))

    def _end(self, telling: int) -> None:
        if self._open.pop(telling, None) is None:
            return
        heard: list[Callable[[], None]] = []
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            entry[0].discard(telling)
            if entry[0]:
                self._waiting.append(entry)
            else:
                heard.append(entry[1])
        for then in heard:
            then()


def _is_below(id: str, about: Collection[str]) -> bool:
    """Return whether it is one of these, or below one."""
    while id:
        if id in about:
            return True
        id = id.rpartition("/")[0]
    return False
