"""Attributes cross as plain data, and a signature comes back as the class it was."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspex_runtime.modules.mirror import values as mirror_values
from dspex_runtime.modules.mirror.values import pack, unpack
from dspex_runtime.wire.codec import Codec


def through(name: str, value: Any) -> Any:
    codec = Codec()
    return unpack(codec.unpack(codec.pack([pack(name, value)]))[0])


@pytest.mark.parametrize("value", [None, True, 3, 1.5, "text", [], {"temperature": 0.5}, [{"question": "q"}], (1, 2)])
def test_a_value_is_equal_on_the_other_side(value: Any) -> None:
    assert through("config", value) == value


def test_an_example_keeps_its_inputs() -> None:
    (demo,) = through("demos", [dspy.Example(question="q", answer="a").with_inputs("question")])
    assert demo.inputs().keys() == ["question"]


def test_a_signature_is_the_very_same_class() -> None:
    signature = dspy.Signature("question -> answer", "Be brief.")
    assert through("signature", signature) is signature


def test_one_that_was_edited_in_place_is_a_class_of_its_own() -> None:
    signature = dspy.Signature("question -> answer")
    before = pack("signature", signature)
    signature.instructions = "Be brief."
    after = pack("signature", signature)
    assert after[1] != before[1]
    found = unpack(after)
    assert (found.instructions, list(found.fields)) == ("Be brief.", ["question", "answer"])
    assert pack("signature", signature) == after


def test_a_pickle_of_a_known_signature_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    signature = dspy.Signature("question -> answer")
    node = pack("signature", signature)
    monkeypatch.setattr(mirror_values.pickle, "loads", lambda _: pytest.fail("opened"))
    assert unpack(node) is signature


def test_nonsense_is_no_value() -> None:
    with pytest.raises(ValueError, match="no attribute"):
        unpack(["?", 1])
