"""Version 2 of the answerer: a question that no passage answers is taken apart, and its parts are looked up.

To try it: `dspex swap qa --to configs/quickstart/answering_v2.py:Answerer --verify configs/quickstart/verifying.py:cites`, then
`dspex call qa question="How do I compress a file with gzip and send it by e-mail?"`, and back: `dspex rollback qa`.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

import dspy

import dspex_runtime as dx
from quickstart import answering

_BETWEEN: Final = re.compile(r"\?\s+|;\s+|,?\s+and\s+")
MIN_WORDS: Final = 3  # "stdin and stdout" are not two questions


class Answerer(answering.Answerer):
    """As version 1, whose predictor it takes over under its name, with what that has learnt."""

    __version__ = "2"

    def forward(self, question: str) -> dspy.Prediction:
        """Answer, and tell the counter, whose second version has a table of it, what was cited."""
        result = super().forward(question)
        with contextlib.suppress(dx.DspexError):
            answering.runtime().server("counter").cast(("cited", list(result.citations)))
        return result

    def looked_up(self, question: str) -> dspy.Prediction:
        """Answer the whole question, or else as many of its parts as passages do answer."""
        whole = super().looked_up(question)
        parts = parts_of(question)
        if whole.citations or len(parts) < 2:
            return whole
        found = [part for part in map(super().looked_up, parts) if part.citations]
        if not found:
            return whole
        return dspy.Prediction(
            answer=" ".join(part.answer for part in found),
            citations=list(dict.fromkeys(name for part in found for name in part.citations)),
            passages=list(dict.fromkeys(name for part in found for name in part.passages)),
        )


def parts_of(question: str) -> list[str]:
    """Return the questions that a question consists of; one that has a part of a word or two is one."""
    parts = [part.strip() for part in _BETWEEN.split(question.strip().rstrip("?"))]
    return parts if all(len(part.split()) >= MIN_WORDS for part in parts) else [question]
