"""What may be shown of a server: through its format_status, never more; readable and of bounded size."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest

from dspex_runtime.host.status import MAX_TEXT_CHARS, formatted, readable, text_of

SECRET = {"state": {"key": "s3cret"}, "message": "m", "reason": "normal", "log": []}


def server(result: Any) -> Any:
    class Redacting:
        def format_status(self, status: dict[str, Any]) -> Any:
            if isinstance(result, BaseException):
                raise result
            return result(status) if callable(result) else result

    return Redacting()


def test_format_status_is_what_is_shown() -> None:
    shown = formatted(server(lambda status: {**status, "state": "hidden"}), SECRET)
    assert shown == {**SECRET, "state": "hidden"}


def test_format_status_may_leave_things_out() -> None:
    assert formatted(server({"reason": "normal"}), SECRET) == {"reason": "normal"}


@pytest.mark.parametrize(
    ("result", "note"),
    [
        (KeyError("s3cret"), "format_status raised KeyError"),
        (None, "returned a NoneType, expected a dict"),
        ("s3cret", "returned a str, expected a dict"),
        (5, "returned an int, expected a dict"),
        (SystemExit("s3cret"), "format_status raised SystemExit"),
        ({"state": 1, "sate": "s3cret"}, "returned a dict with an unknown key: 'sate'; known are log, message, reason, state"),
        ({"sate": "s3cret", 5: 1}, "returned a dict with unknown keys: 'sate', 5; known"),
    ],
)
def test_a_format_status_that_fails_is_said_and_leaks_nothing(result: Any, note: str) -> None:
    shown = formatted(server(result), SECRET)
    assert shown.keys() == {"format_status"}
    assert note in shown["format_status"]
    assert "s3cret" not in str(shown)


def test_format_status_cannot_change_what_is_not_its_own() -> None:
    facts = dict(SECRET)
    formatted(server(lambda status: status.clear() or {}), facts)
    assert facts == SECRET


@pytest.mark.parametrize("value", [None, 3, "text", b"x", [1, (2, {3})], {"a": {"b": 1.5}}])
def test_small_plain_values_are_shown_as_they_are(value: Any) -> None:
    assert readable(value) == value


@dataclass
class Point:
    x: int


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize("value", [Point(1), threading.Lock(), ["x" * 10_000], looped()], ids=["object", "lock", "large", "loop"])
def test_anything_else_is_shown_as_bounded_text(value: Any) -> None:
    shown = readable(value)
    assert type(shown) is str
    assert len(shown) < MAX_TEXT_CHARS + 50


def test_a_repr_that_raises_is_said() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise OSError("s3cret")

    assert text_of(Rude()) == "<Rude: its __repr__ raised OSError>"
