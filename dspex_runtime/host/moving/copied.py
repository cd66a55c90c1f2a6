"""A value of the user's that is given more than once, each time as it was at first: one cannot know what is done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex_runtime.wire.codec import Codec

__all__ = ["Copied"]


class Copied:
    """See the module docstring. What cannot be copied, a state with a connection in it, say, is the same object each time."""

    def __init__(self, value: Any, codec: Codec) -> None:
        self._codec = codec
        self._value = value
        try:
            self._packed: bytes | None = codec.pack([value])
        except Exception:  # whatever a __reduce__ of the user's raises
            self._packed = None

    def one(self) -> Any:
        """Return a copy that nobody else has; of what cannot be copied, itself."""
        if self._packed is None:
            return self._value
        try:
            return self._codec.unpack(self._packed)[0]
        except Exception:  # it could be sent, and cannot be rebuilt
            return self._value
