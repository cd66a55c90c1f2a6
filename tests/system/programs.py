"""The servers and modules of the system tests: small, and each bad in one way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gates import until, until_exists

import dspex_runtime as dx


class Counter(dx.GenServer):
    """Adds; notes its starts and stops in a file, if it is given one."""

    def init(self, start: int = 0, journal: str | None = None, name: str = "") -> int:
        self.journal, self.name = journal, name
        self._note("start")
        return start

    def _note(self, what: str) -> None:
        if self.journal:
            with open(self.journal, "a") as file:
                file.write(f"{what} {self.name}\n")

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        if request == "crash":
            raise ValueError("asked to crash")
        if request == "stop":
            return dx.Stop("normal", state, reply="stopping")
        return dx.Reply(state + request, state + request)

    def terminate(self, reason: Any, state: int) -> None:
        self._note("stop")


class Bad(dx.GenServer):
    """Does what `request` says."""

    def init(self) -> None:
        return None

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        what, *args = request
        return dx.Reply(getattr(self, what)(*args), state)

    def pid(self) -> int:
        return os.getpid()

    def exit(self, status: int) -> None:
        os._exit(status)

    def sys_exit(self, status: int) -> None:
        sys.exit(status)

    def segfault(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def burn(self, path: str) -> None:
        """Hold the GIL in C code for a very long time."""
        open(path + ".begun", "w").close()
        re.match(r"(a+)+$", "a" * 40 + "b")

    def wait(self, path: str) -> str:
        """Stay in a Python call until a file is there."""
        open(path + ".begun", "w").close()
        until_exists(path)
        return "done"

    def grow(self, megabytes: int, path: str) -> str:
        """Take memory and keep it until a file is there."""
        self.hoard = bytearray(os.urandom(1024) * 1024 * megabytes)
        return self.wait(path)

    def flood(self, lines: int) -> None:
        for _ in range(lines):
            print("x" * 1000)

    def flood_c(self, megabytes: int) -> None:
        """Write past Python's sys.stdout, as C libraries and programs do."""
        for _ in range(megabytes):
            os.write(1, b"y" * 2**20)

    def garbage(self) -> None:
        """Write nonsense to every socket that is open."""
        for fd in _sockets():
            os.write(fd, b"\xff" * 64)

    def close_sockets(self) -> None:
        for fd in _sockets():
            os.close(fd)

    def fork(self) -> list[int]:
        """Leave a forked, an exec'ed and a daemonised grandchild behind."""
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        plain = subprocess.Popen(["sleep", "1000"])
        detached = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        return [pid, plain.pid, detached.pid]

    def ignore_sigterm(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def thread(self) -> None:
        threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()

    def unserialisable(self) -> Any:
        return {"items": [1, threading.Lock()]}

    def large(self, megabytes: int) -> bytes:
        return b"z" * (megabytes * 2**20)


def _sockets() -> list[int]:
    return [int(fd) for fd in os.listdir("/proc/self/fd") if _is_socket(fd)]


def _is_socket(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False


class StubbornTerminate(Counter):
    """Never finishes its goodbye."""

    def terminate(self, reason: Any, state: int) -> None:
        threading.Event().wait()


class NeverStarts(dx.GenServer):
    """Hangs in init."""

    def init(self) -> None:
        threading.Event().wait()


class RaisesInInit(dx.GenServer):
    """Cannot start."""

    def init(self) -> None:
        raise RuntimeError("the index is missing")


class StartsWhenAllowed(dx.GenServer):
    """Starts only while a file is there."""

    def init(self, path: str) -> None:
        if not Path(path).exists():
            raise FileNotFoundError(path)

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        return dx.Reply("up", state)


class Ignores(dx.GenServer):
    """Does not want to run."""

    def init(self) -> Any:
        return dx.Ignore()


class Gated(Counter):
    """Starts and stops only when `<folder>/start` and `<folder>/stop` are there; `<name>.waits` says that it waits."""

    def init(self, folder: str, name: str, gates: str = "") -> int:
        self.folder, self.gates = Path(folder), gates
        super().init(name=name)
        self._pass("start")
        return 0

    def terminate(self, reason: Any, state: int) -> None:
        self._pass("stop")

    def _pass(self, gate: str) -> None:
        if gate in self.gates:
            (self.folder / f"{self.name}.waits").touch()
            until_exists(self.folder / gate)


class Together(Counter):
    """Stops only when `number` of its kind are stopping."""

    def init(self, folder: str, number: int, name: str) -> int:
        self.folder, self.number = Path(folder), number
        return super().init(name=name)

    def terminate(self, reason: Any, state: int) -> None:
        (self.folder / self.name).touch()
        until(self.folder, lambda: len(list(self.folder.iterdir())) >= self.number)


class Told(dx.GenServer):
    """Answers with the arguments it was started with."""

    def init(self, *args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(state, state)
