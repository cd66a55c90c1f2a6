"""Everything is killed, round after round, and what was acknowledged must be there: `python -m tests.system.ledger [ROUNDS]`.

Client processes set numbers, texts, arrays of 100 KB and of 400 KB, lists and the demos of a predictor, servers set parameters of
their own, and each notes in a ledger of its own what it sends, and what was acknowledged as which version. Meanwhile the
conductor kills with SIGKILL: everything at once, the runtime, the keeper, zygotes, modules, clients, the owner. Then an auditor
reads every parameter and its history and compares them with the ledgers. It complains when a value is
    lost         older than what was acknowledged, or missing from history
    wrong        another one than was acknowledged as this version, or one that nobody sent
    backwards    of an older version than an auditor or the same client saw before
    torn         elements, length, version or history do not belong together

What is of durability `memory` outlives everything but the runtime.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dspex_runtime as dx
from dspex_runtime.client.params import Params
from helpers import siege
from helpers.killing_runs import command_line, run_as_told
from helpers.siege import STOP, Besieged, World, fork, tag_of, value_of
from helpers.waiting import wait_until

CLIENTS: Final = 3
TAGS: Final = 10_000_000  # of one client; a new one never uses an old one's
SERVERS: Final = ("journal", "fsync")
PLAIN: Final = ("number", "text", "array", "items", "checked")
FLEETING: Final = ("fleeting", "fleeting_array")  # of durability memory
SET_BY_CLIENTS: Final = {
    **dict.fromkeys(SERVERS, (*PLAIN, *FLEETING)),
    "module": ("number", "answer"),
    "shared": ("number", "text"),
}
OWN: Final = ("own", "own_array")  # which servers set themselves
ARRAY_EVERY: Final = 8  # of the programs
# What is killed, or else done, and how often in comparison. While one is stopped, the keeper writes what clients set.
KILLS: Final = {
    "everything": 3, "runtime": 2, "owner": 1, "keeper": 3, "zygotes": 2, "module": 3, "modules": 2, "client": 2,
    "module and keeper": 2, "nothing, stopped": 1, "keeper, stopped": 1, "nothing, restarted": 1, "nothing, restored": 1,
}  # fmt: skip
ENDS_THE_RUNTIME: Final = ("everything", "runtime", "owner")
COMPLAINTS: Final = ("lost", "wrong", "backwards", "torn", "other")

NOT_RUNNING, ACKNOWLEDGED = 8, 16  # words of the shared page; ACKNOWLEDGED + client number


def _holder(rt: dx.Runtime, id: str) -> Any:
    """Return what has the `params` of an id."""
    return rt if id == "shared" else rt.server(id) if id in SERVERS else rt.ref(id)


def _in_order(rt: dx.Runtime, what: str) -> None:
    """Do what is no kill."""
    if what == "nothing, restarted":
        for id in (*SERVERS, "module"):
            rt.restart(id)
    else:  # of a server its own would go backwards
        rt.restore("module", rt.checkpoint("module"))


# -- ledgers --------------------------------------------------------------------------------------------------------------


@dataclass
class Book:
    """What the ledgers say of one parameter: what was sent, and what was acknowledged as which version, in which generation."""

    sent: set[int] = field(default_factory=lambda: {0})
    acknowledged: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    def of(self, name: str, generation: int) -> dict[int, int]:
        """Return tags by version that must be there in a generation of the runtime."""
        if name in FLEETING:
            return self.acknowledged[generation]
        return {version: tag for told in self.acknowledged.values() for version, tag in told.items()}


def read_ledgers(folder: Path) -> dict[tuple[str, str], Book]:
    """Return what all clients have noted so far, by id and name."""
    books: dict[tuple[str, str], Book] = defaultdict(Book)
    for path in sorted(folder.glob("client-*")):
        for line in path.read_bytes().rpartition(b"\n")[0].splitlines():
            kind, generation, id, name, tag, version = json.loads(line)
            book = books[id, name]
            if kind == "sent":
                book.sent.add(tag)
            else:
                book.acknowledged[generation][version] = tag
    return books


class Client:
    """Sets one parameter after the other, and notes what it sends and what is acknowledged."""

    def __init__(self, world: World, number: int, serial: int) -> None:
        self._world = world
        self._number = number
        self._choose = random.Random(serial)
        self._ledger = os.open(world.folder / f"client-{serial}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._tag = serial * TAGS
        self._seen: Counter[tuple[int, str, str]] = Counter()  # by generation, too: what is kept in memory begins anew

    def run(self) -> None:
        """Work in one generation of the runtime after the other, until the end."""
        while not self._world.is_over():
            self._generation = self._world.page[siege.GENERATION]
            try:
                with dx.connect(siege.NAME) as rt:
                    ways = {id: _holder(rt, id) for id in SET_BY_CLIENTS}
                    while not self._world.is_over():
                        self._work(ways)
            except dx.RuntimeUnreachableError:
                self._world.await_runtime(self._generation)
            except Exception as exc:
                self._world.complain("other", f"client: {type(exc).__name__}: {exc}")
                self._world.await_runtime(self._generation)

    def _note(self, kind: str, id: str, name: str, tag: int, version: int = 0) -> None:
        os.write(self._ledger, json.dumps([kind, self._generation, id, name, tag, version]).encode() + b"\n")

    def _work(self, ways: dict[str, Any]) -> None:
        id = self._choose.choice(list(ways))
        ref = ways[id]
        self._tag += 1
        tag = self._tag
        try:
            draw = self._choose.random()
            if id == "module" and draw < 0.3:
                self._learn(ref, tag)
            elif id in SERVERS and draw < 0.15:
                self._several(id, ref.params, tag)
            else:
                self._set(id, ref.params, self._choose.choice(SET_BY_CLIENTS[id]), tag)
        except (dx.ProcessDownError, dx.CheckpointError):
            return  # the module or the keeper died: it may have been set, or not
        except dx.ParameterError:
            if not self._world.page[NOT_RUNNING]:  # what has a check of its own cannot be set then
                raise

    def _set(self, id: str, params: Params, name: str, tag: int) -> None:
        value = value_of(name, tag, self._read(id, params, name)[1] if name == "answer" else None)
        self._note("sent", id, name, tag)
        version = params.set(name, value)
        self._acknowledged(id, params, name, tag, version)

    def _several(self, id: str, params: Params, tag: int) -> None:
        names = self._choose.sample(PLAIN[:4], 2)
        for name in names:
            self._note("sent", id, name, tag)
        versions = params.update({name: value_of(name, tag) for name in names})
        for name, version in versions.items():
            self._acknowledged(id, params, name, tag, version)

    def _learn(self, ref: Any, tag: int) -> None:
        """Have the module change itself: published when the call returns."""
        for name in SET_BY_CLIENTS["module"]:
            self._note("sent", "module", name, tag)
        ref.call("learn", tag, 1 + tag % siege.DEMOS)
        for name in SET_BY_CLIENTS["module"]:
            version, value = self._read("module", ref.params, name)
            if tag_of(value) == tag:  # else another one was faster
                self._note("acknowledged", "module", name, tag, version)

    def _acknowledged(self, id: str, params: Params, name: str, tag: int, version: int) -> None:
        self._note("acknowledged", id, name, tag, version)
        self._world.page[ACKNOWLEDGED + self._number] += 1
        if self._choose.random() < 0.5:
            seen, _ = self._read(id, params, name)
            if seen < version:
                self._world.complain("lost", f"{id}.{name}: read version {seen} after {version} was acknowledged")

    def _read(self, id: str, params: Params, name: str) -> tuple[int, Any]:
        entry = params.entry(name)
        key = (self._generation, id, name)
        if tag_of(entry.value) is None:
            self._world.complain("torn", f"{id}.{name}: version {entry.version} is {entry.value!r:.150}")
        if entry.version < self._seen[key]:
            self._world.complain("backwards", f"{id}.{name}: version {entry.version} after {self._seen[key]}")
        self._seen[key] = entry.version
        return entry.version, entry.value


def last_of(path: Path) -> int:
    """Return the last number that a server noted of its own."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return int(whole.rpartition(b"\n")[2] or 0)


