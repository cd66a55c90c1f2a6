"""Reads what a bug report says. A plain dspy.Module: that there are several of it is said in the YAML only."""

from __future__ import annotations

import re
from typing import Final

import dspy

_ERROR: Final = re.compile(r"\b([A-Z]\w*(?:Error|Exception|Warning))\b(?::\s*([^\n]+))?")
_PLACE: Final = re.compile(r'File "([^"]+)", line (\d+)(?:, in (\w+))?')
_WORD: Final = re.compile(r"[A-Za-z0-9]{2,}")


class Reader(dspy.Module):  # type: ignore[misc]  # dspy is not typed
    """Finds the error, the place and the words of a report."""

    def forward(self, report: str) -> dspy.Prediction:
        """Return `error` ("" for none), `place` of the last frame of a traceback ("" for none), and `words`."""
        error, place = _ERROR.search(report), _last(_PLACE, report)
        return dspy.Prediction(
            error=" ".join(filter(None, error.groups())) if error else "",
            place=f"{place[1]}:{place[2]}" if place else "",
            words=words(report),
        )


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, each once."""
    return list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007
        pass
    return found
