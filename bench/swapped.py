"""What bench/swap.py swaps: a server and a module with one predictor, each with 1 MB of state."""

from __future__ import annotations

import random
from typing import Any, Final

import dspy

import dspex_runtime as dx

STATE_BYTES: Final = 2**20


class Holder(dx.GenServer):
    """Answers with what it is asked; has a megabyte."""

    def init(self) -> dict[str, Any]:
        """Make it."""
        return {"data": random.randbytes(STATE_BYTES)}

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> dx.Reply:
        """Give the request back."""
        return dx.Reply(request, state)


class Program(dx.Module):
    """One chain of thought, and a megabyte. `echo` answers without an LM."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")
        self._data = random.randbytes(STATE_BYTES)

    def forward(self, question: str) -> Any:
        """Ask the predictor."""
        return self.answer(question=question)

    def echo(self, value: Any) -> Any:
        """Give the value back."""
        return value

    def get_state(self) -> bytes:
        """Return the megabyte."""
        return self._data

    def set_state(self, state: bytes) -> None:
        """Go on with that of another process."""
        self._data = state
