"""dspy's values cross the pipe as their fields."""

from __future__ import annotations

import dspy
import pytest

from dspex_runtime.modules.values import register
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.ext import EXAMPLE, PREDICTION


@pytest.fixture
def codec() -> Codec:
    codec = Codec(pickle=True)
    register(codec)
    return codec


def through(codec: Codec, value: object) -> object:
    return codec.unpack(codec.pack([value]))[0]


def test_a_prediction_keeps_fields_completions_and_usage(codec: Codec) -> None:
    prediction = dspy.Prediction.from_completions([{"a": 1}, {"a": 2}], signature=dspy.Signature("q -> a"))
    prediction.a = 7
    prediction.set_lm_usage({"lm": {"total_tokens": 3}})
    copy = through(codec, prediction)
    assert type(copy) is dspy.Prediction
    assert copy.a == 7
    assert copy.completions.a == [1, 2]
    assert copy.get_lm_usage() == {"lm": {"total_tokens": 3}}


def test_a_plain_prediction_has_no_completions_and_is_small(codec: Codec) -> None:
    prediction = dspy.Prediction(answer="yes", passages=["a", "b"])
    assert through(codec, prediction) == prediction
    assert through(codec, prediction).completions is None
    assert len(codec.pack([prediction])) < 80


@pytest.mark.parametrize("inputs", [None, ("q",), ()])
def test_an_example_keeps_which_fields_are_inputs(codec: Codec, inputs: tuple[str, ...] | None) -> None:
    example = dspy.Example(q=1, a=2)
    if inputs is not None:
        example = example.with_inputs(*inputs)
    copy = through(codec, example)
    assert type(copy) is dspy.Example
    assert copy.toDict() == {"q": 1, "a": 2}
    assert copy._input_keys == example._input_keys


def test_a_subclass_travels_whole(codec: Codec) -> None:
    class Scored(dspy.Prediction):
        pass

    assert type(through(codec, Scored(score=1.0))) is Scored


def test_without_dspy_the_fields_arrive_as_a_dict(codec: Codec) -> None:
    plain = Codec(pickle=True)
    assert plain.unpack(codec.pack([dspy.Prediction(a=1), dspy.Example(b=2)])) == [{"a": 1}, {"b": 2}]
    assert (PREDICTION, EXAMPLE) == (13, 14)