# -- auditors -------------------------------------------------------------------------------------------------------------


class Audit:
    """Compares what a runtime says with what the ledgers said before it was asked. Clients may go on meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._generation = world.page[siege.GENERATION]
        self._seen_path = world.folder / "seen.json"
        self._unknown: list[tuple[str, int, int]] = []

    def run(self) -> None:
        """Look at everything; complain."""
        books = read_ledgers(self._world.folder)
        own = {id: last_of(self._world.folder / f"own-{id}") for id in SERVERS}
        before: dict[str, int] = json.loads(self._seen_path.read_text()) if self._seen_path.exists() else {}
        seen: dict[str, int] = {}
        with dx.connect(siege.NAME) as rt:
            for id, names in SET_BY_CLIENTS.items():
                params = _holder(rt, id).params
                for name in (*names, *(OWN if id in SERVERS else ())):
                    self._retried(f"{id}.{name}", lambda: self._look(id, name, params, books[id, name], seen))  # noqa: B023
            for id in SERVERS:
                self._own(id, rt.server(id).params, own[id])
        self._sent_meanwhile()
        for key, version in before.items():
            if seen.get(key, 0) < version and not self._begins_anew(key):
                self._world.complain("backwards", f"{key}: version {seen.get(key)}, {version} in the audit before")
        self._seen_path.write_text(json.dumps(seen))

    def _begins_anew(self, key: str) -> bool:
        generation, _, name = key.split(" ")
        return name in FLEETING and int(generation) != self._generation

    def _retried(self, what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except (dx.CallError, dx.ParameterError) as exc:
            self._world.complain("other", f"auditor, {what}: {type(exc).__name__}: {exc}")

    def _look(self, id: str, name: str, params: Params, book: Book, seen: dict[str, int]) -> None:
        entry = params.entry(name)
        told = book.of(name, self._generation)
        newest = max(told, default=0)
        where = f"{id}.{name}"
        seen[f"{self._generation if name in FLEETING else 0} {id} {name}"] = entry.version
        self._judge(where, name, entry.version, entry.value, told, book, now=True)
        if entry.version < newest:
            self._world.complain("lost", f"{where}: has version {entry.version}, {newest} was acknowledged")
        history = params.history(name)
        versions = [change["version"] for change in history]
        if versions != sorted(set(versions), reverse=True):
            self._world.complain("torn", f"{where}: history has versions {versions}")
        if entry.version > 1 and (not versions or versions[0] < entry.version):
            self._world.complain("lost", f"{where}: has version {entry.version}, its history ends at {versions[:1]}")
        for version in told:
            if versions and versions[-1] <= version <= versions[0] and version not in versions:
                self._world.complain("lost", f"{where}: version {version} was acknowledged and is not in history")
        for newer, older in pairwise(history):
            if newer["new"] is not None:
                self._judge(where, name, newer["version"], newer["new"], told, book, now=False)
            if newer["old"] is not None and older["new"] is not None and tag_of(newer["old"]) != tag_of(older["new"]):
                self._world.complain("torn", f"{where}: history of {newer['version']} and {older['version']} do not fit")

    def _judge(self, where: str, name: str, version: int, value: Any, told: dict[int, int], book: Book, *, now: bool) -> None:
        tag = tag_of(value)
        said = "has" if now else "had in history"
        if tag is None:
            self._world.complain("torn", f"{where}: version {version} {said} {value!r:.150}")
        elif version in told and told[version] != tag:
            self._world.complain("wrong", f"{where}: version {version} {said} {tag}, acknowledged was {told[version]}")
        elif name not in OWN and tag not in book.sent:
            self._unknown.append((where, version, tag))

    def _sent_meanwhile(self) -> None:
        """What the ledgers did not say before, they must say now."""
        books = read_ledgers(self._world.folder)
        for where, version, tag in self._unknown:
            id, _, name = where.partition(".")
            if tag not in books[id, name].sent:
                self._world.complain("wrong", f"{where}: version {version} is {tag}, which nobody sent")

    def _own(self, id: str, params: Params, noted: int) -> None:
        found = {"own": params["own"], "own_array": int(params["own_array"][0])}
        least = {"own": noted, "own_array": (noted - 1) // ARRAY_EVERY * ARRAY_EVERY}  # the array may be on its way still
        if any(found[name] < least[name] for name in OWN):
            self._world.complain("lost", f"{id} has {found}, {noted} was noted")


# -- the conductor --------------------------------------------------------------------------------------------------------


class Conductor:
    """Starts everything, kills, and has it audited. Has no threads: everything else is forked from here."""

    def __init__(self, world: World, seed: int, kills: Sequence[str]) -> None:
        self._world = world
        self._choose = random.Random(seed)
        self._kills = kills
        self._clients: dict[int, int] = {}  # number -> pid
        self._serial = 0
        self.counts: Counter[str] = Counter()
        self.runtime = Besieged(world, self._config())

    def run(self, rounds: int) -> None:
        """Kill that many times."""
        plan = list(self._plan(rounds))
        self.runtime.up()
        for number in range(CLIENTS):
            self._start_client(number)
        for what in plan:
            self._let_them_work()
            self._world.page[NOT_RUNNING] = what in ENDS_THE_RUNTIME or what.endswith("stopped")
            match what.partition(", ")[::2]:
                case [_, ""]:
                    self._kill(what)
                case [_, "stopped"]:
                    self._kill_while_stopped(what.partition(",")[0])
                case _:
                    self._in_child(lambda rt: _in_order(rt, what))  # noqa: B023
            print(f"{self.counts['audits'] + 1}: killed {what}", file=sys.stderr, flush=True)
            self.counts[what] += 1
            self._world.page[NOT_RUNNING] = 0
            for number in range(CLIENTS):
                if number not in self._clients:
                    self._start_client(number)
            self._audit()
        self._world.page[STOP] = 1
        for pid in self._clients.values():
            os.waitpid(pid, 0)
        self.runtime.down()
        self.runtime.up()
        self._audit()
        self.runtime.down()
        self.counts["acknowledged"] = sum(self._world.page[ACKNOWLEDGED + number] for number in range(CLIENTS))

    def _plan(self, rounds: int) -> Iterator[str]:
        """Yield what is killed: each of them first, as far as there are rounds, in random order; then at random."""
        each = list(self._kills)
        self._choose.shuffle(each)
        yield from each[:rounds]
        yield from self._choose.choices(each, [KILLS[what] for what in each], k=max(0, rounds - len(each)))

    def _config(self) -> dict[str, Any]:
        children: list[dict[str, Any]] = [
            {
                "id": id,
                "server": f"{siege.PROGRAMS}:Kept",
                "durability": id,
                "args": {"ledger": str(self._world.folder / f"own-{id}")},
            }
            for id in SERVERS
        ]
        children.append({"id": "module", "module": f"{siege.PROGRAMS}:Answerer"})
        tree = {"max_restarts": 100_000, "max_seconds": 1, "children": [{**child, **siege.QUICK_END} for child in children]}
        shared = {"number": 0, "text": {"type": "str", "default": "0"}}
        return {"runtime": {"spares": 1}, "shared": shared, "tree": tree}

    def _start_client(self, number: int) -> None:
        self._serial += 1
        client = Client(self._world, number, self._serial)
        self._clients[number] = fork(client.run)
        os.close(client._ledger)

    def _let_them_work(self) -> None:
        """Wait until there are some acknowledgements more, and then for a random moment."""
        page = self._world.page
        before = sum(page[ACKNOWLEDGED + number] for number in range(CLIENTS))
        wait_until(
            lambda: sum(page[ACKNOWLEDGED + number] for number in range(CLIENTS)) > before + 10, timeout_s=60, what="any work"
        )
        time.sleep(self._choose.uniform(0, 0.3))

    def _kill(self, what: str) -> None:
        processes = self.runtime.processes()
        match what:
            case "everything":
                victims = [*processes["all"], *self._clients.values()]
            case "client":
                victims = [self._choose.choice(list(self._clients.values()))]
            case "module":
                victims = [self._choose.choice(processes["modules"])]
            case "module and keeper":
                victims = [self._choose.choice(processes["modules"]), *processes["keeper"]]
            case _:
                victims = processes[what]
        siege.kill_all(victims, self._choose)
        for number, pid in list(self._clients.items()):
            if pid in victims:
                os.waitpid(pid, 0)
                del self._clients[number]
        if what in ENDS_THE_RUNTIME:
            self.runtime.up_again(processes["all"])

    def _kill_while_stopped(self, what: str) -> None:
        """Stop a server, so that the keeper writes what clients set; start it again."""
        self._in_child(lambda rt: rt.stop("journal"))
        self._let_them_work()
        if what != "nothing":
            self._kill(what)
            self._let_them_work()
        self._audit()
        self._in_child(lambda rt: rt.start("journal"))

    def _in_child(self, work: Callable[[dx.Runtime], object]) -> None:
        def run() -> None:
            with dx.connect(siege.NAME) as rt:
                work(rt)

        pid = fork(run)
        if os.waitpid(pid, 0)[1]:
            self._world.complain("other", "what the conductor asked for failed")

    def _audit(self) -> None:
        pid = fork(Audit(self._world).run)
        _, status = os.waitpid(pid, 0)
        if status:
            self._world.complain("other", "an auditor failed")
        self.counts["audits"] += 1


def keep_ledger(rounds: int, seed: int, folder: Path, kills: Sequence[str] = tuple(KILLS)) -> dict[str, Any]:
    """Kill that many times; return counts, and the first complaints."""
    os.environ["DSPEX_RUNTIME_DIR"] = str(folder / "run")
    world = World(folder)
    conductor = Conductor(world, seed, kills)
    try:
        conductor.run(rounds)
    except AssertionError as exc:  # nobody works any more: why is among the complaints before this one
        world.complain("other", str(exc))
    finally:
        world.page[STOP] = 1
        conductor.runtime.close()
        up_s = sorted(round(seconds, 2) for seconds in conductor.runtime.up_s)
        result = {**conductor.counts, "up_s": up_s, **world.result(COMPLAINTS), "seed": seed}
        world.close()
    return result


def main(arguments: list[str] | None = None) -> int:
    """Kill and print what came out, as JSON; return 1 when there was any complaint."""
    parser = command_line(__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=list(KILLS), default=list(KILLS), help="what is killed")
    return run_as_told(parser, arguments, lambda chosen, seed, folder: keep_ledger(chosen.rounds, seed, folder, chosen.only))


if __name__ == "__main__":
    sys.exit(main())
