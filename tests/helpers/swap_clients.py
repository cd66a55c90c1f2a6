"""Who uses "s" and "m" while they are swapped: threads, tasks, a writer and a reader of parameters, a witness of their ends.

Each user numbers what it asks, of each of the two from 1 on, and notes what it sends and what was answered. Each answer says of
which version it is: a user never sees an older one after a newer one.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import dspex_runtime as dx
from helpers import siege
from helpers.siege import World, tag_of, value_of
from helpers.swap_page import ACKNOWLEDGED, DONE, HEARD, KEY, KILLS, LOCK, QUIET, READS, RESTING

THREADS, TASKS = 2, 6
PATIENCE_S: Final = 120.0  # of a call; not 60, so that nobody takes it for the runtime's own
WRITTEN: Final = (("s", "number"), ("s", "text"), ("s", "array"), ("m", "number"), ("m", "array"))
BUSY_S: Final = 0.002  # between two operations: users leave the machine to others, too

# How often in comparison.
OF_SERVER: Final = {"run": 8, "cast": 6, "defer": 3, "arm": 1, "go on": 2, "via": 2, "several": 2}
OF_MODULE: Final = {"run": 6, "slow": 4, "cast": 3, "again": 2, "stream": 3, "astream": 3, "proxy": 2}


class User:
    """One that asks one thing after the other: its numbers, its notes, and what it judges of the answers."""

    def __init__(self, world: World, name: str, word: int) -> None:
        self.world = world
        self.name = name
        self._word = word
        self._numbers: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._notes = os.open(world.folder / f"user-{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def begin(self, id: str, kind: str) -> int:
        """Note that something is sent, and return its number."""
        self._numbers[id] += 1
        self._note("sent", id, kind, self._numbers[id])
        return self._numbers[id]

    def over(self, id: str, kind: str, n: int, said: Any) -> None:
        """Judge an answer and note it; a cast has none."""
        page = self.world.page
        if said is not None:
            number, facts = said
            if number != n:
                self.world.complain("mixed", f"{self.name}: {id} {kind} {n} was answered with that of {number}")
            if facts["gen"] != facts["helper"]:
                self.world.complain("mixed", f"{self.name}: {id} is {facts['gen']}, its helper module {facts['helper']}")
            if not page[KILLS] and facts["moves"] < self._moves[id]:
                text = f"{self.name}: {id} answers after {facts['moves']} swaps, and has after {self._moves[id]}"
                self.world.complain("backwards", text)
            self._moves[id] = facts["moves"]
        self._note("done", id, kind, n)
        page[DONE + self._word] += 1

    def failed(self, id: str, kind: str, n: int, exc: Exception) -> None:
        """Note an end without an answer: of what was in flight when its process was killed it is the right one."""
        self._note("down", id, kind, n)
        if not self.world.page[KILLS] or not isinstance(exc, dx.ProcessDownError | dx.RuntimeUnreachableError):
            self.world.complain("lost", f"{self.name}: {id} {kind} {n}: {type(exc).__name__}: {exc}")
        elif kind == "again" and isinstance(exc, dx.ProcessDownError):
            self.world.complain("lost", f"{self.name}: {id} {n}, which is idempotent: {type(exc).__name__}: {exc}")

    def _note(self, what: str, id: str, kind: str, n: int) -> None:
        os.write(self._notes, f"{what} {id} {kind.replace(' ', '-')} {n}\n".encode())

    def rest(self) -> bool:
        """Return whether it is time to end; rest first when that is wanted."""
        pause, page = threading.Event(), self.world.page
        while page[QUIET] and not self.world.is_over():
            page[RESTING + self._word] = 1
            pause.wait(0.005)
        page[RESTING + self._word] = 0
        return self.world.is_over()


def generations(world: World, what: str, work: Callable[[int], object]) -> None:
    """Work in one generation of the runtime after the other, until the end."""
    while not world.is_over():
        generation = world.page[siege.GENERATION]
        try:
            work(generation)
        except dx.RuntimeUnreachableError:
            if not world.page[KILLS]:
                world.complain("other", f"{what}: the runtime is not there")
            world.await_runtime(generation)
        except Exception as exc:
            world.complain("other", f"{what}: {type(exc).__name__}: {exc}")
            world.await_runtime(generation, until=lambda: True)


class Threads:
    """A client process whose threads ask, each for itself."""

    def __init__(self, world: World, serial: int, first_word: int) -> None:
        self._world, self._serial, self._first_word = world, serial, first_word

    def run(self) -> None:
        """Work until the end."""
        threads = [threading.Thread(target=self._thread, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _thread(self, number: int) -> None:
        user = User(self._world, f"t{self._serial}.{number}", self._first_word + number)
        choose = random.Random(user.name)
        generations(self._world, user.name, lambda _: self._work(user, choose))

    def _work(self, user: User, choose: random.Random) -> None:
        pause = threading.Event()
        with dx.connect(siege.NAME) as rt:
            ways = {"s": rt.server("s"), "via": rt.server(dx.Via(KEY)), "m": rt.ref("m"), "proxy": rt.module("m")}
            while not user.rest():
                id = choose.choice("sm")
                kinds = OF_SERVER if id == "s" else OF_MODULE
                kind = choose.choices(list(kinds), list(kinds.values()))[0]
                if kind == "several":
                    self._several(user, ways["s"])
                else:
                    n = user.begin(id, kind)
                    try:
                        said = asked(ways, id, kind, user.name, n)
                    except Exception as exc:
                        user.failed(id, kind, n, exc)
                        if isinstance(exc, dx.RuntimeUnreachableError):
                            raise
                    else:
                        user.over(id, kind, n, said)
                pause.wait(BUSY_S)

    def _several(self, user: User, server: dx.ServerRef) -> None:
        requests = []
        for _ in range(4):
            n = user.begin("s", "several")
            requests.append((n, server.send_request(("run", user.name, n))))
        for n, request in requests:
            try:
                user.over("s", "several", n, request.wait(PATIENCE_S))
            except Exception as exc:
                user.failed("s", "several", n, exc)


def asked(ways: dict[str, Any], id: str, kind: str, name: str, n: int) -> Any:
    """Ask for one thing and return the answer; None of a cast."""
    match id, kind:
        case "s", "cast":
            return ways["s"].cast(("note", name, n))
        case "s", "via":
            return ways["via"].call(("run", name, n), timeout=PATIENCE_S)
        case "s", _:
            return ways["s"].call((kind, name, n), timeout=PATIENCE_S)
        case _, "cast":
            return ways["m"].cast("note", name, n)
        case _, "proxy":
            return ways["proxy"](client=name, n=n).said
        case _, "stream" | "astream":
            method = "items" if kind == "stream" else "aitems"
            return streamed(ways["m"].stream(method, name, n, n % 20, timeout=PATIENCE_S), n % 20)
        case _:
            return ways["m"].call(kind, name, n, timeout=PATIENCE_S)


def streamed(items: Iterator[Any], count: int) -> Any:
    """Return the last item of a stream whose others are the numbers, all of one process."""
    *numbers, said = items
    check_items(numbers, count)
    return said


def check_items(numbers: list[Any], count: int) -> None:
    """Raise when a stream has not all of its items, in order, of one process."""
    if [number for number, _ in numbers] != list(range(count)) or len({pid for _, pid in numbers}) > 1:
        raise AssertionError(f"a stream of {count} had {numbers}")


class Tasks:
    """A client process whose tasks ask, all over the same pipes."""

    def __init__(self, world: World, serial: int, word: int) -> None:
        self._world, self._serial, self._word = world, serial, word

    def run(self) -> None:
        """Work until the end."""
        users = [User(self._world, f"a{self._serial}.{number}", self._word) for number in range(TASKS)]
        generations(self._world, f"a{self._serial}", lambda generation: asyncio.run(self._work(users, generation)))

    async def _work(self, users: list[User], generation: int) -> None:
        async with await dx.aio.connect(siege.NAME) as rt:
            server, module, proxy = await rt.server("s"), await rt.ref("m"), await rt.module("m")
            async with asyncio.TaskGroup() as group:
                resting = [False] * TASKS
                for number, user in enumerate(users):
                    group.create_task(self._task(user, generation, server, module, proxy, resting, number))

    async def _task(
        self, user: User, generation: int, server: Any, module: Any, proxy: Any, resting: list[bool], number: int
    ) -> None:
        choose = random.Random(user.name)
        page = self._world.page
        while not self._world.is_over():
            while page[QUIET] and not self._world.is_over():
                resting[number] = True
                page[RESTING + self._word] = all(resting)
                await asyncio.sleep(0.005)
            resting[number] = False
            page[RESTING + self._word] = 0
            id = choose.choice("sm")
            kinds = ("run", "cast", "defer", "go on") if id == "s" else ("run", "slow", "cast", "astream", "again", "proxy")
            kind = choose.choice(kinds)
            n = user.begin(id, kind)
            try:
                said = await _asked(server, module, proxy, id, kind, user.name, n)
            except dx.RuntimeUnreachableError as exc:
                user.failed(id, kind, n, exc)
                await self._gone(user, generation)
                return
            except Exception as exc:
                user.failed(id, kind, n, exc)
            else:
                user.over(id, kind, n, said)
            await asyncio.sleep(BUSY_S)

    async def _gone(self, user: User, generation: int) -> None:
        if not self._world.page[KILLS]:
            self._world.complain("other", f"{user.name}: the runtime is not there")
        while not self._world.is_over() and self._world.page[siege.GENERATION] == generation:
            await asyncio.sleep(0.01)


def _asked(server: Any, module: Any, proxy: Any, id: str, kind: str, name: str, n: int) -> Awaitable[Any]:
    match id, kind:
        case "s", "cast":
            return server.cast(("note", name, n))  # type: ignore[no-any-return]
        case "s", _:
            return server.call((kind, name, n), timeout=PATIENCE_S)  # type: ignore[no-any-return]
        case _, "cast":
            return module.cast("note", name, n)  # type: ignore[no-any-return]
        case _, "proxy":
            return _said(proxy.acall(client=name, n=n))
        case _, "astream":
            return _streamed(module.stream("aitems", name, n, n % 20, timeout=PATIENCE_S), n % 20)
        case _:
            return module.call(kind, name, n, timeout=PATIENCE_S)  # type: ignore[no-any-return]


async def _said(prediction: Awaitable[Any]) -> Any:
    return (await prediction).said


async def _streamed(items: AsyncIterator[Any], count: int) -> Any:
    *numbers, said = [item async for item in items]
    check_items(numbers, count)
    return said


class Writer:
    """Sets parameters, each value newer than the one before; nobody else does."""

    def __init__(self, world: World, serial: int, word: int) -> None:
        self._world, self._serial, self._word = world, serial, word

    def run(self) -> None:
        """Work until the end."""
        self._tag = max(self._world.page[ACKNOWLEDGED + place] for place in range(len(WRITTEN))) + 1000
        self._choose = random.Random(self._serial)
        user = User(self._world, f"w{self._serial}", self._word)
        generations(self._world, user.name, lambda _: self._work(user))

    def _work(self, user: User) -> None:
        pause, page = threading.Event(), self._world.page
        with dx.connect(siege.NAME) as rt:
            params = {"s": rt.server("s").params, "m": rt.ref("m").params}
            while not user.rest():
                place = self._choose.randrange(len(WRITTEN))
                id, name = WRITTEN[place]
                self._tag += 1
                try:
                    if self._choose.random() < 0.2:  # nobody else writes it, a swap neither
                        version = params[id].set(name, value_of(name, self._tag), expect=params[id].version(name))
                    else:
                        version = params[id].set(name, value_of(name, self._tag))
                    seen = params[id].entry(name)
                except dx.ProcessDownError as exc:
                    if not page[KILLS]:
                        self._world.complain("lost", f"set of {id}.{name}: {type(exc).__name__}: {exc}")
                    continue
                page[ACKNOWLEDGED + place] = self._tag
                page[DONE + self._word] += 1
                if seen.version < version or tag_of(seen.value) != self._tag:
                    text = f"{id}.{name}: version {seen.version} is {tag_of(seen.value)}, {self._tag} was set as {version}"
                    self._world.complain("lost", text)
                pause.wait(BUSY_S)


class Reader:
    """Reads parameters and complains of what is torn, lost, or older than what it has seen."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._choose = random.Random(seed)
        self._seen: Counter[tuple[str, str, str]] = Counter()

    def run(self) -> None:
        """Read until the end."""
        generations(self._world, "reader", self._work)

    def _work(self, generation: int) -> None:
        pause, page = threading.Event(), self._world.page
        with dx.connect(siege.NAME) as rt:
            params = {"s": rt.server("s").params, "m": rt.ref("m").params}
            while not self._world.is_over() and page[siege.GENERATION] == generation:
                for _ in range(20):
                    place = self._choose.randrange(len(WRITTEN) + 1)
                    id, name = (*WRITTEN, ("m", "era"))[place]
                    least = page[ACKNOWLEDGED + place] if place < len(WRITTEN) else 0
                    entry = params[id].entry(name)
                    if page[siege.GENERATION] == generation:
                        self._judge(id, name, entry.version, tag_of(entry.value), least)
                page[READS] += 20
                pause.wait(BUSY_S)

    def _judge(self, id: str, name: str, version: int, tag: int | None, least: int) -> None:
        if tag is None:
            self._world.complain("torn", f"{id}.{name}: version {version}")
            return
        for what, now in (("version", version), ("value", tag)):
            if now < self._seen[id, name, what]:
                self._world.complain("backwards", f"{id}.{name}: {what} {now} after {self._seen[id, name, what]}")
            self._seen[id, name, what] = now
        if tag < least:
            self._world.complain("lost", f"{id}.{name}: {tag}, {least} was acknowledged")


