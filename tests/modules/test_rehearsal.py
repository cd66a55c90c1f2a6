"""The dspy half of a rehearsal: what it touches it gives back."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY

from dspex_runtime.host import context
from dspex_runtime.modules import rehearsal
from dspex_runtime.osproc.warmth import Warmth

settings_module: Any = importlib.import_module("dspy.dsp.utils.settings")


@pytest.fixture(autouse=True)
def dspy_as_it_was() -> Iterator[None]:
    """Undo what the rehearsal configures in this process."""
    config = dict(settings_module.main_thread_config)
    owner = settings_module.config_owner_thread_id, settings_module.config_owner_async_task
    yield
    settings_module.main_thread_config.clear()
    settings_module.main_thread_config.update(config)
    settings_module.config_owner_thread_id, settings_module.config_owner_async_task = owner


def test_it_leaves_no_descriptor_thread_or_history_behind() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.enumerate()
    rehearsal.build()
    rehearsal.call()
    assert (len(os.listdir("/proc/self/fd")), threading.enumerate()) == before
    assert list(GLOBAL_HISTORY) == []
    assert context.Process.assignment is None


def test_it_configures_no_lm_and_no_trace() -> None:
    dspy.configure(lm=None)
    rehearsal.build()
    rehearsal.call()
    assert dspy.settings.lm is None
    assert dspy.settings.trace == []


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
