"""What the swap torture kills, and when: one of the processes that take part in a swap, at one of its steps."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dspex_runtime as dx
from dspex_runtime.osproc.liveness import is_dying
from helpers import siege
from helpers.siege import fork, kill
from helpers.swap_page import HAND, LATEST, SERVING, Hand
from helpers.swapper import LIMIT_S, WORDS, Version, about, swapped
from helpers.waiting import wait_until

if TYPE_CHECKING:
    from system.swap_torture import Conductor

#: Who is killed, and how often in comparison.
VICTIMS: Final = {
    "old": 5, "new": 5, "old, by its own hand": 4, "new, by its own hand": 4, "zygotes": 2, "keeper": 2, "runtime": 2, "owner": 1,
    "everything": 1, "client": 2, "asker": 3, "nothing, restarted": 2, "old and keeper": 1, "new and zygotes": 1, "old and new": 1,
}  # fmt: skip
MOMENTS: Final = ("rehearsing", "verified", "draining", "moving", "done")
ENDS_THE_RUNTIME: Final = ("runtime", "owner", "everything")
LATER_S: Final = {"rehearsing": 0.02, "done": 0.005}  # at most, after a moment; others are over soon
LOOK_S: Final = 0.0002


@dataclass(frozen=True)
class Round:
    """One of them."""

    victim: str
    moment: str
    ids: tuple[str, ...]


class Killer:
    """Swaps, kills, and looks whether all is well again."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._world = conductor.world
        self._choose = conductor.choose
        self._outcome = conductor.world.folder / "outcome.json"

    def run(self, rounds: int) -> None:
        """Kill that many times: each victim at each moment first, as far as there are rounds, in random order; then at random."""
        for number, each in enumerate(self._plan(rounds), 1):
            self._conductor.wait_for_work()
            self._round(each)
            print(f"{number}: {each.victim} {each.moment} {each.ids} {self._outcome_text()}", file=sys.stderr, flush=True)
            self._conductor.counts[each.victim] += 1

    def _plan(self, rounds: int) -> Iterator[Round]:
        every = [(victim, moment) for victim in VICTIMS for moment in MOMENTS]
        self._choose.shuffle(every)
        some = self._choose.choices(list(VICTIMS), list(VICTIMS.values()), k=max(0, rounds - len(every)))
        for victim, moment in [*every[:rounds], *((victim, self._choose.choice(MOMENTS)) for victim in some)]:
            ids = self._choose.choice([("s",), ("m",), ("s", "m")])
            yield Round(victim, moment, ids)

    def _round(self, each: Round) -> None:
        conductor, page = self._conductor, self._world.page
        self._outcome.unlink(missing_ok=True)
        for word in range(2 * len(Hand)):
            page[HAND + word] = 0
        processes = conductor.runtime.processes()
        before = dict(conductor.swapper.serving)
        versions = {id: conductor.swapper.next_version(id) for id in each.ids}
        client = self._choose.choice(list(conductor.clients.values()))
        asker = fork(lambda: self._swap(each, processes, client))
        os.waitpid(asker, 0)
        if each.victim in ENDS_THE_RUNTIME:
            conductor.runtime.up_again(processes["all"])
        for place, pid in list(conductor.clients.items()):
            if each.victim in ("client", "everything") and is_dying(pid):
                os.waitpid(pid, 0)
                conductor.start_client(place)
        conductor.wait_for_work()
        conductor.in_child(lambda rt: self._look(rt, each, before, versions))
        conductor.look_for_processes()

    # -- in the process that asks for the swap

    def _swap(self, each: Round, processes: dict[str, list[int]], client: int) -> None:
        choose = random.Random()
        done = []

        def progress(event: dict[str, Any]) -> None:
            if event["phase"] == each.moment and not done:
                done.append(True)
                _pause(choose.uniform(0, LATER_S.get(each.moment, 0.002)))
                self._kill(each, processes, client, choose)

        with dx.connect(siege.NAME) as rt:
            old = {info.id: info.pid for info in rt.modules()}
            # Modules whose zygote has died are children of the runtime, as zygotes are.
            processes = {**processes, "zygotes": [pid for pid in processes["zygotes"] if pid not in old.values()]}
            for id in each.ids:
                self._world.page[SERVING + WORDS[id]] = old[id] or 0
            if "own hand" in each.victim:
                self._arm(each, choose)
            try:
                swapped(rt, {id: {"verify": "fit"} for id in each.ids}, {"on_progress": progress})
                outcome: dict[str, Any] = {"ok": True}
            except dx.SwapError as exc:
                outcome = {"ok": False, "code": exc.code, "text": str(exc)[:300]}
            except dx.RuntimeUnreachableError:
                outcome = {"ok": None}
            if each.moment == "done":
                outcome["ok"] = outcome["ok"] and None if each.victim in ENDS_THE_RUNTIME else outcome["ok"]
            self._outcome.write_text(json.dumps({**outcome, "killed": bool(done)}))

    def _arm(self, each: Round, choose: random.Random) -> None:
        hand = Hand.OLD if each.victim.startswith("old") else Hand.NEW
        for id in each.ids:
            self._world.page[HAND + WORDS[id] * len(Hand) + hand] = choose.choice([1, choose.randrange(2, 4000)])

    def _kill(self, each: Round, processes: dict[str, list[int]], client: int, choose: random.Random) -> None:
        page = self._world.page
        victims: list[int] = []
        for part in each.victim.split(" and "):
            match part:
                case "old":
                    victims += [page[SERVING + WORDS[id]] for id in each.ids[:1]]
                case "new":
                    victims += [pid for id in each.ids[:1] if (pid := self._new(id))]
                case "nothing, restarted":
                    fork(lambda: _restart(each.ids[0]))
                case "client":
                    victims.append(client)
                case "asker":
                    victims.append(os.getpid())
                case "everything":
                    victims += [pid for pid in (*processes["all"], *self._conductor.clients.values()) if pid]
                case "zygotes" | "keeper" | "runtime" | "owner":
                    victims += processes[part]
        for pid in choose.sample(victims, len(victims)):
            kill(pid)

    def _new(self, id: str) -> int | None:
        """Return the process that has loaded its code and does not serve yet, waiting a moment for it."""
        page, until = self._world.page, time.monotonic() + 0.1
        while time.monotonic() < until:
            pid = page[LATEST + WORDS[id]]
            if pid != page[SERVING + WORDS[id]]:
                return int(pid)
            _pause(LOOK_S)
        return None

    # -- afterwards

    def _outcome_text(self) -> str:
        return self._outcome.read_text() if self._outcome.exists() else "asker killed"

    def _look(self, rt: dx.Runtime, each: Round, before: dict[str, Version], versions: dict[str, Version]) -> None:
        """Look who serves: one of the two, the new one if that was said, and as all the others do."""
        outcome = json.loads(self._outcome_text()) if self._outcome.exists() else {"ok": None}
        wait_until(lambda: all(rt.info(id).swap is None for id in each.ids), timeout_s=LIMIT_S, what="the end of the swap")
        swapper = self._conductor.swapper
        for id, version in versions.items():
            facts = _asked(rt, id)
            allowed = {version.gen} if outcome["ok"] else {version.gen, before[id].gen}
            if facts["gen"] not in allowed:
                self._world.complain("other", f"{each}: {id} is {facts['gen']}, was {before[id]}, told was {outcome}")
            if facts["gen"] == version.gen:
                swapper._happened(None, version, id)
            else:
                swapper._restore([id])
            info = rt.info(id)
            if info.pid != facts["pid"] and not is_dying(facts["pid"]):
                self._world.complain("two serve", f"{each}: {id} is {info.pid}, {facts['pid']} answers")


def _restart(id: str) -> None:
    with dx.connect(siege.NAME) as rt:
        rt.restart(id)


def _asked(rt: dx.Runtime, id: str) -> dict[str, Any]:
    while True:
        try:
            return about(rt, id)
        except dx.NoProcessError:
            raise
        except dx.ProcessDownError:  # it was just killed
            continue


def _pause(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(LOOK_S)
