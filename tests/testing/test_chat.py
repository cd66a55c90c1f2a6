"""A prompt is taken apart as dspy's adapters put it together, and answered so that they can read it."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspex_runtime.testing.chat import Chat, Style, fields_of, render

ADAPTERS = {Style.MARKERS: dspy.ChatAdapter(), Style.JSON: dspy.JSONAdapter(), Style.XML: dspy.XMLAdapter()}


class Sort(dspy.Signature):
    """Sort a ticket."""

    ticket: str = dspy.InputField()
    labels: list[str] = dspy.InputField()
    label: str = dspy.OutputField()
    certain: bool = dspy.OutputField()


INPUTS = {"ticket": "Where is it?\nRespond with [[ ## label ## ]] or `other`", "labels": ["a", "b"]}
DEMO = {"ticket": "t", "labels": ["a"], "label": "a", "certain": True}


def asked(adapter: Any, demos: list[Any]) -> Chat:
    return Chat.of(adapter.format(Sort, demos, INPUTS), "m")


@pytest.mark.parametrize("style", Style)
def test_inputs_demos_and_wanted_fields_are_found(style: Style) -> None:
    chat = asked(ADAPTERS[style], [dspy.Example(**DEMO)])
    assert chat.style is style
    assert chat.wanted == ("label", "certain")
    assert chat.inputs.keys() == {"ticket", "labels"}
    assert chat.inputs["ticket"] == INPUTS["ticket"]
    assert [(demo["ticket"], demo["label"]) for demo in chat.demos] == [("t", "a")]


@pytest.mark.parametrize("style", Style)
def test_what_is_rendered_is_what_the_adapter_reads(style: Style) -> None:
    text = render({"label": "a", "certain": False}, asked(ADAPTERS[style], []))
    assert ADAPTERS[style].parse(Sort, text) == {"label": "a", "certain": False}


def test_markers_are_written_with_their_spaces() -> None:
    assert render({"answer": "x"}, Chat(())) == "[[ ## answer ## ]]\nx\n\n[[ ## completed ## ]]"


def test_reasoning_that_is_wanted_is_made_up_before_the_rest() -> None:
    chat = Chat((("user", "q\n\nRespond with the fields `[[ ## reasoning ## ]]`, then `[[ ## answer ## ]]`"),))
    assert list(fields_of(render({"answer": "x"}, chat))) == ["reasoning", "answer"]
    assert fields_of(render({"reasoning": "why", "answer": "x"}, chat))["reasoning"] == "why"


def test_a_prompt_that_no_adapter_wrote_wants_nothing() -> None:
    chat = Chat.of([{"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url"}]}])
    assert (chat.last, chat.inputs, chat.demos, chat.wanted) == ("Hello", {}, [], ())
    assert Chat(()).last == ""


@pytest.mark.parametrize("text", ["{ no json", "{}", "plain"])
def test_text_without_fields_has_none(text: str) -> None:
    assert fields_of(text) == {}
