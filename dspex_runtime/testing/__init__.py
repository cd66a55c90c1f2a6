"""Language models that need no key and no network, for the tests and examples of programs. Nothing of the runtime imports this.

    DummyLM         answers in the process that asks: from a map, a list or a function of yours
    OpenAIServer    an OpenAI-compatible endpoint on this machine, one for any number of processes, with faults on demand

Both take the same `answers`, described in `dspex_runtime.testing.answers`.
"""

from typing import TYPE_CHECKING, Any

from dspex_runtime.testing.answers import Answer as Answer
from dspex_runtime.testing.answers import NoAnswerError as NoAnswerError
from dspex_runtime.testing.chat import Chat as Chat
from dspex_runtime.testing.faults import BadMarkers as BadMarkers
from dspex_runtime.testing.faults import Cut as Cut
from dspex_runtime.testing.faults import Fault as Fault
from dspex_runtime.testing.faults import Latency as Latency
from dspex_runtime.testing.faults import Status as Status
from dspex_runtime.testing.openai_server import OpenAIServer as OpenAIServer
from dspex_runtime.testing.openai_server import Received as Received

if TYPE_CHECKING:
    from dspex_runtime.testing.dummy_lm import DummyLM as DummyLM

__all__ = [
    "Answer",
    "BadMarkers",
    "Chat",
    "Cut",
    "DummyLM",
    "Fault",
    "Latency",
    "NoAnswerError",
    "OpenAIServer",
    "Received",
    "Status",
]


def __getattr__(name: str) -> Any:
    if name == "DummyLM":  # imports dspy, which who only wants the server need not have
        from dspex_runtime.testing.dummy_lm import DummyLM

        return DummyLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
