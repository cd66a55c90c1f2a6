"""The bodies of OpenAI's chat completions: whole, as server-sent events, as errors. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["completion", "error", "events", "usage", "words"]


def completion(texts: Sequence[str], prompt: str, model: str, number: int) -> dict[str, Any]:
    """Return the body of an answer with one choice per text."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return {**_head(model, number, "chat.completion"), "choices": choices, "usage": usage(prompt, texts)}


def events(text: str, prompt: str, model: str, number: int, *, with_usage: bool) -> Iterator[bytes]:
    """Yield the server-sent events of an answer, a word each."""
    head = _head(model, number, "chat.completion.chunk")

    def chunk(delta: Mapping[str, str], finish: str | None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""}, None)
    for word in words(text):
        yield chunk({"content": word}, None)
    yield chunk({}, "stop")
    if with_usage:
        yield _event({**head, "choices": [], "usage": usage(prompt, [text])})
    yield b"data: [DONE]\n\n"


def error(message: str, kind: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def usage(prompt: str, texts: Sequence[str]) -> dict[str, int]:
    """Return the tokens of a call; a token is a word here."""
    asked, answered = len(prompt.split()), sum(len(text.split()) for text in texts)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def words(text: str) -> list[str]:
    """Return the text in pieces as a model streams it: words with the space before them."""
    return re.findall(r"\s*\S+|\s+$", text)


def _head(model: str, number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1_700_000_000 + number, "model": model}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
