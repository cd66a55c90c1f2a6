"""Bytes for what is told about a call: never an error, whatever is in a trace, a history or a callback's inputs.

What cannot be sent, or cannot be rebuilt at the other side, arrives as a `NotSent` that says what it was; the rest is unharmed. The
value of the call itself does not go this way: of that the caller wants the truth or an error.
"""

from __future__ import annotations

from typing import Any, Final

from dspex_runtime.modules import values
from dspex_runtime.modules.relay import pickles as relay_pickles
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.ext import CLOUDPICKLE

_MAX_TEXT: Final = 500


class NotSent:
    """Stands for a value that could not cross; its repr says which, and why."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<{self.text}>"

    def __reduce__(self) -> Any:
        return (NotSent, (self.text,))


class _Lenient(Codec):
    def __init__(self) -> None:
        super().__init__(pickle=True)
        values.register(self)
        self.on_ext(CLOUDPICKLE, _unpickled)

    def _payload(self, value: Any) -> tuple[int, Any]:
        try:
            code, payload = super()._payload(value) if not relay_pickles.has_calls(value) else (CLOUDPICKLE, None)
            return (code, payload) if payload is not None else (CLOUDPICKLE, relay_pickles.dumps(value))
        except Exception as exc:
            return CLOUDPICKLE, relay_pickles.dumps(not_sent(value, exc))


def _unpickled(data: bytes) -> Any:
    try:
        return relay_pickles.loads(data)
    except Exception as exc:
        return NotSent(f"a value that could not be rebuilt here: {type(exc).__name__}: {exc}"[:_MAX_TEXT])


def not_sent(value: Any, exc: Exception) -> NotSent:
    """Return what stands for a value."""
    kind = type(value)
    return NotSent(f"{kind.__module__}.{kind.__qualname__} that could not be sent: {type(exc).__name__}: {exc}"[:_MAX_TEXT])


def too_large(value: Any) -> NotSent:
    """Return what stands for a value that is too large to be told of."""
    return NotSent(f"{type(value).__qualname__} of {size(value)} bytes that was too large to be sent with its call")


_codec: Final = _Lenient()


def pack(value: Any) -> bytes:
    """Return a value as bytes."""
    try:
        return _codec.pack([value])
    except Exception as exc:  # nested too deep; or memory, which the next line may still have
        return _codec.pack([not_sent(value, exc)])


def size(value: Any) -> int:
    """Return how many bytes a value is."""
    return len(pack(value))


def unpack(data: bytes) -> Any:
    """Return the value of bytes."""
    return _codec.unpack(data)[0]
