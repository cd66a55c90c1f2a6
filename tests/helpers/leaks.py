"""What this process owns in the operating system, and what it owns more than before."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Footprint:
    """Descendant processes, open descriptors, threads and named shared memory at one moment."""

    processes: frozenset[psutil.Process]
    descriptors: Counter[str]
    threads: frozenset[threading.Thread]
    shared_memory: frozenset[str]

    @classmethod
    def take(cls) -> Footprint:
        """Return the footprint of now."""
        gc.collect()  # a socket that only waits for the collector is not a leak
        return cls(
            processes=frozenset(psutil.Process().children(recursive=True)),
            descriptors=Counter(_descriptors()),
            threads=frozenset(threading.enumerate()),
            shared_memory=frozenset(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else frozenset(),
        )

    def leaks_since(self, *, timeout_s: float) -> list[str]:
        """Return what is there now and was not then, one line each, after waiting for processes and threads to end.

        Leaked child processes are killed, so that one bad test does not fail all after it.
        """
        deadline = time.monotonic() + timeout_s
        new = [child for child in Footprint.take().processes if child not in self.processes]
        _, alive = psutil.wait_procs(new, timeout=max(0.0, deadline - time.monotonic()))
        for thread in self._new_threads():
            thread.join(max(0.0, deadline - time.monotonic()))
        leaks = [_describe(process) for process in alive]
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        leaks += [f"thread {thread.name!r} (daemon: {thread.daemon})" for thread in self._new_threads() if thread.is_alive()]
        now = Footprint.take()
        leaks += [f"descriptor {target}, {n} more" for target, n in sorted((now.descriptors - self.descriptors).items())]
        leaks += [f"/dev/shm/{name}" for name in sorted(now.shared_memory - self.shared_memory)]
        return leaks

    def _new_threads(self) -> list[threading.Thread]:
        # Daemon threads of libraries live as long as the process and are theirs; ours are named.
        new = [thread for thread in threading.enumerate() if thread not in self.threads]
        return [thread for thread in new if not thread.daemon or thread.name.startswith("dspex-")]


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
