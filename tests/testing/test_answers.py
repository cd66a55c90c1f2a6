from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from dspex_runtime.testing.answers import Answers, NoAnswerError
from dspex_runtime.testing.chat import Chat


def chat(text: str) -> Chat:
    return Chat((("system", "capital of France"), ("user", text)))


SCRIPTS = {
    "a text in the last message": ({"capital of France": "Paris", "capital": "?"}, "the capital of France!", "Paris"),
    "the first that fits": ({"capital": "?", "capital of France": "Paris"}, "the capital of France!", "?"),
    "a pattern": ({"re:capital of [A-Z]": "some"}, "the capital of X", "some"),
    "a text that looks like one": ({"capital of .": "no", "capital": "yes"}, "capital of X", "yes"),
    "a function of the chat": (lambda asked: asked.last.upper(), "x", "X"),
    "a function in a map": ({"x": lambda asked: asked.last * 2}, "x", "xx"),
    "fields": ({"x": {"answer": "y"}}, "x", "[[ ## answer ## ]]\ny\n\n[[ ## completed ## ]]"),
    "the default": ({"x": "y"}, "z", "default"),
    "the default for a function": (lambda asked: None, "z", "default"),
}


@pytest.mark.parametrize(("script", "text", "answer"), SCRIPTS.values(), ids=SCRIPTS)
def test_the_answer_is(script: Any, text: str, answer: str) -> None:
    assert Answers(script, "default")(chat(text)) == answer


def test_a_list_is_given_one_by_one_and_ends() -> None:
    answers = Answers(["a", {"answer": "b"}])
    assert [answers(chat("x")), answers(chat("x"))[:18]] == ["a", "[[ ## answer ## ]]"]
    with pytest.raises(NoAnswerError):
        answers(chat("x"))


def test_what_nothing_fits_says_what_was_asked() -> None:
    with pytest.raises(NoAnswerError, match="no answer is scripted for 'what now'"):
        Answers({})(chat("what now"))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda answers: pickle.loads(pickle.dumps(answers))], ids=["copy", "pickle"])
def test_a_script_travels(again: Any) -> None:
    answers = Answers(["a", "b"])
    answers(chat("x"))
    assert again(answers)(chat("x")) == "b"


@pytest.mark.parametrize("script", ["text", 4, None])
def test_what_is_no_script_is_refused(script: Any) -> None:
    with pytest.raises(TypeError, match="answers are a map, a list or a function"):
        Answers(script)
