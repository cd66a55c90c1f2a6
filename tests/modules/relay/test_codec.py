"""What is told about a call never fails it: what cannot cross arrives as a note, all else as it was."""

from __future__ import annotations

import threading
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.modules.relay import codec as relay_codec
from dspex_runtime.modules.relay.codec import NotSent


class Unopened:
    """Pickles, and cannot be unpickled."""

    def __reduce__(self) -> Any:
        return (int, ("no number",))


@pytest.mark.parametrize("value", [None, 1, "a", (1, [2]), {"a": {1, 2}}, b"x"], ids=repr)
def test_plain_data_is_as_it_was(value: Any) -> None:
    assert relay_codec.unpack(relay_codec.pack(value)) == value


def test_predictions_keep_their_completions() -> None:
    prediction = dspy.Prediction.from_completions([{"answer": "a"}, {"answer": "b"}])
    found = relay_codec.unpack(relay_codec.pack([prediction]))[0]
    assert (found.answer, found.completions.answer) == ("a", ["a", "b"])


def test_what_cannot_be_sent_says_what_it_was_and_harms_nothing_else() -> None:
    found = relay_codec.unpack(relay_codec.pack({"lock": threading.Lock(), "text": "a", "inner": [threading.Lock()]}))
    assert found["text"] == "a"
    assert isinstance(found["lock"], NotSent)
    assert "_thread.lock" in repr(found["lock"])
    assert isinstance(found["inner"][0], NotSent)


def test_what_cannot_be_rebuilt_is_a_note_too() -> None:
    found = relay_codec.unpack(relay_codec.pack([Unopened(), 1]))
    assert found[1] == 1
    assert "ValueError" in repr(found[0])


def test_what_is_nested_too_deep_is_a_note() -> None:
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    assert isinstance(relay_codec.unpack(relay_codec.pack(deep)), NotSent)


def test_an_lm_goes_without_its_calls() -> None:
    lm = DummyLM([{"answer": "a"}])
    lm.history.append({"prompt": "x" * 10000})
    packed = relay_codec.pack({"lm": lm})
    assert len(packed) < 5000
    assert relay_codec.unpack(packed)["lm"].history == []


def test_a_note_can_be_sent_on() -> None:
    note = relay_codec.unpack(relay_codec.pack(threading.Lock()))
    assert repr(relay_codec.unpack(relay_codec.pack(note))) == repr(note)
