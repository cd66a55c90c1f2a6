"""What the ledgers of the swap torture say, compared with what its users have noted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helpers.siege import World
from helpers.swap_clients import read_notes
from helpers.swap_page import KILLS

RUNS: Final = ("call", "cast", "again")
FEW: Final = 8  # descriptors; one left by each swap is more
IN_ORDER: Final = ("s",)  # the other one runs several at once


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a ledger: see `system/programs_swapped.py`."""

    kind: str
    pid: int
    gen: int
    moves: int
    client: str
    n: int


def lines(folder: Path, id: str) -> list[Line]:
    """Return what was run, in the order in which it was."""
    path = folder / f"ran-{id}"
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0].splitlines()
    return [
        Line(kind, int(pid), int(gen), int(moves), client, int(n)) for kind, pid, gen, moves, client, n in map(str.split, whole)
    ]


class Books:
    """All of it, at one moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kills = bool(world.page[KILLS])
        self.ran = {id: lines(world.folder, id) for id in ("s", "m")}
        self.sent: dict[tuple[str, str, int], str] = {}  # kind by (id, user, number)
        self.done: set[tuple[str, str, int]] = set()
        self.down: set[tuple[str, str, int]] = set()
        for user, what, id, kind, n in read_notes(world.folder):
            key = (id, user, n)
            if what == "sent":
                self.sent[key] = kind
            else:
                (self.done if what == "done" else self.down).add(key)

    def owed(self) -> int:
        """Return how many timers, continuations and casts have not come yet that must."""
        missing = 0
        for id, ran in self.ran.items():
            there = Counter((line.kind, line.client, line.n) for line in ran)
            for (of, user, n), kind in self.sent.items():
                if of == id and (of, user, n) in self.done:
                    missing += kind == "arm" and not there["armed", user, n]
                    missing += kind == "go-on" and not there["continued", user, n]
                    missing += kind == "cast" and not there["cast", user, n]
        return missing

    def audit(self) -> Counter[str]:
        """Complain of all that must not be; return counts."""
        counts: Counter[str] = Counter()
        for id, ran in self.ran.items():
            self._each_once(id, ran, counts)
            self._one_at_a_time(id, ran)
            self._timers(id, ran)
            if id in IN_ORDER:
                self._in_order(id, ran)
        counts["calls and casts"] = len(self.sent)
        counts["in flight at a kill"] = len(self.down)
        self._told()
        return counts

    def counted(self, id: str) -> dict[str, int]:
        """Return how much was run of each user."""
        return dict(Counter(line.client for line in self.ran[id] if line.kind in RUNS))

    def _each_once(self, id: str, ran: list[Line], counts: Counter[str]) -> None:
        times = Counter((line.client, line.n) for line in ran if line.kind in RUNS)
        over = Counter((line.client, line.n) for line in ran if line.kind == "over")
        for (client, n), count in times.items():
            kind = self.sent.get((id, client, n))
            if kind is None:
                self._world.complain("wrong", f"{id} ran {client} {n}, which nobody sent")
            elif count > 1 and kind != "again":
                self._world.complain("twice", f"{id} ran {kind} {client} {n} {count} times")
        for (of, user, n), kind in self.sent.items():
            if of != id or (self._kills and kind == "cast"):
                continue
            if not times[user, n] and ((of, user, n) in self.done or not self._kills):
                self._world.complain("lost", f"{id} did not run {kind} {user} {n}")
            if id == "m" and (of, user, n) in self.done and not over[user, n] and not (self._kills and kind == "again"):
                self._world.complain("lost", f"{id} did not end {kind} {user} {n}")
        counts[f"run by {id}"] = sum(times.values())

    def _one_at_a_time(self, id: str, ran: list[Line]) -> None:
        """Who has been followed by another process runs nothing any more; a process is of one version."""
        before: set[int] = set()
        now, gens = 0, {}
        for place, line in enumerate(ran):
            if line.pid != now:
                before.add(now)
                now = line.pid
                if now in before and not self._kills:  # else pids may come again
                    self._world.complain("two serve", f"{id}: line {place}: {line} behind one of its successor's")
            if gens.setdefault(line.pid, line.gen) != line.gen and not self._kills:
                self._world.complain("two serve", f"{id}: line {place}: {line.pid} was of {gens[line.pid]}, is of {line.gen}")

    def _in_order(self, id: str, ran: list[Line]) -> None:
        last: dict[str, int] = defaultdict(int)
        for line in ran:
            # Of several requests in a row those that a process gives back at its end are sent again in any order.
            if line.kind in RUNS and not (self._kills and self.sent.get((id, line.client, line.n)) == "several"):
                if line.n <= last[line.client]:
                    self._world.complain("order", f"{id} ran {line.client} {line.n} behind {last[line.client]}")
                last[line.client] = line.n

    def _timers(self, id: str, ran: list[Line]) -> None:
        for kind, what in (("armed", "arm"), ("continued", "go-on")):
            times = Counter((line.client, line.n) for line in ran if line.kind == kind)
            for (client, n), count in times.items():
                if count > 1:
                    self._world.complain("twice", f"{id}: {kind} {client} {n} {count} times")
            for (of, user, n), how in self.sent.items():
                if of == id and how == what and not times[user, n] and not self._kills and (of, user, n) in self.done:
                    self._world.complain("lost", f"{id}: {kind} {user} {n}")
        chains: dict[tuple[str, str], int] = {}
        for line in ran:
            if line.kind in ("tick", "heard"):
                before = chains.get((line.kind, line.client), 0)
                if line.kind == "tick" and line.n != before + 1 and before:
                    self._world.complain("twice" if line.n <= before else "lost", f"{id}: tick {line.n} after {before}")
                if line.kind == "heard" and line.n <= before:
                    self._world.complain("twice", f"{id} was told version {line.n} of m.number after {before}")
                chains[line.kind, line.client] = line.n
        beginnings = [client for kind, client in chains if kind == "tick"]
        if len(beginnings) > 1 and not self._kills:
            self._world.complain("twice", f"{id} ticks in {len(beginnings)} chains")

    def _told(self) -> None:
        """Nobody is told of an end because of a swap."""
        path = self._world.folder / "told-w"
        for line in path.read_text().splitlines() if path.exists() else ():
            if not self._kills or "swapped" in line:
                self._world.complain("told", f"the neighbour: {line}")
        for id, ran in self.ran.items():
            for line in ran:
                if line.kind == "told" and not self._kills:
                    self._world.complain("told", f"{id}: {line}")

    def heard(self, id: str) -> int:
        """Return the newest version that it was told of what it follows."""
        return max((line.n for line in self.ran[id] if line.kind == "heard"), default=0)


def census(pids: Iterable[int]) -> dict[int, Counter[str]]:
    """Return what each process has open, by what it is."""
    return {pid: Counter(_open_of(pid)) for pid in pids}


def more(before: dict[int, Counter[str]], after: dict[int, Counter[str]]) -> dict[int, Any]:
    """Return what is open now and was not before, by process; some values more or less are in memfds of their own."""
    found: dict[int, Any] = {}
    for pid, now in after.items():
        grown = {what: n for what, n in (now - before.get(pid, Counter())).items() if n > FEW}
        if grown:
            found[pid] = grown
    return found


def _open_of(pid: int) -> Iterator[str]:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(fd.readlink()).partition(":[")[0]
        except OSError:
            continue
