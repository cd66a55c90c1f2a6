"""A keeper that is played by the test: real messages and descriptors on a real socket, no process and no disk."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from dspex_runtime.node.peer import PLAIN
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.framing import FrameReader, frame

Facts = dict[str, Any]
KEEPER_PID = 4_000_000  # of no process


class FakeKeeper:
    """What the runtime starts in the place of keepers, one after the other.

    Attributes:
        told: What came, as (op, args), in order; also what was asked.
        asked: Questions without an answer yet: number -> (op, args).
        answers: Values, or functions of the arguments, with which a question is answered in the next turn.
        spawns: How many were started.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, Facts]] = []
        self.asked: dict[int, tuple[str, Facts]] = {}
        self.answers: dict[str, Any] = {"open": {"ids": {}, "kept": []}, "drop": None, "figures": {}}
        self.descriptors: list[int] = []  #: that came; the test's
        self.spawns = 0
        self.refuses_to_start = False
        self.ends = 0
        self._sock: socket.socket | None = None
        self._reader = FrameReader()

    # -- as `osproc.keeper_client.KeeperProcess` --------------------------------------------------------------------

    pid = KEEPER_PID

    @property
    def sock(self) -> socket.socket:
        return self._theirs

    def spawn(self, *_: Any) -> FakeKeeper:
        if self.refuses_to_start:
            raise OSError("no process to be had")
        self.spawns += 1
        self._sock, self._theirs = socket.socketpair()
        self._sock.setblocking(False)
        self._reader = FrameReader()
        self.asked.clear()
        return self

    def end(self) -> None:
        self.ends += 1
        self.die()

    # -- as the test wants it ---------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take what came, and answer what there is an answer for."""
        for number, op, args in self._heard():
            self.told.append((op, args))
            if op == "close":
                self.die()
            if number:
                self.asked[number] = (op, args)
        for number, (op, args) in list(self.asked.items()):
            if op in self.answers:
                found = self.answers[op]
                self.answer(number, found(args) if callable(found) else found)

    def answer(self, number: int, value: Any, fds: Sequence[int] = ()) -> None:
        del self.asked[number]
        self.send([number, "ok", value, len(fds)], fds)

    def refuse(self, number: int, error: Exception) -> None:
        del self.asked[number]
        self.send([number, "error", to_fault(error, id=None, incarnation=None, codec=PLAIN)])

    def question(self, op: str) -> int:
        """Return the number of the only open question of this kind."""
        (number,) = [number for number, (asked, _) in self.asked.items() if asked == op]
        return number

    def of(self, op: str) -> list[Facts]:
        """Return the arguments of everything of this kind that came."""
        return [args for told, args in self.told if told == op]

    def send(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        assert self._sock is not None
        socket.send_fds(self._sock, [frame(PLAIN.pack(message))], list(fds))

    def die(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def close(self) -> None:
        self.die()
        for fd in self.descriptors:
            os.close(fd)
        self.descriptors.clear()

    def _heard(self) -> list[list[Any]]:
        messages: list[list[Any]] = []
        while self._sock is not None:
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, 2**20, 16)
            except (BlockingIOError, ConnectionResetError):
                break
            self.descriptors += fds
            if not data:
                break
            self._reader.feed(data)
        while (body := self._reader.next()) is not None:
            messages.append(PLAIN.unpack(body))
        return messages
