"""Writers are killed, thousands of them, while readers check every value they see: `python -m tests.params.torture [KILLS]`.

One table at a time, for KILLS_A_TABLE kills. Each writer is a process that adopts the table as the last one left it, checks
that nothing acknowledged is lost, and sets, adds and removes until it is killed with SIGKILL: half of them by the conductor
at a random moment, the others by themselves at a random bytecode instruction inside the table's code, many of those while
the table grows. A version counts as acknowledged once its publish returned, which a writer notes in a shared page.

Every value says its own version, in every element. A reader complains when one is
    torn         elements, length, version or annex do not belong together, or it cannot be read at all
    backwards    older than one that the same reader saw before
    lost         older than what was acknowledged when the reader began
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import select
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dspex_runtime.errors import ParameterNotFoundError
from dspex_runtime.params import layout, values
from dspex_runtime.params.memory import read_only
from dspex_runtime.params.table import Blob, Table
from dspex_runtime.params.view import View
from dspex_runtime.wire.codec import Codec
from helpers.killing import interrupted_at

KILLS_A_TABLE: Final = 60
READERS: Final = 3
LONG_LIVES, LONG_S = 0.05, 0.1  # some writers live long enough to overtake every reader many times
CODEC: Final = Codec()
NAMES: Final = ("number", "text", "list", "array", "blob", "fleeting", *(f"added{n}" for n in range(200)))
MANY: Final = 100  # reads between two looks at the stop flag

# The shared page: words that every process may look at.
STOP, PUBLISHED, READS, DOING, NO_MORE_BLOBS, FIRST_ACK = 0, 1, 2, 8, 9, 64  # READS + reader number
WRITING, GROWING = 1, 2


def value_of(name: str, version: int, size: int) -> Any:
    """A value of about `size` bytes that says its version in every part."""
    match name:
        case "text":
            return f"{version:06d}" * (1 + size // 6)
        case "list":
            return [version] * (1 + size // 5)
        case "array":
            return np.full(1 + size // 8, version)
        case "blob":
            return np.full(9000 + size, version)
        case _:
            return version


def version_in(value: Any) -> int | None:
    """Return the version that a value says in all its parts; None when they do not agree."""
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return int(value[:6]) if value == value[:6] * (len(value) // 6) else None
    first = int(value[0])
    same = bool((value == first).all()) if isinstance(value, np.ndarray) else value == [first] * len(value)
    return first if same else None


class World:
    """What all processes of one table share: its descriptor, the page, the way to the keeper of blobs, and the complaints."""

    def __init__(self, complaints: int) -> None:
        table = Table.create("torture")
        self.fd = os.dup(table.fd)
        table.close()
        self._page = mmap.mmap(-1, 4096)
        self.page = memoryview(self._page).cast("Q")
        self.offers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.requests = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(READERS + 1)]
        self.complaints = complaints
        self.conductor = os.getpid()

    def complain(self, kind: str, text: str) -> None:
        os.write(self.complaints, json.dumps([kind, text[:300]]).encode() + b"\n")

    def is_over(self, word: int = STOP) -> bool:
        return self.page[word] == 1 or os.getppid() != self.conductor

    def close(self) -> None:
        os.close(self.fd)
        for pair in (self.offers, *self.requests):
            for end in pair:
                end.close()

    def view(self, reader: int) -> View:
        return View(read_only(self.fd), CODEC, lambda name, version: self._fetch(reader, name, version))

    def _fetch(self, reader: int, name: str, version: int) -> int | None:
        ours = self.requests[reader][0]
        question = json.dumps([name, version]).encode()
        ours.send(question)
        while True:
            answer, fds, _, _ = socket.recv_fds(ours, 256, 1)
            if answer == question:
                return fds[0] if fds else None
            for fd in fds:  # asked for by a writer that was killed before it got it
                os.close(fd)


def fork(run: Callable[[], None]) -> int:
    """Run something in a child and end it without any clean-up; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(0)
    return pid


