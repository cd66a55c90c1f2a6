"""Servers and modules that watch, link and signal one another."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import dspex_runtime as dx


class Peer(dx.GenServer):
    """Keeps what it is sent, and calls a function of dx for whoever asks."""

    def init(self, watch: tuple[str, ...] = (), link: tuple[str, ...] = (), journal: str = "") -> list[Any]:
        self.journal = journal
        self.waiting: list[tuple[int, Any]] = []
        self.refs = [dx.monitor(id) for id in watch]
        for id in link:
            dx.link(id)
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        match request:
            case ["messages", n]:  # answered when there are so many
                self.waiting.append((n, from_))
                return self._go_on(state)
            case ["keep", what]:
                self._go_on([*state, what])
                return dx.Reply(None, [*state, what])
            case ["own", name, *args]:
                return dx.Reply(getattr(self, name)(*args), state)
            case [name, *args]:
                return dx.Reply(getattr(dx, name)(*args), state)

    def handle_cast(self, request: Any, state: list[Any]) -> Any:
        return self._go_on([*state, request])

    def handle_info(self, message: Any, state: list[Any]) -> Any:
        return self._go_on([*state, message])

    def _go_on(self, state: list[Any]) -> Any:
        for n, from_ in [w for w in self.waiting if w[0] <= len(state)]:
            self.waiting.remove((n, from_))
            dx.reply(from_, state)
        return dx.NoReply(state)

    def terminate(self, reason: Any, state: list[Any]) -> None:
        if self.journal:
            with open(self.journal, "a") as file:
                file.write(f"{dx.self_id()} {reason if isinstance(reason, str) else reason[0]}\n")

    def monitored_in_init(self) -> list[int]:
        return self.refs

    def cast_and_die(self, to: str, n: int) -> None:
        """Send many casts over a pipe of our own, then die with the last one sent."""
        with dx.connect() as rt:
            peer = rt.server(to)
            for i in range(n):
                peer.cast(i)
            os.kill(os.getpid(), signal.SIGKILL)

    def send_around_exit(self, to: str, n: int) -> None:
        """Send requests and casts, an exit signal, and casts again."""
        with dx.connect() as rt:
            peer = rt.server(to)
            requests = [peer.send_request(["keep", i]) for i in range(n)]
            for i in range(n, 2 * n):
                peer.cast(i)
            dx.exit(to, "shutdown")
            for i in range(2 * n, 3 * n):
                peer.cast(i)
            for request in requests:
                request.wait(20)

    def flush_what_is_queued(self, of: str) -> list[bool]:
        """Let a notice come while this callback runs, then end its monitor: (was active, still active the second time)."""
        ref = dx.monitor(of)
        with dx.connect() as rt, rt.monitor(of) as down:
            rt.kill(of)
            down.wait(20)
        return [dx.demonitor(ref, flush=True), dx.demonitor(ref)]

    def unlink_what_is_queued(self, of: str) -> bool:
        dx.link(of)
        with dx.connect() as rt, rt.monitor(of) as down:
            rt.kill(of)
            down.wait(20)
        return dx.unlink(of, flush=True)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def pass_through(self, gate: str) -> None:
        """Wait until somebody opens the gate."""
        os.close(os.open(gate, os.O_RDONLY))

    def pid(self) -> int:
        return os.getpid()
