"""What programs share that kill a runtime's processes and look at what is left: values, the shared page, the runtime and its pids.

Every value says in all its parts which write it is of: its tag. Everything is forked from one process without threads.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: who forks has no threads

import numpy as np
import psutil

import dspex_runtime as dx
from helpers.system import FOLDER
from helpers.waiting import wait_gone

NAME: Final = "siege"
PROGRAMS: Final = FOLDER / "programs_params.py"
ARRAY, LARGE, TEXT, DEMOS = 12_800, 51_200, 9, 20  # elements of 8 bytes; repetitions
PAGE_BYTES: Final = 4096
QUICK_END: Final = {"backoff": "none", "shutdown": {"drain": "1s", "timeout": "2s"}}

# Words of the shared page: BEGUN: how often programs began; OWN_SET and the next: what they set themselves; from 8 on: whoever's.
STOP, GENERATION, BEGUN, OWN_SET = 0, 1, 2, 3


def value_of(name: str, tag: int, old: Any = None) -> Any:
    """Return a value that says its tag in every part; a predictor's is made of its old one."""
    match name:
        case "text":
            return f"{tag:012d}" * (1 + tag % TEXT)
        case "items":
            return [tag] * (1 + tag % TEXT)
        case "array" | "fleeting_array" | "own_array":
            return np.full(LARGE if tag % 7 == 0 else ARRAY, tag)
        case "answer":
            return {**old, "demos": [{"question": str(tag), "answer": str(tag)}] * (1 + tag % DEMOS * 50)}
        case _:
            return tag


def tag_of(value: Any) -> int | None:
    """Return the tag that a value says in all its parts; None when they do not agree."""
    match value:
        case int():
            return value
        case str():
            return int(value[:12]) if value == value[:12] * max(1, len(value) // 12) else None
        case dict():
            said = {demo["question"] for demo in value["demos"]} | {demo["answer"] for demo in value["demos"]}
            return int(said.pop()) if len(said) == 1 else 0 if not said else None
        case _:
            first = int(value[0])
            same = bool((value == first).all()) if isinstance(value, np.ndarray) else value == [first] * len(value)
            return first if same else None


def fork(run: Callable[[], object]) -> int:
    """Run something in a child and end it without any clean-up; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


class World:
    """What all processes share: the folder, a page of words (also a file, for modules), and the complaints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page_path = folder / "page"
        self.page_path.write_bytes(bytes(PAGE_BYTES))
        self.page = page_at(self.page_path)
        self._complaints = os.memfd_create("complaints")
        self._conductor = os.getpid()

    def complain(self, kind: str, text: str) -> None:
        """Note what must never be."""
        os.lseek(self._complaints, 0, os.SEEK_END)
        os.write(self._complaints, json.dumps([kind, self.page[GENERATION], text[:400]]).encode() + b"\n")

    def result(self, kinds: Iterable[str]) -> dict[str, Any]:
        """Return how many complaints of each kind there are, and the first about each thing."""
        said = [json.loads(line) for line in os.pread(self._complaints, 2**24, 0).splitlines()]
        for path in sorted(self.folder.glob("*.lost")):  # of modules
            said += [["lost", 0, f"{path.stem}: {line}"] for line in path.read_text().splitlines()]
        counts = Counter(kind for kind, *_ in said)
        first = {(kind, generation, text.partition(":")[0]): [kind, generation, text] for kind, generation, text in reversed(said)}
        return {**{kind: counts[kind] for kind in kinds}, "complaints": list(first.values())[:-40:-1]}

    def is_over(self) -> bool:
        """Return whether whoever asks shall end."""
        return self.page[STOP] == 1 or os.getppid() != self._conductor

    def await_runtime(self, generation: int, *, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until there is another runtime than this one, or something else holds."""
        pause = threading.Event()
        while not self.is_over() and self.page[GENERATION] == generation and not until():
            pause.wait(0.01)

    def close(self) -> None:
        """Close what is open here."""
        os.close(self._complaints)


def page_at(path: Path | str) -> memoryview:
    """Return the words of a page that is a file."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), PAGE_BYTES)).cast("Q")


class Besieged:
    """A runtime with an owner of its own, killed and started again with the same state directory."""

    def __init__(self, world: World, config: dict[str, Any]) -> None:
        self._world = world
        self._config = {"version": 1, "name": NAME, **config}
        self._runtime = 0
        self.owner = 0
        self.up_s: list[float] = []

    def up(self) -> None:
        """Start it, in a process that owns it; every change of generation wakes those that wait for it."""
        started = time.perf_counter()
        told, tells = os.pipe()
        self.owner = fork(lambda: self._own(tells))
        os.close(tells)
        with open(told) as file:
            answer = file.read()
        if not answer:
            raise RuntimeError("the runtime did not come up again")
        self._runtime = int(answer)
        self.up_s.append(time.perf_counter() - started)
        self._world.page[GENERATION] += 1

    def _own(self, tells: int) -> None:
        over = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: over.set())
        with dx.Runtime(self._config, state_dir=str(self._world.folder / "state")) as rt:
            os.write(tells, str(rt.pid).encode())
            os.close(tells)
            over.wait()

    def down(self) -> None:
        """End it in order."""
        os.kill(self.owner, signal.SIGTERM)
        os.waitpid(self.owner, 0)
        self.owner = 0

    def up_again(self, pids: list[int]) -> None:
        """Start it at once after it was killed; complain about what is alive still of what was there before."""
        for pid in (self._runtime, self.owner):
            kill(pid)
        os.waitpid(self.owner, 0)
        self.up()
        left = wait_gone(pids)
        if left:
            self._world.complain("other", f"alive after the runtime was killed: {left}")

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by what they are."""
        found = {process.pid: process for process in psutil.Process(self._runtime).children(recursive=True)}
        parents, names = {}, {}
        for pid, process in found.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                parents[pid], names[pid] = process.ppid(), " ".join((process.name(), *process.cmdline()))
        keeper = [pid for pid, parent in parents.items() if parent == self._runtime and "state.keeper" in names[pid]]
        zygotes = [pid for pid, parent in parents.items() if parent == self._runtime and pid not in keeper]
        modules = [pid for pid, parent in parents.items() if parent in zygotes and not names[pid].startswith("dspex-guard")]
        return {
            "runtime": [self._runtime],
            "keeper": keeper,
            "zygotes": zygotes,
            "modules": modules,
            "all": [self._runtime, *found, self.owner],
            "owner": [self.owner],
        }

    def count(self) -> int:
        """Return how many processes it has that are not dead, and itself; guards, which end by themselves, do not count."""
        count = 0
        for process in (psutil.Process(self._runtime), *psutil.Process(self._runtime).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                count += process.status() != psutil.STATUS_ZOMBIE and process.name() != "dspex-guard"
        return count

    def close(self) -> None:
        """Kill what is left after a failure. Idempotent."""
        if self.owner:
            kill(self.owner)
            os.waitpid(self.owner, 0)
            self.owner = 0


def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_all(pids: list[int], choose: random.Random) -> None:
    """Send SIGKILL to all, in any order."""
    for pid in choose.sample(pids, len(pids)):
        kill(pid)
