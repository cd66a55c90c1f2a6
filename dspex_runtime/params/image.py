"""A checkpoint as bytes: one map of plain values that the module, the keeper and the CLI all read. Owns its form.

    {"format": 1, "id", "kind", "when", "version", "incarnation",
     "parameters": {name: ...}      what `Owner.image` gives and `Owner.restore` takes
     "facts": {...}, "metrics": {...},
     "rest": {...}                  what the module's state holds beside its parameters, and is plain
     "user": bytes | None,          of the user's own get_state(): only its module can read it
     "server": bytes | None,        of an image for a swap: a GenServer's state as it is, where "user" is not just that
     "down": bytes | None}          of one for an earlier version: what the module's own code_change made of its state

Never reads a file and never decides what is restored. Whether the bytes are whole is the store's to say (it keeps their sum);
here only that they are an image is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from dspex_runtime.errors import CheckpointError, ProtocolError
from dspex_runtime.wire.codec import Codec

__all__ = ["FORMAT", "Image", "decode", "encode"]

FORMAT: Final = 1

_plain = Codec()  # no value in an image needs more: parameters are bytes in it


@dataclass(frozen=True, slots=True)
class Image:
    """One module at one moment.

    Attributes:
        id: Full id of the module.
        kind: Why it was made, see `types.CheckpointInfo.kind`.
        when: Seconds since the epoch.
        version: Of the module, or None.
        incarnation: Of the process that made it.
        parameters: Of its owner.
        facts: Mode and others that the table keeps beside the parameters.
        metrics: Calls, failures and so on, as `host.metrics` sums them up.
        rest: What belongs to the module and is no parameter, plain data.
        user: What the user's `get_state()` returned, packed; None: it has none.
        server: The state of a GenServer as it is, packed, for the process that takes its place. None: it is `user`, or nobody
            asked; b"": it cannot be sent.
        down: What the module's own `code_change(("down", version), state, extra)` returned, packed. None: this is no way down;
            b"": its class has no code_change.
    """

    id: str
    kind: str
    when: float
    version: str | None
    incarnation: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)
    user: bytes | None = None
    server: bytes | None = None
    down: bytes | None = None


def encode(image: Image) -> bytes:
    """Return an image as bytes."""
    return _plain.pack([{"format": FORMAT, **{each.name: getattr(image, each.name) for each in fields(image)}}])


def decode(data: bytes | memoryview) -> Image:
    """Return the image in these bytes.

    Raises:
        CheckpointError: They are none, or one of a newer format.
    """
    try:
        (found,) = _plain.unpack(data)
        number = found["format"]
    except (ProtocolError, ValueError, TypeError, KeyError) as exc:
        raise CheckpointError(f"{len(data)} bytes are no checkpoint: {exc}") from exc
    if number != FORMAT:
        raise CheckpointError(f"the checkpoint has format {number!r:.20}; this version reads format {FORMAT}")
    try:
        return Image(**{key: value for key, value in found.items() if key != "format"})
    except TypeError as exc:
        raise CheckpointError(f"the checkpoint is incomplete: it has {', '.join(sorted(map(str, found)))}") from exc
