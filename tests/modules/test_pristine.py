"""The signature that a state is loaded onto."""

from __future__ import annotations

import dspy

from dspex_runtime.modules.pristine import pristine


def test_it_is_the_first_one_seen() -> None:
    predictor = dspy.Predict("question -> answer")
    first = predictor.signature
    assert pristine(predictor) is first
    predictor.signature = first.with_instructions("Other.")
    assert pristine(predictor) is first


def test_a_copy_has_the_same() -> None:
    predictor = dspy.Predict("question -> answer")
    first = pristine(predictor)
    predictor.signature = first.with_instructions("Other.")
    assert pristine(predictor.deepcopy()) is first


def test_other_fields_are_another_signature() -> None:
    predictor = dspy.Predict("question -> answer")
    pristine(predictor)
    predictor.signature = predictor.signature.append("hint", dspy.InputField())
    assert pristine(predictor) is predictor.signature


def test_other_types_are_another_signature() -> None:
    predictor = dspy.Predict("question -> answer")
    pristine(predictor)
    predictor.signature = predictor.signature.with_updated_fields("answer", type_=int)
    assert pristine(predictor) is predictor.signature
