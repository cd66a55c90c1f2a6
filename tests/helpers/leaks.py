"""What this process owns in the operating system, and what it owns more than before."""

from __future__ import annotations

import _thread
import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Final

import psutil

TASKS: Final = "/proc/self/task"
PAUSE_S: Final = 0.002  # a thread that nobody can join is looked at again


@dataclass(frozen=True)
class Threads:
    """The threads of this process at one moment: those of `threading`, and those that `_thread` started without it.

    The kernel lists all. Those that neither knows of belong to a library in C, and live as long as the process.

    Attributes:
        threads: Those of `threading`, without the stand-ins that it makes for others.
        tasks: The ids of all, as the kernel knows them.
        bare: How many `_thread` started itself.
        running: By its identifier, those of `bare` that run Python code.
    """

    threads: frozenset[threading.Thread]
    tasks: frozenset[int]
    bare: int
    running: frozenset[int]

    @classmethod
    def take(cls) -> Threads:
        """Return the threads of now."""
        known = frozenset(thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread))
        main = threading.main_thread() in known
        idents = {thread.ident for thread in known}
        return cls(
            threads=known,
            tasks=frozenset(map(int, os.listdir(TASKS))),
            bare=_thread._count() - len(known) + main,
            running=frozenset(sys._current_frames().keys() - idents),
        )

    def leaks_since(self, *, deadline: float) -> list[str]:
        """Return what runs now and did not then, one line each, after waiting for it to end."""
        for thread in self._new():
            thread.join(max(0.0, deadline - time.monotonic()))
        while (strangers := self._strangers()) and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
        leaks = [f"thread {thread.name!r} (daemon: {thread.daemon})" for thread in self._new() if thread.is_alive()]
        return leaks + strangers

    def _new(self) -> list[threading.Thread]:
        # Daemon threads of libraries live as long as the process and are theirs; ours are named.
        new = Threads.take().threads - self.threads
        return [thread for thread in new if not thread.daemon or thread.name.startswith("dspex-")]

    def _strangers(self) -> list[str]:
        """Return those that `_thread` started; which of the kernel's tasks one of them is can be told when it is the only one."""
        now = Threads.take()
        n = now.bare - self.bare
        tasks = now.tasks - self.tasks - {thread.native_id for thread in now.threads}
        if n <= 0 or not tasks:
            return []
        frames = sys._current_frames()
        places = [_place(frames[ident]) for ident in now.running - self.running if ident in frames]
        what = f"thread {_named(tasks)}" if n == 1 else f"{n} threads among {_named(tasks)}"
        return [f"{what}, started by _thread, {' and '.join(places) or 'in C code'}"]


def _named(tasks: frozenset[int]) -> str:
    return ", ".join(f"{task} {_comm(task)!r}" for task in sorted(tasks))


def _comm(task: int) -> str:
    try:
        with open(f"{TASKS}/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return "ended only now"


def _place(frame: FrameType) -> str:
    """Return the function that the thread was started with, and the line that it is at there."""
    while frame.f_back is not None:
        frame = frame.f_back
    return f"in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


@dataclass(frozen=True)
class Footprint:
    """Descendant processes, open descriptors, threads and named shared memory at one moment."""

    processes: frozenset[psutil.Process]
    descriptors: Counter[str]
    threads: Threads
    shared_memory: frozenset[str]

    @classmethod
    def take(cls) -> Footprint:
        """Return the footprint of now."""
        return cls(
            processes=frozenset(psutil.Process().children(recursive=True)),
            descriptors=Counter(_descriptors()),
            threads=Threads.take(),
            shared_memory=_shared_memory(),
        )

    def leaks_since(self, *, timeout_s: float) -> list[str]:
        """Return what is there now and was not then, one line each, after waiting for processes and threads to end.

        Leaked child processes are killed, so that one bad test does not fail all after it.
        """
        deadline = time.monotonic() + timeout_s
        if self._processes() or self.threads.leaks_since(deadline=0) or self._files():
            gc.collect()  # what only waits for the collector is not a leak; most tests leave nothing to ask about
        _, alive = psutil.wait_procs(self._processes(), timeout=max(0.0, deadline - time.monotonic()))
        leaks = [_describe(process) for process in alive] + self.threads.leaks_since(deadline=deadline)
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        return leaks + self._files()

    def _processes(self) -> list[psutil.Process]:
        """Return the new ones, but for those of a process that was there before: a standing runtime refills its spares."""
        new = [child for child in psutil.Process().children(recursive=True) if child not in self.processes]
        return [child for child in new if not self._is_anothers(child)]

    def _is_anothers(self, child: psutil.Process) -> bool:
        try:
            return not self.processes.isdisjoint(child.parents())
        except psutil.NoSuchProcess:
            return False  # it ends just now

    def _files(self) -> list[str]:
        """Return the new descriptors and names."""
        more = Counter(_descriptors()) - self.descriptors
        names = _shared_memory() - self.shared_memory
        return [f"descriptor {target}, {n} more" for target, n in sorted(more.items())] + [f"/dev/shm/{n}" for n in sorted(names)]


def _shared_memory() -> frozenset[str]:
    return frozenset(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else frozenset()


def _descriptors() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the listing's own descriptor
        yield target


def _describe(process: psutil.Process) -> str:
    try:
        with process.oneshot():
            command = " ".join(process.cmdline()) or process.name()
            return f"process {process.pid}, {process.status()}, child of {process.ppid()}: {command[:200]}"
    except psutil.NoSuchProcess:
        return f"process {process.pid}, which ended only now"
