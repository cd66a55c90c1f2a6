"""The dspy half of a spare's rehearsal: touches the pages of pydantic and dspy that building and calling a module writes."""

from __future__ import annotations

import dspy

from dspex_runtime.host import prefault
from dspex_runtime.modules import runtime_env, values
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec


class Understudy(dspy.Module):  # type: ignore[misc] # dspy has no types
    """A module with one predictor that needs no LM to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, x: int) -> dspy.Prediction:
        """Give the argument back."""
        return dspy.Prediction(x=x)


def build() -> None:
    """Configure dspy and build a module; what is configured here is configured anew at the assignment."""
    runtime_env.prepare(None, None)
    hosted = ModuleHost(Understudy)
    hosted.start((), {})
    hosted.idempotent_methods()


def call() -> None:
    """Have a module called."""
    codec = Codec(pickle=True)
    values.register(codec)
    hosted = ModuleHost(Understudy())
    hosted.start((), {})
    prefault.serve(hosted, codec, [m.CALL, 1, "__call__", [], {"x": 1}, None, None, 0])
