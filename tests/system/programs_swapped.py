"""What swap_torture swaps: a server and a module that write each thing they run into a ledger, and a neighbour that watches both.

The classes that run are in files that the torture writes again and again (see `helpers.swap_versions`); they inherit these. A line
of a ledger is `kind pid generation moves client number`; it is written by the process that runs it, while it runs it: the order of
the lines is the order in which things were run, whichever process ran them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import dspy
from gates import until_exists

import dspex_runtime as dx
from helpers.siege import page_at
from helpers.swap_page import HAND, KEY, LATEST, LOCK, SERVING, Hand

TICK_S = 0.002


class Place:
    """One process of one child: its ledger, its words of the shared page, what it complains of."""

    def __init__(self, folder: str, id: str) -> None:
        self.page = page_at(Path(folder) / "page")
        self.word = "sm".index(id)
        self._folder, self._id = Path(folder), id
        self._ledger: int | None = None
        self.page[LATEST + self.word] = os.getpid()

    def write(self, kind: str, gen: int, moves: int, client: str, n: int) -> None:
        """Write a line of the ledger: from now on this process is the one that serves."""
        if self._ledger is None:
            self._ledger = os.open(self._folder / f"ran-{self._id}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self.page[SERVING + self.word] = os.getpid()
        os.write(self._ledger, f"{kind} {os.getpid()} {gen} {moves} {client} {n}\n".encode())

    def complain(self, text: str) -> None:
        """Note what must never be."""
        with open(self._folder / f"{self._id}.lost", "a") as file:
            file.write(f"{self._id}: {text}\n")

    def by_own_hand(self, hand: Hand) -> None:
        """End here, or at one of the next instructions that move what there is, where the torture wants that."""
        word = HAND + self.word * len(Hand) + hand
        at = self.page[word]
        if at:
            self.page[word] = 0
            if at == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            ends_within(at, "dspex_runtime/host/moving")


def ends_within(instructions: int, inside: str) -> None:
    """Have this thread end the process, after so many instructions of the functions called from now on in some files."""
    left = instructions

    def watch(frame: FrameType, event: str, _arg: Any) -> Callable[..., Any] | None:
        nonlocal left
        if inside not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return watch

    sys.settrace(watch)


def laid_out(state: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a state as this version keeps it: the counts of the clients are pairs in one layout, a map in the others."""
    counts = dict(state["counts"])
    return {**state, "version": version, "counts": list(counts.items()) if version.endswith("pairs") else counts}


