"""What a version of the answerer has to pass before it serves: `dspex swap qa --verify configs/quickstart/verifying.py:cites`."""

from __future__ import annotations

from typing import Any, Final

KNOWN: Final = {
    "How do I group consecutive equal items of an iterable?": "itertools",
    "How do I run a command and capture its output?": "subprocess",
}


def cites(answerer: Any) -> bool:
    """Return whether it cites what is known to be right. Runs in the new version's process, with its state, before any caller.

    Raises:
        ValueError: It does not: names question and citations.
    """
    for question, module in KNOWN.items():
        cited = answerer.looked_up(question).citations
        if not any(name.startswith(module) for name in cited):
            raise ValueError(f"{question!r} is answered by {module}; cited was {', '.join(cited) or 'nothing'}")
    return True
