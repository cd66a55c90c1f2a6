"""What bench/swap.py swaps: a server and a module with one predictor, each with a state of some size."""

from __future__ import annotations

import random
from typing import Any, Final

import dspy

import dspex_runtime as dx

STATE_BYTES: Final = 2**20  # unless it is said otherwise


class Holder(dx.GenServer):
    """Answers with what it is asked."""

    def init(self, state_bytes: int = STATE_BYTES) -> dict[str, Any]:
        """Make the state."""
        return {"data": random.randbytes(state_bytes)}

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> dx.Reply:
        """Give the request back."""
        return dx.Reply(request, state)


class Program(dx.Module):
    """One chain of thought, and a state. `echo` answers without an LM."""

    def __init__(self, state_bytes: int = STATE_BYTES) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")
        self._data = random.randbytes(state_bytes)

    def forward(self, question: str) -> Any:
        """Ask the predictor."""
        return self.answer(question=question)

    def echo(self, value: Any) -> Any:
        """Give the value back."""
        return value

    def get_state(self) -> bytes:
        """Return the state."""
        return self._data

    def set_state(self, state: bytes) -> None:
        """Go on with that of another process."""
        self._data = state


def resized(_version: Any, state: Any, size: int) -> Any:
    """Migrate to a state of another size."""
    data = random.randbytes(size)
    return {**state, "state": data} if "params" in state else {"data": data}
