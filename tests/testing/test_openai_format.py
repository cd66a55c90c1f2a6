from __future__ import annotations

import json

import pytest

from dspex_runtime.testing.openai_format import completion, error, events, usage


def test_an_answer_has_one_choice_per_text_and_its_usage() -> None:
    body = completion(["a b", "c"], "one two three", "m", 7)
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a b", "c"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert (body["model"], body["id"], body["object"]) == ("m", "chatcmpl-7", "chat.completion")


@pytest.mark.parametrize("text", ["[[ ## answer ## ]]\na  b\n", " x", "", "\n"])
@pytest.mark.parametrize("with_usage", [True, False])
def test_the_events_of_a_stream_add_up_to_the_text(text: str, with_usage: bool) -> None:
    *chunks, last = events(text, "p", "m", 1, with_usage=with_usage)
    assert last == b"data: [DONE]\n\n"
    bodies = [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks]
    deltas = [choice["delta"] for body in bodies for choice in body["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == text
    assert [body["usage"] for body in bodies if "usage" in body] == [usage("p", [text])] * with_usage


def test_an_error_is_openais() -> None:
    assert error("slow down", "rate_limit_error")["error"]["message"] == "slow down"
