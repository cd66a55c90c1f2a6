"""Changes of parameters on their way to one subscriber: in which order, and what of them a slow one gets. Pure.

Never sends, never decodes a value, reads no clock. A change that is told stands for the versions it replaced: whoever is told
learns how many those were, wherever on the way they were left out.

    module -> runtime: one Pending for each subscriber -> subscriber: one Pending, then Told
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class News:
    """One change on its way.

    Attributes:
        id: Full id of the module; "$shared" for the runtime's own.
        name: Of the parameter.
        version: Of the value.
        when: Seconds since the epoch.
        who: Who wrote it.
        data: The encoded value; None: whoever is told takes it from the table, at this version or a later one.
        skipped: How many versions right before this one it stands for as well.
    """

    id: str
    name: str
    version: int
    when: float
    who: str
    data: bytes | None = None
    skipped: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Of which parameter it is."""
        return self.id, self.name

    def after(self, earlier: News) -> News:
        """Return what is told instead of both: the later of them, which stands for the other as well."""
        if self.version <= earlier.version:
            return earlier
        return replace(self, skipped=self.version - earlier.version + earlier.skipped)

    def to_wire(self) -> dict[str, Any]:
        """Return it as the payload of an EVENT."""
        facts = {"type": "changed", "id": self.id, "name": self.name, "version": self.version, "when": self.when, "who": self.who}
        return {**facts, "value": self.data, "skipped": self.skipped}

    @classmethod
    def from_wire(cls, facts: Mapping[str, Any], id: str | None = None) -> News:
        """Return what `to_wire` made; `id` where the payload has none: a module does not say its own.

        Raises:
            KeyError, TypeError, ValueError: It is no such payload.
        """
        data = facts.get("value")
        if not isinstance(data, bytes | None):
            raise TypeError(f"the value of a change is bytes, or None; got {type(data).__name__}")
        of = str(facts["id"]) if id is None else id
        skipped = int(facts.get("skipped", 0))
        return cls(of, str(facts["name"]), int(facts["version"]), float(facts["when"]), str(facts["who"]), data, skipped)


class Pending:
    """What one subscriber has not taken yet.

    In the order in which it came while that is at most `keep`. A subscriber that falls further behind gets the latest of each
    parameter only, until it has taken all there is. Holds at most `keep`, or one for each parameter.
    """

    __slots__ = ("_all", "_keep", "_latest")

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._all: deque[News] = deque()
        self._latest: dict[tuple[str, str], News] = {}

    def __len__(self) -> int:
        return len(self._all) + len(self._latest)

    @property
    def is_behind(self) -> bool:
        """Whether it gets the latest only."""
        return bool(self._latest)

    def put(self, news: News) -> None:
        """Add a change."""
        if not self._latest:
            self._all.append(news)
            if len(self._all) <= self._keep:
                return
            added, self._all = self._all, deque()
        else:
            added = deque((news,))
        for each in added:
            # A parameter keeps its place in the row: one that changes all the time must not wait all the time.
            earlier = self._latest.get(each.key)
            self._latest[each.key] = each if earlier is None else each.after(earlier)

    def take(self) -> News | None:
        """Take the next, None when there is none."""
        if self._all:
            return self._all.popleft()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return None

    def waiting(self) -> list[News]:
        """Return what there is, in the order in which `take` would give it."""
        return [*self._all, *self._latest.values()]

    def drop(self, unwanted: Callable[[News], bool]) -> None:
        """Drop some."""
        self._all = deque(news for news in self._all if not unwanted(news))
        self._latest = {key: news for key, news in self._latest.items() if not unwanted(news)}


class Inbox:
    """What came for one subscriber, on its own side: nothing is told twice, or after something later of the same parameter.

    The changes that are waiting are a `Pending`.
    """

    __slots__ = ("_pending", "_told")

    def __init__(self, keep: int) -> None:
        self._pending = Pending(keep)
        self._told: dict[tuple[str, str], int] = {}  # versions

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, news: News) -> None:
        """Add a change. Where nothing of its parameter was known, what came before it counts as told."""
        self._told.setdefault(news.key, news.version - news.skipped - 1)
        self._pending.put(news)

    def catch_up(self, id: str, versions: Mapping[str, Sequence[Any]]) -> None:
        """Add what a module has, {name: [version, when, who]}, and did not tell: it had ended, or nobody had asked it yet.

        Where nothing of a parameter was known, the subscription begins with what there is.
        """
        for name, (version, when, who) in versions.items():
            if version > self._told.setdefault((id, name), int(version)):
                self._pending.put(News(id, name, int(version), float(when), str(who)))

    def forget(self, id: str) -> None:
        """That module is gone for good; another one of this id counts from 1."""
        self.drop(lambda news: news.id == id)
        for key in [key for key in self._told if key[0] == id]:
            del self._told[key]

    def begin_anew(self, unwatched: Callable[[str, str], bool]) -> None:
        """A subscription ended: the next one to the same parameters, by id and name, begins with what there is by then."""
        for key in [key for key in self._told if unwatched(*key)]:
            del self._told[key]

    def take(self) -> News | None:
        """Take the next that is to be told, with the right count; None when there is none."""
        while (news := self._pending.take()) is not None:
            last = self._told.get(news.key)
            if last is None or news.version > last:
                self._told[news.key] = news.version
                return news if last is None else replace(news, skipped=news.version - last - 1)
        return None

    def found(self, news: News, version: int) -> int:
        """A later version was found where the value of one that was taken is kept; return how many it then stands for."""
        self._told[news.key] = max(version, self._told.get(news.key, 0))
        return news.skipped + version - news.version

    def contents(self) -> tuple[list[tuple[str, str, int]], list[News]]:
        """Return which version of each parameter was told last, as (id, name, version), and what is waiting, in order."""
        return [(*key, version) for key, version in self._told.items()], self._pending.waiting()

    def adopt(self, told: Iterable[tuple[str, str, int]], waiting: Iterable[News]) -> None:
        """Go on with the contents of another one, before all that comes from now on."""
        for id, name, version in told:
            self._told[id, name] = version
        for news in waiting:
            self._pending.put(news)

    def drop(self, unwanted: Callable[[News], bool]) -> None:
        """Drop some of what is waiting."""
        self._pending.drop(unwanted)
