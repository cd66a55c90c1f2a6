"""Two children are swapped, again and again, while everybody uses them: `python -m tests.system.swap_torture [SWAPS] [--kills]`.

A server and a module, whose files are rewritten, are swapped up, back, both at once, refused, aborted, cancelled, suspended and
drained. Threads and tasks in several processes call, cast, stream, defer, set timers and pipeline; a writer sets parameters, a
reader reads them, a witness monitors, links, follows and looks up names. What is run is written into a ledger by the process that
runs it, what is asked into the notes of who asks. It complains when something is
    lost         asked and not run, acknowledged and not there, answered with an error
    twice        run, fired or told twice
    order        run in another order than it was sent
    two serve    run by a process behind its successor, or by two versions in one process
    mixed        the answer to something else, or of a version with the helper module of another
    backwards    of an older version, or an older value, than the same one saw before
    told         an end that was a swap
    left         a process or a descriptor that is there after the last swap and was not before the first
With --kills, each round kills the old process, the new one, zygotes, the keeper, the runtime, its owner, a client, or whoever asked
for the swap, at a step of the protocol. What was in flight then fails with the reason and is counted apart; what was set is there.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dspex_runtime as dx
from helpers import siege
from helpers.killing_runs import command_line, run_as_told
from helpers.siege import STOP, Besieged, World, fork
from helpers.swap_books import Books, census, lines, more
from helpers.swap_clients import THREADS, WRITTEN, Reader, Tasks, Threads, Witness, Writer
from helpers.swap_kills import MOMENTS, VICTIMS, Killer
from helpers.swap_page import ACKNOWLEDGED, DONE, HEARD, KILLS, MOVES, QUIET, READS, RESTING
from helpers.swapper import WAYS, Swapper, about
from helpers.system import FOLDER
from helpers.waiting import wait_until

COMPLAINTS: Final = ("lost", "twice", "order", "two serve", "mixed", "backwards", "wrong", "torn", "told", "left", "other")
CLIENTS: Final = (Threads, Threads, Tasks, Writer)
SPARES: Final = 2
OTHERS: Final = 4  # runtime, keeper, zygotes


class Conductor:
    """Starts everything, has it swapped and killed, and looks at what is left. Has no threads: all else is forked from here."""

    def __init__(self, world: World, seed: int, kills: bool) -> None:
        self.world = world
        self.choose = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.clients: dict[int, int] = {}  # place among CLIENTS -> pid
        self._serial = 0
        self._others: list[int] = []
        world.page[KILLS] = kills
        self.swapper = Swapper(world, seed)
        self.swapper.first()
        neighbour = {"id": "w", "server": f"{FOLDER}/programs_swapped.py:Neighbour", "args": {"folder": str(world.folder)}}
        children = [self.swapper.code.spec("s"), self.swapper.code.spec("m"), {**neighbour, **siege.QUICK_END}]
        tree = {"max_restarts": 100_000, "max_seconds": 1, "children": children}
        self.runtime = Besieged(world, {"runtime": {"spares": SPARES, "preload": ["dspy", "numpy"]}, "tree": tree})

    def swap(self, swaps: int) -> None:
        """Swap that many times, and nothing is killed but both at the very end."""
        self.runtime.up()
        self.in_child(self._first_swaps)
        before = self._quiet_census()
        self._begin()
        self.wait_for_work()
        self.in_child(lambda rt: self._swaps(rt, swaps))
        self._rest()
        self._audit()
        self._end_of_clients()
        self._looked_for(before)
        self.in_child(self._kill_at_last)
        self._neighbour_was_told()
        self.runtime.down()

    def kill(self, rounds: int) -> None:
        """Swap that many times, and kill something each time."""
        self.runtime.up()
        self._begin()
        Killer(self).run(rounds)
        self._rest()
        self._audit()
        self._end_of_clients()
        self.runtime.down()
        self.runtime.up()
        self.in_child(self._written)
        self.runtime.down()

    # -- what runs

    def _first_swaps(self, rt: dx.Runtime) -> None:
        rt.server("s").info_message("watch")
        for id in ("s", "m", "both"):
            self.swapper.swap(rt, f"up {id}")

    def _begin(self) -> None:
        for place in range(len(CLIENTS)):
            self.start_client(place)
        self._others = [fork(Reader(self.world, 1).run), fork(Witness(self.world).run)]

    def start_client(self, place: int) -> None:
        """Start a client process anew."""
        self._serial += 1
        self.clients[place] = fork(CLIENTS[place](self.world, self._serial, place * THREADS).run)

    def words(self) -> list[int]:
        """Return the words of all users."""
        return [
            place * THREADS + number for place, kind in enumerate(CLIENTS) for number in range(THREADS if kind is Threads else 1)
        ]

    def wait_for_work(self, least: int = 1) -> None:
        """Wait until each user has been answered that often again."""
        page, words = self.world.page, self.words()
        before = [page[DONE + word] for word in words]
        working = lambda: all(page[DONE + word] >= count + least for word, count in zip(words, before, strict=True))  # noqa: E731
        wait_until(working, timeout_s=120, what="any work")

    def _swaps(self, rt: dx.Runtime, swaps: int) -> None:
        while self.swapper.counts["swaps"] < swaps:
            way = self.choose.choices(list(WAYS), list(WAYS.values()))[0]
            self.swapper.swap(rt, way)
            self.wait_for_work()
        took = sorted(self.swapper.took)
        pauses = {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "max": took[-1]}
        told = {"ways": dict(self.swapper.counts), "pause_ms": {name: round(1000 * pause, 1) for name, pause in pauses.items()}}
        (self.world.folder / "swapped.json").write_text(json.dumps(told))

    def in_child(self, work: Callable[[dx.Runtime], object]) -> None:
        """Have a child work with the runtime, and complain when it fails."""

        def run() -> None:
            with dx.connect(siege.NAME) as rt:
                work(rt)

        if os.waitpid(fork(run), 0)[1]:
            self.world.complain("other", "what the conductor asked for failed")
        self.swapper = Swapper(self.world, self.choose.randrange(2**32))  # what was done is noted

    # -- the end

    def _rest(self) -> None:
        """Have all users come to rest, and wait for what is on its way."""
        page = self.world.page
        page[QUIET] = 1
        wait_until(lambda: all(page[RESTING + word] for word in self.words()), timeout_s=180, what="the clients to rest")
        if not page[KILLS]:
            with suppress(AssertionError):  # the audit says what has not come
                wait_until(lambda: not Books(self.world).owed(), timeout_s=60)

    def _audit(self) -> None:
        books, page = Books(self.world), self.world.page
        self.counts += books.audit()
        if not page[KILLS]:
            self.in_child(lambda rt: self._states(rt, books))
        self.in_child(self._written)
        self.counts["swaps"] = page[MOVES] + page[MOVES + 1]

    def _states(self, rt: dx.Runtime, books: Books) -> None:
        for id in ("s", "m"):
            counts = about(rt, id)["counts"]
            if counts != books.counted(id):
                wrong = {name: (n, counts.get(name)) for name, n in books.counted(id).items() if counts.get(name) != n}
                self.world.complain("lost", f"{id} has not counted what it ran: {wrong}")
        wait_until(lambda: Books(self.world).heard("s") == rt.ref("m").params.version("number"), what="s to hear of m.number")
        if rt.ref("m").params["era"] != self.world.page[MOVES + 1]:
            self.world.complain("lost", f"m.era is {rt.ref('m').params['era']}, after {self.world.page[MOVES + 1]} swaps")

    def _written(self, rt: dx.Runtime) -> None:
        for place, (id, name) in enumerate(WRITTEN):
            params = (rt.server(id) if id == "s" else rt.ref(id)).params
            tag, least = siege.tag_of(params[name]), self.world.page[ACKNOWLEDGED + place]
            if tag is None or tag < least:
                self.world.complain("lost", f"{id}.{name} is {tag}, {least} was acknowledged")
            versions = [change["version"] for change in params.history(name)]
            if versions != sorted(set(versions), reverse=True):
                self.world.complain("torn", f"the history of {id}.{name}: {versions}")

    def _end_of_clients(self) -> None:
        self.world.page[STOP] = 1
        for pid in (*self.clients.values(), *self._others):
            os.waitpid(pid, 0)

    def _quiet_census(self) -> dict[int, Counter[str]]:
        processes = self.runtime.processes()
        return census([*processes["runtime"], *processes["keeper"], *processes["zygotes"]])

    def _looked_for(self, before: dict[int, Counter[str]]) -> None:
        """Complain of what the swaps have left."""
        try:
            wait_until(lambda: not more(before, self._quiet_census()))
        except AssertionError:
            self.world.complain("left", f"open, and was not before: {more(before, self._quiet_census())}")
        self.look_for_processes()

    def look_for_processes(self) -> None:
        """Complain when there are more processes than the children, the spares of each zygote, and what serves these."""
        most = 3 + 2 * SPARES + OTHERS
        try:
            wait_until(lambda: self.runtime.count() <= most)
        except AssertionError:
            self.world.complain("left", f"{self.runtime.count()} processes, at most {most} should be there")

    def _kill_at_last(self, rt: dx.Runtime) -> None:
        """Kill all three: whoever watched before the first swap is told now, of the incarnation that there always was."""
        neighbour = rt.monitor("s"), rt.monitor("m")
        rt.kill("w")
        told = lambda: [line for line in lines(self.world.folder, "s") if line.kind == "told"]  # noqa: E731
        wait_until(told, what="s to be told of the end of w")
        wait_until(lambda: rt.server("w").call(1, timeout=60) == 1)
        for id in ("s", "m"):
            rt.kill(id)
        for monitor in neighbour:
            down = monitor.wait(60)
            if down is None or (down.incarnation, down.reason) != (1, "killed"):
                self.world.complain("told", f"{down} of a kill at last")

    def _neighbour_was_told(self) -> None:
        told = self.world.folder / "told-w"
        wanted = {"Down s 'killed'", "Exit s 'killed'", "Down m 'killed'"}
        there = lambda: set(told.read_text().splitlines()) if told.exists() else set()  # noqa: E731
        try:
            wait_until(lambda: there() == wanted)
        except AssertionError:
            self.world.complain("told", f"the neighbour of kills at last: {sorted(there())}")


def torture(number: int, seed: int, folder: Path, kills: bool) -> dict[str, Any]:
    """Swap, or kill, that many times; return counts, and the first complaints."""
    os.environ["DSPEX_RUNTIME_DIR"] = str(folder / "run")
    began = time.monotonic()
    world = World(folder)
    conductor = Conductor(world, seed, kills)
    try:
        conductor.kill(number) if kills else conductor.swap(number)
    except AssertionError as exc:  # nobody works any more: why is among the complaints before this one
        world.complain("other", f"stuck: {exc}")
    finally:
        world.page[STOP] = 1
        conductor.runtime.close()
        told = folder / "swapped.json"
        result = {
            **conductor.counts,
            **(json.loads(told.read_text()) if told.exists() else {}),
            "reads": world.page[READS],
            "changes told": world.page[HEARD],
            **world.result(COMPLAINTS),
            "seed": seed,
            "seconds": round(time.monotonic() - began, 1),
        }
        world.close()
    return result


def main(arguments: list[str] | None = None) -> int:
    """Torture and print what came out, as JSON; return 1 when there was any complaint."""
    parser = command_line(__doc__)
    parser.add_argument("number", nargs="?", type=int, default=1000, help="of swaps; with --kills of rounds")
    parser.add_argument("--kills", action="store_true", help=f"kill {', '.join(VICTIMS)}, when it is {', '.join(MOMENTS)}")
    return run_as_told(parser, arguments, lambda chosen, seed, folder: torture(chosen.number, seed, folder, chosen.kills))


if __name__ == "__main__":
    sys.exit(main())
