"""Which names a declared member may have."""

from __future__ import annotations

import dspy
import pytest

from dspex_runtime.modules.reserved import Declared, accessor_names, refusal


@pytest.mark.parametrize("name", ["temperature", "k", "style", "_private", "prompt", "learning_rate", "threshold"])
def test_an_ordinary_name_is_free(name: str) -> None:
    assert refusal(name, (), Declared.PARAMETER) is None


@pytest.mark.parametrize("name", sorted(name for name in dir(dspy.Module) if not name.startswith("_")))
def test_every_public_name_of_dspy_is_taken(name: str) -> None:
    assert refusal(name, (), Declared.PARAMETER) == f"{name!r} is a name of dspy.Module"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lm", "'lm' is a name of dspy.Module"),
        ("metadata", "'metadata' is a name of dspy.Module"),
        ("_compiled", "'_compiled' is a name of dspy.Module"),
        ("setup", "'setup' has a meaning of its own"),
        ("state", "'state' has a meaning of its own"),
        ("dx", "'dx' has a meaning of its own"),
        ("__slots__", "'__slots__' has a meaning of its own"),
    ],
)
def test_what_is_taken_says_by_whom(name: str, why: str) -> None:
    assert (refusal(name, (), Declared.PARAMETER) or "").startswith(why)


def test_an_accessor_that_would_be_another_parameter_is_taken() -> None:
    assert refusal("x", {"x", "y"}, Declared.PARAMETER) is None
    assert refusal("x", {"x", "set_x"}, Declared.PARAMETER) == "its accessor 'set_x' is declared too"


def test_the_accessors_are_those_of_the_original_design() -> None:
    assert accessor_names("k", Declared.PARAMETER) == ("get_k", "set_k", "k_type", "k_opts")
    assert accessor_names("k", Declared.PREDICTOR) == ("predict_k", "k_signature", "k_opts")
    assert accessor_names("k", Declared.SUB_MODULE) == ("get_k", "k_type", "k_opts")


def test_a_name_is_judged_by_the_accessors_it_would_get() -> None:
    assert refusal("lm_", {"lm_"}, Declared.PREDICTOR) is None
    assert refusal("x", {"x", "set_x"}, Declared.PREDICTOR) is None
    assert refusal("x", {"x", "predict_x"}, Declared.PREDICTOR) == "its accessor 'predict_x' is declared too"
