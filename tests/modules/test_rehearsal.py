"""The dspy half of a rehearsal: what it touches it gives back."""

from __future__ import annotations

import os
import sys
import threading
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
    rehearsal.build_and_call()  # what dspy imports lazily stays imported
    before = set(sys.modules), len(os.listdir("/proc/self/fd")), threading.enumerate()
    rehearsal.build_and_call()
    assert (set(sys.modules), len(os.listdir("/proc/self/fd")), threading.enumerate()) == before
    assert list(GLOBAL_HISTORY) == []
    assert context.Process.assignment is None


@pytest.mark.parametrize("owned", [False, True])
def test_it_leaves_the_settings_and_their_owner_as_they_were(monkeypatch: pytest.MonkeyPatch, owned: bool) -> None:
    monkeypatch.setattr(settings_module, "config_owner_thread_id", threading.get_ident() if owned else None)
    monkeypatch.setitem(settings_module.main_thread_config, "trace", ["the preload's"])
    before = settings()
    rehearsal.build_and_call()
    assert settings() == before


def test_it_needs_no_lm_to_be_called() -> None:
    assert rehearsal.Understudy()(x=7).x == 7


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
