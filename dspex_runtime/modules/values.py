"""How dspy's values cross the pipe: their fields, completions and usage as plain data, 45 bytes instead of a 4 kB pickle.

The signature stays behind (it is the caller's own, and costs 2 ms to pickle). Subclasses are not taken here: they travel whole.
"""

from __future__ import annotations

from typing import Any

import dspy

from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.ext import EXAMPLE, PREDICTION


def register(codec: Codec) -> None:
    """Teach a codec Prediction and Example."""
    codec.register(dspy.Prediction, PREDICTION, encode_prediction, decode_prediction)
    codec.register(dspy.Example, EXAMPLE, encode_example, decode_example)


def encode_prediction(prediction: dspy.Prediction) -> dict[str, Any]:
    """Return a prediction as its payload."""
    completions = prediction.completions
    return {
        "fields": prediction._store,
        "completions": dict(completions.items()) if completions is not None else None,
        "usage": prediction.get_lm_usage(),
    }


def decode_prediction(payload: dict[str, Any]) -> dspy.Prediction:
    """Return the prediction of a payload, without a signature."""
    if payload["completions"] is not None:
        prediction = dspy.Prediction.from_completions(payload["completions"])
        prediction._store = payload["fields"]  # a module may have changed a field after the first completion was taken
    else:
        prediction = dspy.Prediction(**payload["fields"])
    prediction.set_lm_usage(payload["usage"])
    return prediction


def encode_example(example: dspy.Example) -> dict[str, Any]:
    """Return an example as its payload."""
    inputs = example._input_keys
    return {"fields": example._store, "inputs": sorted(inputs) if inputs is not None else None}


def decode_example(payload: dict[str, Any]) -> dspy.Example:
    """Return the example of a payload."""
    example = dspy.Example(**payload["fields"])
    return example if payload["inputs"] is None else example.with_inputs(*payload["inputs"])
