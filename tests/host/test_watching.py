"""`dx.subscribe` and `dx.unsubscribe`: what is asked of the runtime, and what is removed with `flush`."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.changes import News
from dspex_runtime.errors import ConfigError
from dspex_runtime.host import watching
from dspex_runtime.host.context import Process
from dspex_runtime.types import Change


class Asked:
    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.unwanted: list[Any] = []
        self.unwatched: list[Any] = []

    def ask(self, op: str, args: dict[str, Any]) -> Any:
        self.asked.append((op, args))
        return op == "param_unsubscribe"

    def drop(self, unwanted: Any) -> None:
        self.unwanted.append(unwanted)

    drop_messages = drop

    def unsubscribed(self, unwatched: Any) -> None:
        self.unwatched.append(unwatched)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Asked:
    runtime = Asked()
    monkeypatch.setattr(watching, "ask", runtime.ask)
    monkeypatch.setattr(Process, "changes", runtime)
    monkeypatch.setattr(Process, "loop", runtime)
    return runtime


def test_the_pattern_is_asked_for_as_it_was_written(runtime: Asked) -> None:
    watching.subscribe("qa.temperature")
    assert watching.unsubscribe("qa.temperature") is True
    assert runtime.asked == [
        ("param_subscribe", {"pattern": "qa.temperature"}),
        ("param_unsubscribe", {"pattern": "qa.temperature"}),
    ]
    assert runtime.unwanted == []
    (unwatched,) = runtime.unwatched
    assert unwatched("qa", "temperature")
    assert not unwatched("qa", "style")


def test_flush_removes_what_fits_and_was_not_handled(runtime: Asked) -> None:
    watching.unsubscribe("qa.*", flush=True)
    waiting, in_mailbox = runtime.unwanted
    assert [waiting(News(id, "k", 1, 0.0, "me")) for id in ("qa", "qb")] == [True, False]
    assert [in_mailbox(Change(id, "k", 1, 0, 0.0, "me")) for id in ("qa", "qb")] == [True, False]
    assert not in_mailbox("another message")


def test_flush_before_anything_came_removes_nothing(runtime: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "changes", None)
    monkeypatch.setattr(Process, "loop", None)
    assert watching.unsubscribe("qa.*", flush=True) is True


@pytest.mark.parametrize("wrong", ["", None, 5])
def test_what_is_no_pattern_is_refused_here(runtime: Asked, wrong: Any) -> None:
    for function in (watching.subscribe, watching.unsubscribe):
        with pytest.raises(ConfigError, match=r"subscribe takes 'ID\.NAME'"):
            function(wrong)
    assert runtime.asked == []
