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


# Made in the zygote: in a child it costs 150 pages. Not the process's own codec, which a server keeps free of dspy.
_codec = Codec(pickle=True)
values.register(_codec)


def build_and_call() -> None:
    """Configure dspy, build a module, have it called, and put the settings back: what becomes of this process may be a server."""
    with runtime_env.restored():
        runtime_env.prepare(None, None)
        hosted = ModuleHost(Understudy)
        hosted.build((), {})
        prefault.adopt(hosted, _codec)
        hosted.start((), {})
        hosted.idempotent_methods()
        prefault.serve(hosted, _codec, [m.CALL, 1, "__call__", [], {"x": 1}, None, None, 0])