def next_state(place: Place, old_version: Any, state: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a state after one move more, in the layout of its new version."""
    down = isinstance(old_version, tuple)
    before = version if down else old_version
    if state["version"] != before:
        place.complain(f"code_change({old_version!r}) got a state of {state['version']}")
    return laid_out({**state, "moves": state["moves"] + 1}, old_version[1] if down else version)


class Server(dx.GenServer):
    """Counts what it is asked, by client; ticks; answers some calls later."""

    PLACE: ClassVar[Place]
    GEN: ClassVar[int]
    HELPER: ClassVar[Callable[[], int]]
    __version__: ClassVar[str]

    number = dx.Parameter(int, default=0)
    text = dx.Parameter(str, default="0")
    array = dx.Parameter("array", default=[0])

    def init(self, tag: int = 0) -> dict[str, Any]:
        state = {"moves": 0, "version": self.__version__, "counts": {}, "waiting": [], "born": os.getpid()}
        dx.register(KEY)
        dx.lock(LOCK).__enter__()
        dx.subscribe("m.number")
        dx.send_after(0.0, ("tick", str(os.getpid()), 1))
        return laid_out(state, self.__version__)

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> Any:
        match request:
            case ("about",):
                return dx.Reply({**self._said(state, 0)[1], "counts": dict(state["counts"]), "pid": os.getpid()}, state)
            case "fit":
                state["moves"] += 100  # what a verification does is undone
                return dx.Reply(self.fit(), state)
        kind, client, n = request[0], request[-2], request[-1]
        self._ran("call", state, client, n)
        match kind:
            case "defer":
                state["waiting"].append((from_, client, n))
                return dx.NoReply(state)
            case "arm":
                dx.send_after(n % 7 * 0.01, ("armed", client, n))
            case "go on":
                return dx.Reply(self._said(state, n), state, continue_=(client, n))
            case "linger":
                Path(f"{request[1]}.begun").touch()
                until_exists(request[1])
        return dx.Reply(self._said(state, n), state)

    def handle_continue(self, x: Any, state: dict[str, Any]) -> Any:
        self._write("continued", state, *x)
        return dx.NoReply(state)

    def handle_cast(self, request: Any, state: dict[str, Any]) -> Any:
        _, client, n = request
        self._ran("cast", state, client, n)
        return dx.NoReply(state)

    def handle_info(self, message: Any, state: dict[str, Any]) -> Any:
        match message:
            case ("tick", chain, n):
                self._write("tick", state, chain, n)
                for from_, _client, number in state["waiting"]:
                    dx.reply(from_, self._said(state, number))
                state["waiting"] = []
                dx.send_after(TICK_S, ("tick", chain, n + 1))
            case ("armed", client, n):
                self._write("armed", state, client, n)
            case "watch":
                dx.monitor("w")
            case dx.Change():
                self._write("heard", state, str(state["born"]), message.version)
            case _:
                self._write("told", state, type(message).__name__, 0)
        return dx.NoReply(state)

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        self.PLACE.by_own_hand(Hand.NEW)
        return next_state(self.PLACE, old_version, state, self.__version__)

    def fit(self) -> bool:
        """Say that it is: a bad version says something else."""
        return True

    def _write(self, kind: str, state: dict[str, Any], client: str, n: int) -> None:
        self.PLACE.write(kind, self.GEN, state["moves"], client, n)

    def _ran(self, kind: str, state: dict[str, Any], client: str, n: int) -> None:
        self._write(kind, state, client, n)
        if state["version"] != self.__version__:
            self.PLACE.complain(f"{self.__version__} runs with a state of {state['version']}")
        counts = dict(state["counts"])
        counts[client] = counts.get(client, 0) + 1
        state["counts"] = laid_out({**state, "counts": counts}, self.__version__)["counts"]

    def _said(self, state: dict[str, Any], n: int) -> tuple[int, dict[str, Any]]:
        return n, {"gen": self.GEN, "helper": type(self).HELPER(), "moves": state["moves"], "born": state["born"]}


class Kept:
    """A server's layout that has a set_state: its init is run in the rehearsal, too."""

    PLACE: ClassVar[Place]

    def get_state(self, state: dict[str, Any]) -> dict[str, Any]:
        self.PLACE.by_own_hand(Hand.OLD)
        return dict(state)

    def set_state(self, saved: dict[str, Any], _state: Any) -> dict[str, Any]:
        return dict(saved)


class Worker(dx.Module):
    """Runs several calls at once; streams; keeps its counts with get_state."""

    PLACE: ClassVar[Place]
    GEN: ClassVar[int]
    HELPER: ClassVar[Callable[[], int]]
    __version__: ClassVar[str]

    number = dx.Parameter(int, default=0)
    array = dx.Parameter("array", default=[0])
    era = dx.Parameter(int, default=0)

    def __init__(self, tag: int = 0) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self._guard = threading.Lock()
        first = {"moves": 0, "version": self.__version__, "counts": {}, "born": os.getpid()}
        self._state = laid_out(first, self.__version__)

    def forward(self, client: str, n: int) -> dspy.Prediction:
        return dspy.Prediction(said=self.run(client, n))

    def run(self, client: str, n: int, kind: str = "call") -> Any:
        with Running(self, client, n, kind):
            return self.said(n)

    def note(self, client: str, n: int) -> None:
        self.run(client, n, "cast")

    @dx.idempotent
    def again(self, client: str, n: int) -> Any:
        return self.run(client, n, "again")

    def slow(self, client: str, n: int) -> Any:
        with Running(self, client, n):
            time.sleep(0.003)
            return self.said(n)

    async def linger(self, path: str, client: str, n: int) -> Any:
        """Wait for a file, off the main thread: that one is asked for the state."""
        with Running(self, client, n):
            Path(f"{path}.begun").touch()
            await asyncio.to_thread(until_exists, path)
            return self.said(n)

    def items(self, client: str, n: int, count: int) -> Iterator[Any]:
        with Running(self, client, n):
            for number in range(count):
                yield number, os.getpid()
            yield self.said(n)

    async def aitems(self, client: str, n: int, count: int) -> AsyncIterator[Any]:
        with Running(self, client, n):
            for number in range(count):
                yield number, os.getpid()
            yield self.said(n)

    def about(self) -> dict[str, Any]:
        with self._guard:
            return {**self.said(0)[1], "counts": dict(self._state["counts"]), "pid": os.getpid()}

    def get_state(self) -> dict[str, Any]:
        self.PLACE.by_own_hand(Hand.OLD)
        with self._guard:
            return dict(self._state)

    def set_state(self, state: dict[str, Any]) -> None:
        self._state = dict(state)

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        self.PLACE.by_own_hand(Hand.NEW)
        params = {**state["params"], "era": state["params"]["era"] + 1}
        return {"params": params, "state": next_state(self.PLACE, old_version, state["state"], self.__version__)}

    def fit(self) -> bool:
        """Say that it is: a bad version says something else. What it does beside that is undone."""
        self.number = self.era = -1
        self._state["moves"] += 100
        return self.is_fit()

    def is_fit(self) -> bool:
        return True

    def said(self, n: int) -> tuple[int, dict[str, Any]]:
        state = self._state
        return n, {"gen": self.GEN, "helper": type(self).HELPER(), "moves": state["moves"], "born": state["born"]}

    def count(self, client: str) -> None:
        with self._guard:
            if self._state["version"] != self.__version__:
                self.PLACE.complain(f"{self.__version__} runs with a state of {self._state['version']}")
            counts = dict(self._state["counts"])
            counts[client] = counts.get(client, 0) + 1
            self._state = laid_out({**self._state, "counts": counts}, self.__version__)

    def write(self, kind: str, client: str, n: int) -> None:
        self.PLACE.write(kind, self.GEN, self._state["moves"], client, n)


class Running:
    """One call in a worker: two lines of the ledger, and the count in between."""

    def __init__(self, worker: Worker, client: str, n: int, kind: str = "call") -> None:
        self._worker, self._client, self._n, self._kind = worker, client, n, kind

    def __enter__(self) -> None:
        self._worker.write(self._kind, self._client, self._n)
        self._worker.count(self._client)

    def __exit__(self, *_: object) -> None:
        self._worker.write("over", self._client, self._n)


class Neighbour(dx.GenServer):
    """Monitors both, is linked to the server (the module would end with it), and notes each word that it gets of an end."""

    def init(self, folder: str) -> None:
        self._folder = Path(folder)
        self._watch()

    def handle_info(self, message: Any, state: None) -> Any:
        if message == "watch":
            self._watch()
        else:
            with open(self._folder / "told-w", "a") as file:
                file.write(f"{type(message).__name__} {message.id} {message.reason!r}\n")
        return dx.NoReply(state)

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        return dx.Reply(request, state)

    def _watch(self) -> None:
        for id in ("s", "m"):
            dx.monitor(id)
        dx.link("s")