def keep_blobs(world: World) -> None:
    """Keep the newest two blobs of each name, as a runtime's keeper does; what was offered is taken before anybody is answered."""
    blobs: dict[str, dict[int, int]] = {}
    offers = world.offers[1]
    offers.setblocking(False)
    poller = select.poll()
    for end in (offers, *(pair[1] for pair in world.requests)):
        poller.register(end, select.POLLIN)
    askers = {pair[1].fileno(): pair[1] for pair in world.requests}
    while not world.is_over(NO_MORE_BLOBS):
        for ready, _ in poller.poll(100):
            take_offers(offers, blobs)
            if ready in askers:
                question = askers[ready].recv(256)
                name, version = json.loads(question)
                fd = blobs.get(name, {}).get(version)
                socket.send_fds(askers[ready], [question], [fd] if fd is not None else [])


def take_offers(offers: socket.socket, blobs: dict[str, dict[int, int]]) -> None:
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(offers, 256, 1)
        except BlockingIOError:
            return
        name, version = json.loads(data)
        versions = blobs.setdefault(name, {})
        if version in versions:
            os.close(versions[version])  # its writer was killed before it could publish it
        versions[version] = fds[0]
        while len(versions) > 2:
            os.close(versions.pop(min(versions)))


class Reader:
    """Reads one name after the other and complains."""

    def __init__(self, world: World, number: int, seed: int) -> None:
        self._world = world
        self._number = number
        self._choose = random.Random(seed)
        self._seen: Counter[str] = Counter()
        self.view = world.view(number)

    def run(self) -> None:
        while not self._world.is_over():
            if self._choose.random() < 0.05:  # one that maps the table in the middle of everything
                self.view.close()
                self.view = self._world.view(self._number)
            for _ in range(MANY):
                name = self._choose.choice(NAMES[:6] if self._choose.random() < 0.7 else NAMES)
                try:
                    self.check(name)
                except Exception as exc:
                    self._world.complain("torn", f"{name}: {type(exc).__name__}: {exc}")
            self._world.page[READS + self._number] += MANY

    def check(self, name: str) -> None:
        acknowledged = self._world.page[FIRST_ACK + NAMES.index(name)]
        try:
            if self._choose.random() < 0.5:
                entry = self.view.entry(name)
                version, value, who = entry.version, entry.value, entry.who
            else:
                value = self.view.get(name)
                version = version_in(value) or 0
                who = f"writer of {version}"
        except ParameterNotFoundError:
            if acknowledged and name != "fleeting":
                self._world.complain("lost", f"{name} is not there, {acknowledged} was acknowledged")
            return
        if version_in(value) != version or who != f"writer of {version}":
            self._world.complain("torn", f"{name}: version {version} of {who!r} is {value!r:.100}")
        if version < self._seen[name]:
            self._world.complain("backwards", f"{name}: {version} after {self._seen[name]}")
        if version < acknowledged and name != "fleeting":
            self._world.complain("lost", f"{name}: {version}, {acknowledged} was acknowledged")
        self._seen[name] = version


