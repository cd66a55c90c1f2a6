"""One body, three ways: every test that takes `way` runs with each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dspy_compat.ways import WAYS, Way, starting

from helpers.runtimes import standing_runtime


@pytest.fixture
def nothing_left_behind() -> None:
    """The runtime outlives a test, and looks itself what it leaves: in place of the check that every test has."""


_closing = ExitStack()


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One runtime for all tests of this folder."""
    config = {"runtime": {"spares": 2}, "tree": {"children": []}}
    return _closing.enter_context(standing_runtime(tmp_path_factory.mktemp("compat"), "compat", **config))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the runtime with the last test of this folder: those of others look for what is left behind."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        _closing.close()


@pytest.fixture(params=[*WAYS[:-1], pytest.param(WAYS[-1], marks=pytest.mark.process)])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """How the program runs."""
    if request.param != "hosted":
        yield Way(request.param)
        return
    with starting(request.getfixturevalue("runtime")) as start:
        yield Way("hosted", start)


@pytest.fixture(autouse=True)
def dspys_log() -> Iterator[None]:
    """dspy's log records go where pytest sees them, and nowhere else."""
    logger = logging.getLogger("dspy")
    propagate, handlers = logger.propagate, logger.handlers
    logger.propagate, logger.handlers = True, []
    yield
    logger.propagate, logger.handlers = propagate, handlers
