"""Owners in processes of their own, killed with SIGKILL while they write: nothing that was acknowledged is lost, nothing is mixed.

Each value says which version it is, so that a value under a version that is not its own would be seen.
"""

from __future__ import annotations

import array
import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from dspex_runtime.params import segments, volatile
from helpers.owners import Keeper, specs

SPECS = specs(
    disk=int,
    memory=(int, {"durability": "memory"}),
    safe=(int, {"durability": "fsync"}),
    text=(str, {"default": "1"}),
)
NAMES = list(SPECS)
LARGE = 70_000
ROUNDS = 40


class InAnotherProcess(Keeper):
    """A keeper whose owner is in a child; what that offers comes over a socket, and so does what it was acknowledged."""

    def begin(self, seed: int) -> int:
        """Start a child that writes until it is killed."""
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                self.ours.close()
                self.theirs = theirs
                self.write_for_ever(random.Random(seed))
            finally:
                os._exit(1)
        theirs.close()
        return pid

    def write_for_ever(self, chance: random.Random) -> None:
        self.offer = self.send_offer  # type: ignore[method-assign]
        owner = self.start(SPECS)
        while True:
            name = chance.choice(NAMES)
            version = owner.version(name) + 1
            owner.set(name, value_of(name, version, large=chance.random() < 0.3), who="child")
            self.theirs.send(msgpack.packb(["done", name, version]))

    def send_offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        socket.send_fds(self.theirs, [msgpack.packb([kind, facts])], [fd])

    def hear(self) -> list[Any] | None:
        """Return the next thing that was done, with offers taken in between; None at the end."""
        while True:
            data, fds, _, _ = socket.recv_fds(self.ours, 4096, 1)
            if not data:
                return None
            kind, facts, *rest = msgpack.unpackb(data)
            if kind == "done":
                return [facts, *rest]
            (fd,) = array.array("i", fds)
            super().offer(kind, facts, fd)
            os.close(fd)


def value_of(name: str, version: int, *, large: bool = False) -> Any:
    return f"{version}".ljust(LARGE if large else 1) if name == "text" else version


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InAnotherProcess]:
    monkeypatch.setattr(volatile.VolatileJournal.__init__, "__kwdefaults__", {"on_replaced": None, "limit": 3000})
    monkeypatch.setattr(segments.SegmentJournal.__init__, "__kwdefaults__", {"after": 0, "on_rotate": None, "limit": 300_000})
    keeper = InAnotherProcess(tmp_path)
    yield keeper
    keeper.kill_runtime()


@pytest.mark.process
@pytest.mark.slow
def test_no_acknowledged_write_is_lost_by_a_kill(keeper: InAnotherProcess) -> None:
    chance = random.Random(7)
    acknowledged = dict.fromkeys(NAMES, 1)
    kills_inside = 0
    for seed in range(ROUNDS):
        pid = keeper.begin(seed)
        for _ in range(chance.randrange(1, 60)):
            heard = keeper.hear()
            assert heard is not None, "the child failed"
            acknowledged[heard[0]] = heard[1]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while (heard := keeper.hear()) is not None:
            acknowledged[heard[0]] = heard[1]
        keeper.ours.close()
        if seed % 8 == 7:  # everything was killed
            keeper.kill_runtime()
            acknowledged["memory"] = 1
        heir = keeper.start(SPECS)
        for name, version in acknowledged.items():
            found = heir.version(name)
            assert found in (version, version + 1), f"{name}: version {version} was acknowledged, {found} is there"
            if found > 1:
                assert int(heir.get(name)) == found
            kills_inside += found > version
            acknowledged[name] = found
        assert keeper.reports == []
        keeper.kill()
    assert kills_inside > 0, "no kill ever came between writing down and acknowledging"
