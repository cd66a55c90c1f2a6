"""A divergence as text: the scenario, the first difference in its place, and both logs from there on."""

from __future__ import annotations

import json
from typing import Any, Final

CONTEXT: Final = 25  # lines that both agree on, before the first difference
AFTER: Final = 15


def describe(scenario: dict[str, Any], theirs: list[str], ours: list[str], *, names: tuple[str, str] = ("OTP", "the core")) -> str:
    """Return what a person needs to see who is right."""
    first = first_difference(theirs, ours)
    return "\n".join(
        [
            f"scenario: {json.dumps(scenario)}",
            f"line {first + 1}; before it both say:",
            *(f"    {line}" for line in theirs[max(0, first - CONTEXT) : first]),
            f"{names[0]} goes on:",
            *(f"  - {line}" for line in theirs[first : first + AFTER]),
            f"{names[1]} goes on:",
            *(f"  + {line}" for line in ours[first : first + AFTER]),
        ]
    )


def first_difference(theirs: list[str], ours: list[str]) -> int:
    """Return the index of the first line that differs."""
    for index, (left, right) in enumerate(zip(theirs, ours, strict=False)):
        if left != right:
            return index
    return min(len(theirs), len(ours))