class Writer:
    """Adopts the table, checks it, and writes until it dies."""

    def __init__(self, world: World, incarnation: int, seed: int) -> None:
        self._world = world
        self._choose = random.Random(seed)
        self._incarnation = incarnation

    def run(self, *, by_own_hand: bool) -> None:
        try:
            self._table = Table.adopt(os.dup(self._world.fd))
            self._table.lease(self._incarnation)
            self._check_all()
            if by_own_hand:
                interrupted_at(self._choose.randrange(6000), self._write, inside="dspex_runtime/params", by=_end)
            self._write()
        except Exception as exc:
            self._world.complain("other", f"writer: {type(exc).__name__}: {exc}")
            _end()

    def _check_all(self) -> None:
        reader = Reader(self._world, READERS, self._choose.randrange(2**32))
        for name in (*NAMES[:6], *self._table.names()):
            reader.check(name)
        reader.view.close()

    def _write(self) -> None:
        if self._choose.random() < 0.3:
            self._overtake(self._choose.choice(("text", "array")))
        while not self._world.is_over():
            draw = self._choose.random()
            if draw < 0.15:
                self._set(self._choose.choice(NAMES[6:]), GROWING)
            elif draw < 0.2 and "fleeting" in self._table.names():
                self._table.remove("fleeting")
            else:
                self._set(self._choose.choice(NAMES[:6]), WRITING)

    def _overtake(self, name: str) -> None:
        """Set one large value as fast as possible: whoever is interrupted while copying it out is overtaken."""
        while not self._world.is_over():
            self._set(name, WRITING, size=50_000)

    def _set(self, name: str, doing: int, *, size: int | None = None) -> None:
        world, table = self._world, self._table
        world.page[DOING] = doing
        slot = table.add(name)
        version = table.version(slot) + 1
        size = self._choose.choice((0, 50, 500, 5000, 50_000)) if size is None else size
        data = values.encode(CODEC, value_of(name, version, size))
        annex = values.Annex(time.time(), f"writer of {version}", 0.0).pack()
        blob = None
        if not layout.fits_inline(len(data), len(annex)):
            blob = Blob.create(data, annex)
            socket.send_fds(world.offers[0], [json.dumps([name, version]).encode()], [blob.fd])
        table.publish(slot, version, data, annex, blob=blob)
        world.page[FIRST_ACK + NAMES.index(name)] = version
        world.page[PUBLISHED] += 1
        world.page[DOING] = 0
        if blob is not None:
            blob.close()


def _end() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def torture_one_table(kills: int, seed: int, complaints: int, total: Counter[str]) -> None:
    """Kill writers of one table, and add up what happened."""
    world = World(complaints)
    choose = random.Random(seed)
    keeper = fork(lambda: keep_blobs(world))
    readers = [fork(Reader(world, number, seed + number).run) for number in range(READERS)]
    size = os.fstat(world.fd).st_size
    for incarnation in range(1, kills + 1):
        writer = Writer(world, incarnation, choose.randrange(2**32))
        world.page[DOING] = 0
        if choose.random() < 0.5:
            pid = fork(lambda: writer.run(by_own_hand=True))  # noqa: B023
        else:
            pid = fork(lambda: writer.run(by_own_hand=False))  # noqa: B023
            time.sleep(LONG_S if choose.random() < LONG_LIVES else choose.uniform(0, 0.012))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status)
        total["kills"] += 1
        grown, size = size, os.fstat(world.fd).st_size
        total["inside a write"] += world.page[DOING] != 0
        total["inside the adding of a name"] += world.page[DOING] == GROWING
        total["growths"] += size > grown
    world.page[STOP] = 1
    for pid in readers:
        os.waitpid(pid, 0)
    world.page[NO_MORE_BLOBS] = 1
    os.waitpid(keeper, 0)
    total["publishes"] += world.page[PUBLISHED]
    total["reads"] += sum(world.page[READS + number] for number in range(READERS))
    world.close()


def torture(kills: int, seed: int) -> dict[str, Any]:
    """Kill that many writers; return counts, and the first complaints."""
    total: Counter[str] = Counter()
    with open(os.memfd_create("complaints"), "r+b", buffering=0) as complaints:
        os.set_inheritable(complaints.fileno(), True)
        for n in range(0, kills, KILLS_A_TABLE):
            torture_one_table(min(KILLS_A_TABLE, kills - n), seed + n, complaints.fileno(), total)
        complaints.seek(0)
        said = [json.loads(line) for line in complaints.read().splitlines()]
    kinds = Counter(kind for kind, _ in said)
    return {
        **total,
        **{kind: kinds[kind] for kind in ("torn", "backwards", "lost", "other")},
        "complaints": said[:20],
        "seed": seed,
    }


def main(arguments: list[str] | None = None) -> int:
    """Torture and print what came out, as JSON; return 1 when there was any complaint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=None, help="of what is written and when; the moments of death differ anyway")
    chosen = parser.parse_args(arguments)
    result = torture(chosen.kills, random.randrange(2**32) if chosen.seed is None else chosen.seed)
    print(json.dumps(result))
    return 1 if result["complaints"] else 0


if __name__ == "__main__":
    sys.exit(main())
