"""What bench/compile.py compiles the program with: an LM that takes its time, a metric, an optimizer that only computes."""

from __future__ import annotations

import time
from typing import Any

from dspy.teleprompt.teleprompt import Teleprompter
from dspy.utils import DummyLM


class SlowLM(DummyLM):  # type: ignore[misc]
    """Answers each question alike, after 20 ms."""

    def __init__(self) -> None:
        super().__init__([], follow_examples=True)

    def _use_example(self, messages: list[dict[str, Any]]) -> str:
        time.sleep(0.02)
        return "[[ ## reasoning ## ]]\nthought\n\n[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"


class Busy(Teleprompter):  # type: ignore[misc]
    """An optimizer that computes for a second."""

    def compile(self, student: Any, *, trainset: list[Any]) -> Any:
        """Change nothing."""
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            sum(range(1000))
        return student


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Compare answers."""
    return bool(example.answer == prediction.answer)
