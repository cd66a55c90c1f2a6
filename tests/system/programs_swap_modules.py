"""The modules of test_swap.py, in versions."""

from __future__ import annotations

import os
from typing import Any

import dspy

import dspex_runtime as dx


class Adder(dx.Module):
    """Adds its parameter, and counts."""

    __version__ = "1"
    step = dx.Parameter(float, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def forward(self, x: int) -> dspy.Prediction:
        self.done += 1
        return dspy.Prediction(y=x + self.step, version=self.__version__, pid=os.getpid(), done=self.done)

    def get_state(self) -> int:
        return self.done

    def set_state(self, state: int) -> None:
        self.done = state


class NewAdder(Adder):
    """The next version has its parameter under another name."""

    __version__ = "2"
    step = None
    stride = dx.Parameter(float, 5.0)

    def forward(self, x: int) -> dspy.Prediction:
        self.done += 1
        return dspy.Prediction(y=x + self.stride, version=self.__version__, pid=os.getpid(), done=self.done)

    def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> dict[str, Any]:
        return {"params": {"stride": state["params"]["step"] * 2}, "state": state["state"]}
