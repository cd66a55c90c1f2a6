"""Modules die while they and others set parameters; readers check each value: `python -m tests.system.param_torture [KILLS]`.

The whole runtime, unlike `tests.params.torture`: a server dies by SIGKILL at random moments from outside, and by its own hand at a
random instruction within a set; now and then the keeper dies, with it or alone, and every so often everything. Each parameter has
one writer: another process, or the server itself. It notes in a shared page what was acknowledged. Readers, through `.params`,
complain when a value is
    torn         its parts do not say the same, or it cannot be read
    backwards    older than one that the same reader saw before
    lost         older than what was acknowledged when the reader began
What was set last is the tag in the value; the version must not go backwards either. One that is subscribed to all of them complains
when a change is
    unordered    told behind a later one, or twice
    missed       not told at all, and no later one either
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dspex_runtime as dx
from dspex_runtime.client.params import Params
from helpers import siege
from helpers.killing_runs import command_line, run_as_told
from helpers.siege import OWN_SET, STOP, Besieged, World, fork, tag_of, value_of
from helpers.waiting import wait_until

WRITTEN_OUTSIDE: Final = (("number", "array", "fleeting_array"), ("text", "items", "checked", "fleeting"))  # by each writer
NAMES: Final = ("own", "own_array", *(name for names in WRITTEN_OUTSIDE for name in names))
FLEETING: Final = ("fleeting", "fleeting_array")
READERS: Final = 2
READ_AT_ONCE: Final = 50  # between two looks at the stop flag
# What is killed, and how often in comparison; "" is by its own hand, somewhere in a set.
KILLS: Final = {"module": 20, "": 20, "module and keeper": 3, "keeper": 3, "everything": 1}
COMPLAINTS: Final = ("torn", "backwards", "lost", "unordered", "missed", "other")

# Words of the shared page; behind ACKNOWLEDGED one for each name.
READS, SETS, SLOWEST_US, ACKNOWLEDGED = 8, 16, 24, OWN_SET  # READS, SLOWEST_US + reader; SETS + writer
QUIET, CHANGES = 32, 33


def position(name: str) -> int:
    """Return the word of what was acknowledged of a name."""
    return ACKNOWLEDGED + NAMES.index(name) if name in NAMES[:2] else 40 + NAMES.index(name)


def note(generation: int, name: str, tag: int) -> int:
    """Return the word that says what was acknowledged; what is fleeting, only of the runtime that the writer had then.

    A writer may come to note it when that runtime has been killed, and the next one is up without it.
    """
    return generation << 40 | tag if name in FLEETING else tag


def noted(word: int, generation: int, name: str) -> int:
    """Return what a word says that a runtime has."""
    if name not in FLEETING:
        return word
    return word & (1 << 40) - 1 if word >> 40 == generation else 0


class Writer:
    """Sets its parameters from outside, each value newer than the one before."""

    def __init__(self, world: World, number: int, seed: int) -> None:
        self._world = world
        self._number = number
        self._choose = random.Random(seed)
        self._tag = 0

    def run(self) -> None:
        """Work in one generation of the runtime after the other."""
        while not self._world.is_over():
            generation = self._world.page[siege.GENERATION]
            try:
                with dx.connect(siege.NAME) as rt:
                    self._work(rt.server("doomed").params)
            except dx.RuntimeUnreachableError:
                self._world.await_runtime(generation)
            except Exception as exc:
                self._world.complain("other", f"writer: {type(exc).__name__}: {exc}")

    def _work(self, params: Params) -> None:
        while not self._world.is_over():
            name = self._choose.choice(WRITTEN_OUTSIDE[self._number])
            self._tag += 1
            generation = self._world.page[siege.GENERATION]
            try:
                params[name] = value_of(name, self._tag)
            except dx.ProcessDownError:
                continue  # it may have been set, or not
            self._world.page[position(name)] = note(generation, name, self._tag)
            self._world.page[SETS + self._number] += 1


class Reader:
    """Reads one parameter after the other and complains."""

    def __init__(self, world: World, number: int, seed: int) -> None:
        self._world = world
        self._number = number
        self._choose = random.Random(seed)
        self._seen: Counter[tuple[str, str]] = Counter()
        self._generation = 0

    def run(self) -> None:
        """Read in one generation of the runtime after the other."""
        while not self._world.is_over():
            generation = self._world.page[siege.GENERATION]
            if generation != self._generation:
                self._begin(generation)
            try:
                with dx.connect(siege.NAME) as rt:
                    params = rt.server("doomed").params
                    # Now and then one that attaches in the middle of everything. It ends with its generation, however that ends:
                    # what a table says that nobody can write any more, is true until then.
                    while not self._is_other(generation) and self._choose.random() > 0.02:
                        for _ in range(READ_AT_ONCE):
                            self._check(params, self._choose.choice(NAMES), generation)
                        self._world.page[READS + self._number] += READ_AT_ONCE
            except dx.RuntimeUnreachableError:
                self._world.await_runtime(generation)

    def _begin(self, generation: int) -> None:
        self._generation = generation
        for name in FLEETING:  # begin anew with the runtime
            self._seen.pop((name, "tag"), None)
        self._seen = Counter({key: seen for key, seen in self._seen.items() if key[0] not in FLEETING})

    def _is_other(self, generation: int) -> bool:
        return self._world.is_over() or self._world.page[siege.GENERATION] != generation

    def _check(self, params: Params, name: str, generation: int) -> None:
        acknowledged = noted(self._world.page[position(name)], generation, name)
        began = time.perf_counter_ns()
        try:
            if self._choose.random() < 0.5:
                entry = params.entry(name)
                version, value = entry.version, entry.value
            else:
                version, value = 0, params[name]
        except dx.RuntimeUnreachableError:
            raise
        except Exception as exc:
            self._world.complain("torn", f"{name}: {type(exc).__name__}: {exc}")
            return
        took_us = (time.perf_counter_ns() - began) // 1000
        self._world.page[SLOWEST_US + self._number] = max(took_us, self._world.page[SLOWEST_US + self._number])
        if self._is_other(generation):
            return  # of durability memory nothing was acknowledged any more, while this was read
        tag = tag_of(value)
        if tag is None:
            self._world.complain("torn", f"{name}: version {version} is {value!r:.100}")
            return
        for what, now in (("tag", tag), ("version", version)):
            if 0 < now < self._seen[name, what]:
                self._world.complain("backwards", f"{name}: {what} {now} after {self._seen[name, what]}")
            self._seen[name, what] = max(now, self._seen[name, what])
        if tag < acknowledged:
            self._world.complain("lost", f"{name}: {tag}, {acknowledged} was acknowledged")


class Watcher:
    """Is subscribed, over restarts of the module and of the keeper, and must hear of the newest of everything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard: dict[str, int] = {}

    def run(self) -> None:
        """Listen in one generation of the runtime after the other."""
        page = self._world.page
        while not self._world.is_over():
            generation = page[siege.GENERATION]
            self._heard = {}
            try:
                with dx.connect(siege.NAME) as rt:
                    params = rt.server("doomed").params
                    with params.subscribe("*", self._hear):
                        begun = {name: params.version(name) for name in NAMES}
                        self._world.await_runtime(generation, until=lambda: page[QUIET] == 1)
                        if page[QUIET] == 1:
                            self._has_heard_all(params, begun)
                            return
            except dx.RuntimeUnreachableError:
                self._world.await_runtime(generation)

    def _hear(self, change: dx.Change) -> None:
        self._world.page[CHANGES] += 1
        before = self._heard.get(change.name, 0)
        if change.version <= before:
            self._world.complain("unordered", f"{change.name}: version {change.version} after {before}")
        self._heard[change.name] = change.version

    def _has_heard_all(self, params: Params, begun: dict[str, int]) -> None:
        now = {name: params.version(name) for name in NAMES}
        owed = {name: version for name, version in now.items() if version > begun[name]}
        try:
            wait_until(lambda: all(self._heard.get(name, 0) >= version for name, version in owed.items()))
        except AssertionError:
            self._world.complain("missed", f"{owed} are there, told were {self._heard}")