class Witness:
    """Monitors, links, follows and looks up names: hears of no end, sees the same names, and every newest change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard: dict[str, int] = {}

    def run(self) -> None:
        """Watch until the end."""
        generations(self._world, "witness", self._work)

    def _work(self, generation: int) -> None:
        world, page = self._world, self._world.page
        self._heard = {}
        with dx.connect(siege.NAME) as rt:
            params = rt.server("s").params
            with params.subscribe("*", self._hear):
                begun = {name: params.version(name) for id, name in WRITTEN if id == "s"}
                watched: dict[Any, str] = {}
                while not world.is_over() and page[siege.GENERATION] == generation:
                    for id in ("s", "m"):
                        for way in (rt.monitor, rt.link):
                            if (way.__name__, id) not in watched.values():
                                watched[way(id)] = (way.__name__, id)  # type: ignore[assignment]
                    for monitor in list(watched):
                        down = monitor.wait(0.02)
                        if down is not None:
                            self._told(down)
                            del watched[monitor]
                    found = rt.whereis(KEY)
                    if not page[KILLS] and (found is None or found.id != "s"):
                        world.complain("other", f"{KEY} leads to {found!r}")
                    self._try_lock(rt)
                if not page[KILLS] and page[siege.GENERATION] == generation:
                    self._has_heard_all(params, begun)

    def _told(self, down: dx.Down) -> None:
        if not self._world.page[KILLS] or down.reason in (("shutdown", "swapped"), "normal"):
            self._world.complain("told", f"of an end of {down.id}: {down.reason!r}")

    def _try_lock(self, rt: dx.Runtime) -> None:
        if self._world.page[KILLS]:
            return
        try:
            with rt.lock(LOCK, timeout=0.01):
                self._world.complain("other", f"{LOCK} was free")
        except dx.CallTimeoutError:
            pass

    def _hear(self, change: dx.Change) -> None:
        self._world.page[HEARD] += 1
        if change.version <= self._heard.get(change.name, 0):
            self._world.complain("backwards", f"s.{change.name}: told {change.version} after {self._heard[change.name]}")
        self._heard[change.name] = change.version

    def _has_heard_all(self, params: Any, begun: dict[str, int]) -> None:
        owed = {name: params.version(name) for name in begun if params.version(name) > begun[name]}
        pause = threading.Event()
        for _ in range(2000):
            if all(self._heard.get(name, 0) >= version for name, version in owed.items()):
                return
            pause.wait(0.01)
        self._world.complain("lost", f"changes of s: {owed} are there, told were {self._heard}")


def read_notes(folder: Path) -> Iterator[tuple[str, str, str, str, int]]:
    """Yield (user, "sent", "done" or "down", id, kind, number) of all users."""
    for path in sorted(folder.glob("user-*")):
        for line in path.read_bytes().rpartition(b"\n")[0].decode().splitlines():
            what, id, kind, n = line.split()
            yield path.name.removeprefix("user-"), what, id, kind, int(n)  # type: ignore[misc]
