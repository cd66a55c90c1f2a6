"""Known problems. The catalogue reads like one DSPy program; its index, `self.index`, is a process of its own."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import dspy

import dspex_runtime as dx
from composite import reading


class Index(dx.Module):
    """Says which problems fit some words best. May crash alone: the catalogue stays, and its calls wait for the next index."""

    k = dx.Parameter(int, default=3, min=1, max=10)

    def __init__(self, path: str = "problems.jsonl") -> None:
        super().__init__()
        text = (Path(__file__).parent / path).read_text(encoding="utf-8")
        self._problems: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        self._bags = [set(reading.words(f"{problem['title']} {problem['symptoms']}")) for problem in self._problems]
        seen = Counter(word for bag in self._bags for word in bag)
        self._weight = {word: math.log(1 + len(self._bags) / count) for word, count in seen.items()}
        self._unknown = math.log(1 + len(self._bags)) / 4  # a word that no problem has counts against all of them, a little

    def forward(self, words: list[str]) -> dspy.Prediction:
        """Return the k best `problems`, best first, each with title, fix and score (0 to 1)."""
        total = sum(self._weight.get(word, self._unknown) for word in words) or 1.0
        scores = [sum(self._weight[word] for word in bag.intersection(words)) / total for bag in self._bags]
        best = sorted(range(len(scores)), key=lambda place: -scores[place])[: self.k]
        return dspy.Prediction(
            problems=[
                {"title": self._problems[place]["title"], "fix": self._problems[place]["fix"], "score": round(scores[place], 3)}
                for place in best
            ]
        )


class Catalogue(dx.Module):
    """Known problems that fit a report well enough."""

    threshold = dx.Parameter(float, default=0.4, min=0.0, max=1.0)
    index = dx.sub_module(Index)

    def forward(self, error: str, words: list[str]) -> dspy.Prediction:
        """Return `problems`; those that name the error are asked for first."""
        asked = list(dict.fromkeys([*reading.words(error), *words]))
        found = self.index(words=asked).problems
        return dspy.Prediction(problems=[problem for problem in found if problem["score"] >= self.threshold])
