"""Programs that ask a language model, for the tests of `lm:`, `dspy:` and credentials."""

from __future__ import annotations

import os
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

CALLS: list[str] = []


class Counting(BaseCallback):
    """Remembers which LM was asked."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        CALLS.append(f"{self.name}:{instance.model}")


class KeyLM(dspy.LM):
    """An LM of a user's own, with a key among its arguments."""

    def __init__(self, api_key: str, api_base: str) -> None:
        super().__init__("openai/own", api_key=api_key, api_base=api_base, cache=False, num_retries=0)


class QA(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=question)

    def about(self) -> dict[str, Any]:
        names = ("num_threads", "max_errors", "track_usage", "max_history_size")
        return {
            **{name: dspy.settings[name] for name in names},
            "adapter": type(dspy.settings.adapter).__name__,
            "callbacks": [type(callback).__name__ for callback in dspy.settings.callbacks],
            "lm": dspy.settings.lm and dspy.settings.lm.model,
            "price_list": os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP"),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "calls": list(CALLS),
        }


class Holder(QA):
    """Keeps the key where programs do: in its predictor's LM, in plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        key = os.environ["SOME_TOKEN"]
        self.answer.lm = dspy.LM("openai/held", api_base=os.environ["SOME_BASE"], api_key=key, cache=False, num_retries=0)
        self.options = {"api_key": key, "k": 3}
        self.token = key