class Conductor:
    """Starts everything and kills. Has no threads."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._choose = random.Random(seed)
        self.counts: Counter[str] = Counter()
        doomed = {"id": "doomed", "server": f"{siege.PROGRAMS}:Doomed", "args": {"page": str(world.page_path)}, **siege.QUICK_END}
        tree = {"max_restarts": 100_000, "max_seconds": 1, "children": [doomed]}
        self.runtime = Besieged(world, {"runtime": {"spares": 2, "preload": ["numpy", "dspy"]}, "tree": tree})

    def run(self, kills: int) -> None:
        """Kill that many times."""
        world, seed = self._world, self._choose.randrange(2**32)
        self.runtime.up()
        workers = [fork(Writer(world, number, seed + number).run) for number in range(len(WRITTEN_OUTSIDE))]
        workers += [fork(Reader(world, number, seed + 10 + number).run) for number in range(READERS)]
        watcher = fork(Watcher(world).run)
        try:
            for what in self._choose.choices(list(KILLS), list(KILLS.values()), k=kills):
                self._kill(what)
                self.counts[what or "by its own hand"] += 1
            self._let_them_work()
            world.page[QUIET] = 1
            os.waitpid(watcher, 0)
        finally:
            world.page[STOP] = 1
            for pid in workers:
                os.waitpid(pid, 0)
        self.runtime.down()
        self.counts["reads"] = sum(world.page[READS : READS + READERS])
        self.counts["sets"] = sum(world.page[SETS : SETS + len(WRITTEN_OUTSIDE)])
        self.counts["sets from inside"] = sum(world.page[position(name)] for name in NAMES[:2])
        self.counts["changes told"] = world.page[CHANGES]
        self.counts["slowest read, us"] = max(world.page[SLOWEST_US : SLOWEST_US + READERS])

    def _let_them_work(self) -> None:
        """Wait until every writer has had something acknowledged again, and then for a random moment."""
        page = self._world.page
        words = [SETS, SETS + 1, OWN_SET]
        before = [page[word] for word in words]
        working = lambda: all(page[word] > least for word, least in zip(words, before, strict=True))  # noqa: E731
        wait_until(working, timeout_s=60, what="any work")
        time.sleep(self._choose.uniform(0, 0.03))

    def _kill(self, what: str) -> None:
        self._let_them_work()
        if not what:
            page = self._world.page
            begun = page[siege.BEGUN]
            wait_until(lambda: page[siege.BEGUN] > begun, timeout_s=60, what="its end by its own hand")
            return
        processes = self.runtime.processes()
        victims = {
            "module": processes["modules"],
            "module and keeper": processes["modules"] + processes["keeper"],
            "keeper": processes["keeper"],
            "everything": processes["all"],
        }[what]
        siege.kill_all(victims, self._choose)
        if what == "everything":
            self.runtime.up_again(processes["all"])


def torture(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill that many times; return counts, and the first complaints."""
    os.environ["DSPEX_RUNTIME_DIR"] = str(folder / "run")
    world = World(folder)
    conductor = Conductor(world, seed)
    try:
        conductor.run(kills)
    finally:
        conductor.runtime.close()
        result = {**conductor.counts, **world.result(COMPLAINTS), "seed": seed}
        world.close()
    return result


def main(arguments: list[str] | None = None) -> int:
    """Torture and print what came out, as JSON; return 1 when there was any complaint."""
    parser = command_line(__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=1000)
    return run_as_told(parser, arguments, lambda chosen, seed, folder: torture(chosen.kills, seed, folder))


if __name__ == "__main__":
    sys.exit(main())
