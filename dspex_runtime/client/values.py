"""The codec of a client: pickles for modules of the same user, and dspy's values without importing dspy before one arrives."""

from __future__ import annotations

import sys
from typing import Any

from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.ext import EXAMPLE, PREDICTION, as_fields


def client_codec(*, plain: bool) -> Codec:
    """Return the codec of direct pipes.

    With `plain` a Prediction arrives as a dict, nothing is imported or unpickled: what only a pickle carries stays opaque.
    """
    codec = Codec(pickle=not plain)
    if plain:
        codec.on_ext(PREDICTION, as_fields)
        codec.on_ext(EXAMPLE, as_fields)
    elif "dspy" in sys.modules:
        know_dspy(codec)
    else:
        codec.on_ext(PREDICTION, lambda payload: know_dspy(codec).decode_prediction(payload))
        codec.on_ext(EXAMPLE, lambda payload: know_dspy(codec).decode_example(payload))
    return codec


def as_sent(codec: Codec, value: Any) -> Any:
    """Return a value as it passes the runtime, which unpickles nothing: what only a pickle carries stays closed on the way.

    Raises:
        UnserialisableError: It cannot be sent at all.
    """
    return Codec().unpack(codec.pack([value]))[0]


def as_received(codec: Codec, value: Any) -> Any:
    """Return what has passed the runtime as it was before `as_sent`."""
    return codec.unpack(Codec().pack([value]))[0]


def know_dspy(codec: Codec) -> Any:
    """Give the codec dspy's own encoders and decoders; returns where they are. Imports dspy."""
    from dspex_runtime.modules import values

    values.register(codec)
    return values
