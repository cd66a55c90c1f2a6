"""Servers and a module with parameters, for ledgers and torture: each value says in all its parts which write it is of."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dspy
import numpy as np

import dspex_runtime as dx
from helpers.killing import interrupted_at
from helpers.siege import BEGUN, OWN_SET, page_at, value_of

TICK_S = 0.002
ARRAY_EVERY = 8  # ticks


def last_of(path: str) -> int:
    """Return the last number of a file of lines; a torn last line was not acknowledged."""
    try:
        whole = Path(path).read_text().rpartition("\n")[0]
    except FileNotFoundError:
        return 0
    return int(whole.rpartition("\n")[2] or 0)


def expected(noted: int) -> dict[str, int]:
    """Return what must be there when a number was noted: its array may still have been on its way."""
    return {"own": noted, "own_array": (noted - 1) // ARRAY_EVERY * ARRAY_EVERY}


class Own:
    """Sets a number and an array of its own from inside, one after the other, and notes each set that returned."""

    def __init__(self, ledger: str, found: dict[str, int]) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        noted = last_of(ledger)
        for what, number in found.items():
            if number < expected(noted)[what]:
                with open(ledger + ".lost", "a") as file:
                    file.write(f"incarnation begins with {what} {number}, {noted} was set before\n")

    def note(self, number: int) -> None:
        os.write(self._ledger, b"%d\n" % number)


class Kept(dx.GenServer):
    """Is set from outside by many, and sets its own at every tick."""

    number = dx.Parameter(int, default=0)
    text = dx.Parameter(str, default="0")
    array = dx.Parameter("array", default=[0])
    items = dx.Parameter(list, default=[0])
    checked = dx.Parameter(int, default=0, check=lambda value: value >= 0)
    fleeting = dx.Parameter(int, default=0, durability="memory")
    fleeting_array = dx.Parameter("array", default=[0], durability="memory")
    own = dx.Parameter(int, default=0)
    own_array = dx.Parameter("array", default=[0])

    def init(self, ledger: str | None = None) -> int:
        self.notes = None if ledger is None else Own(ledger, {"own": self.own, "own_array": int(self.own_array[0])})
        if self.notes is not None:
            dx.send_after(0.0, "tick")
        return 0

    def handle_info(self, message: Any, state: int) -> Any:
        if message == "tick":
            assert self.notes is not None
            self.own = number = self.own + 1
            self.notes.note(number)
            if number % ARRAY_EVERY == 0:
                self.own_array = np.full(12_800, number)
            dx.send_after(TICK_S, "tick")
        return dx.NoReply(state)

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        """Set parameters from inside: [name, value] pairs; answers when they are set."""
        for name, value in request:
            setattr(self, name, value)
        return dx.Reply(len(request), state)


class Answerer(dx.Module):
    """One predictor, whose demos are set from outside and changed from inside."""

    number = dx.Parameter(int, default=0)

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=question)

    def learn(self, tag: int, n: int) -> int:
        """Change the demos by plain assignment, as optimizers do."""
        self.answer.demos = [dspy.Example(question=str(tag), answer=str(tag)) for _ in range(n)]
        self.number = tag
        return tag


class Doomed(Kept):
    """Sets its own at every tick, notes in a shared page what was set, and kills itself at a random instruction within a set."""

    def init(self, page: str, dies: float = 0.05) -> int:  # type: ignore[override]
        self.page, self.dies = page_at(page), dies
        self.page[BEGUN] += 1
        for name, least in (("own", self.page[OWN_SET]), ("own_array", self.page[OWN_SET + 1])):
            found = int(np.asarray(getattr(self, name)).flat[0])
            if found < least:
                Path(page).with_name("doomed.lost").open("a").write(f"begins with {name} {found}, {least} was set before\n")
        dx.send_after(0.0, "tick")
        return 0

    def handle_info(self, message: Any, state: int) -> Any:
        if message == "tick":
            if random.random() < self.dies:
                interrupted_at(random.randrange(8000), self.tick, inside="dspex_runtime/", by=_end)
            else:
                self.tick()
            dx.send_after(TICK_S, "tick")
        return dx.NoReply(state)

    def tick(self) -> None:
        for place, name in enumerate(("own", "own_array")):
            tag = int(np.asarray(getattr(self, name)).flat[0]) + 1
            setattr(self, name, value_of(name, tag))
            self.page[OWN_SET + place] = tag


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
