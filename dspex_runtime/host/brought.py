"""How many descriptors a message of the parent brings.

They come in the order of their messages: whoever reads the pipe, and does not use them at once, takes them with the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspex_runtime.state.protocol import KEPT
from dspex_runtime.wire import messages as m

__all__ = ["descriptors", "kept_descriptors"]


def descriptors(message: list[Any]) -> int:
    """Return how many belong to a message; those of "kept_part" belong to the "kept" that follows."""
    match message:
        case [m.CHANNEL | m.PARAM, *_]:
            return 1
        case [m.CONTROL, _, "restore", *_]:
            return 1
        case [m.CONTROL, _, word, dict(info)] if word == KEPT:
            return kept_descriptors(info)
        case _:
            return 0


def kept_descriptors(info: Mapping[str, Any]) -> int:
    """Return how many `[CONTROL, 0, "kept", info]` brings, with its parts: table, blobs, volatile, user, rest."""
    return len(info.get("blobs", ())) + sum(bool(info.get(word)) for word in ("table", "volatile", "user", "rest"))
