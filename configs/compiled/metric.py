"""What `dspex compile` counts as right."""

from __future__ import annotations

from typing import Any


def right(example: Any, prediction: Any, trace: Any = None) -> bool:  # noqa: ARG001 - the signature that dspy calls
    """Return whether the ticket went where it belongs."""
    return bool(example.queue == prediction.queue)
