"""How urgent a report is. A plain dspy.Module."""

from __future__ import annotations

from typing import Final

import dspy

URGENT: Final = frozenset({"production", "data", "loss", "lost", "security", "leak", "everybody", "customers", "payment", "urgent"})
MINOR: Final = frozenset({"typo", "colour", "color", "label", "alignment", "cosmetic", "wording", "icon"})


class Rater(dspy.Module):  # type: ignore[misc]  # dspy is not typed
    """Rates by the words of a report."""

    def forward(self, error: str, words: list[str]) -> dspy.Prediction:
        """Return `urgency`: "high", "normal" or "low", and the words it is for as `because`."""
        urgent = [word for word in words if word in URGENT]
        minor = [word for word in words if word in MINOR]
        if urgent:
            return dspy.Prediction(urgency="high", because=urgent)
        return dspy.Prediction(urgency="low" if minor and not error else "normal", because=minor)
