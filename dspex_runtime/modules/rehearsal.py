"""The dspy half of a rehearsal: touches the pages of pydantic and dspy that building and calling a module writes.

In the zygote it also asks an LM, for what dspy imports then.
"""

from __future__ import annotations

from typing import Any, Final

import dspy
from dspy import lm15

from dspex_runtime.host import prefault
from dspex_runtime.modules import runtime_env, values
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec


class Understudy(dspy.Module):  # type: ignore[misc] # dspy has no types
    """A module with one predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, x: int) -> dspy.Prediction:
        """Give the argument back; no LM is needed."""
        return dspy.Prediction(x=x)


class _Engine:
    """Answers anything, from here: an LM's connections are what no fork may share."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Fill in the two fields of a `ChainOfThought`, as dspy's chat adapter reads them."""
        message = lm15.Message.assistant("[[ ## reasoning ## ]]\nx\n\n[[ ## answer ## ]]\nx\n\n[[ ## completed ## ]]")
        usage = lm15.Usage(input_tokens=1, output_tokens=1)
        return lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)

    def dump_state(self) -> dict[str, Any]:
        """Return nothing: there is none."""
        return {}


_lm: Final = dspy.LM("local/rehearsal", engine=_Engine(), cache=False)
_understudy: Final = Understudy()


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
        prefault.serve(hosted, _codec, m.plain_call("__call__", [], {"x": 1}))


def build_and_adopt() -> None:
    """Build a module and give it its parameters: what a fork of a template does that has the user's settings of dspy.

    Nothing is called: a call would meet the user's callbacks.
    """
    hosted = ModuleHost(Understudy)
    hosted.build((), {})
    prefault.adopt(hosted, _codec)
    hosted.start((), {})
    hosted.idempotent_methods()


def ask() -> None:
    """Have a predictor ask an LM: 7 ms the first time in a process, 1 ms afterwards. No history, no callback, no cache sees it."""
    with dspy.context(lm=_lm, adapter=None, callbacks=[], trace=None, disable_history=True, track_usage=False):
        _understudy.answer(question="x")
