"""The dspy half of a rehearsal: what it touches it gives back."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY

from dspex_runtime.host import context
from dspex_runtime.modules import rehearsal
from dspex_runtime.modules.dspy_settings import module as settings_module
from dspex_runtime.osproc.warmth import Warmth


def settings() -> dict[str, Any]:
    """Return all that dspy has configured, and who may configure it."""
    owner = settings_module.config_owner_thread_id, settings_module.config_owner_async_task
    return {**settings_module.main_thread_config, "owner": owner}


def test_it_leaves_no_module_descriptor_thread_or_history_behind() -> None:
    rehearsal.build_and_call(threads=True)  # what dspy imports lazily stays imported
    before = set(sys.modules), len(os.listdir("/proc/self/fd")), threading.enumerate()
    rehearsal.build_and_call(threads=True)
    assert (set(sys.modules), len(os.listdir("/proc/self/fd")), threading.enumerate()) == before
    assert list(GLOBAL_HISTORY) == []
    assert context.Process.assignment is None


@pytest.mark.parametrize("owned", [False, True])
def test_it_leaves_the_settings_and_their_owner_as_they_were(monkeypatch: pytest.MonkeyPatch, owned: bool) -> None:
    monkeypatch.setattr(settings_module, "config_owner_thread_id", threading.get_ident() if owned else None)
    monkeypatch.setitem(settings_module.main_thread_config, "trace", ["the preload's"])
    before = settings()
    rehearsal.build_and_call(threads=True)
    assert settings() == before


def test_it_needs_no_lm_to_be_called() -> None:
    assert rehearsal.Understudy()(x=7).x == 7


class Refuses:
    """An adapter and a callback that a preload has configured, and that no rehearsal may ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


def test_the_question_to_an_lm_is_seen_by_nobody_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal.ask()
    for name, value in {"lm": Refuses(), "adapter": Refuses(), "callbacks": [Refuses()], "trace": [], "track_usage": True}.items():
        monkeypatch.setitem(settings_module.main_thread_config, name, value)
    before = settings(), set(sys.modules), len(os.listdir("/proc/self/fd")), threading.enumerate()
    rehearsal.ask()
    assert (settings(), set(sys.modules), len(os.listdir("/proc/self/fd")), threading.enumerate()) == before
    assert settings()["trace"] == []
    assert list(GLOBAL_HISTORY) == []


class Asking(dspy.Module):
    """Says what a first question would still have to import."""

    def forward(self) -> Any:
        import dspex_runtime as dx

        before = set(sys.modules)
        assert dx.connect
        assert dx.lookup
        dspy.ChainOfThought("question -> answer")(question="?")
        return sorted(name for name in set(sys.modules) - before if name.startswith(("dspy.", "dspex_runtime.")))


@pytest.mark.process
def test_the_first_question_of_a_program_imports_nothing_any_more(tmp_path: Path) -> None:
    import dspex_runtime as dx

    lm = {"class": "dspex_runtime.testing:DummyLM", "args": {"answers": {}, "default": {"reasoning": "", "answer": "!"}}}
    with dx.Runtime(preload=["dspy"], state_dir=tmp_path) as rt:
        rt.start(Asking, id="asking", lm=lm)
        assert rt.ref("asking").call("__call__") == []


class Owner(dspy.Module):
    """Configures dspy in its constructor, as only the owner may."""

    def __init__(self) -> None:
        super().__init__()
        dspy.configure(num_threads=3)

    def forward(self) -> Any:
        return dspy.settings.num_threads, dspy.settings.lm is None, len(GLOBAL_HISTORY)


@pytest.mark.process
@pytest.mark.parametrize("warmth", list(Warmth))
def test_a_spare_that_rehearsed_is_configured_anew(fork: Any, warmth: Warmth) -> None:
    process = fork(warmth=warmth)
    process.start(Owner, dspy={"num_threads": 2})
    assert process.client().call("__call__") == (3, True, 0)
