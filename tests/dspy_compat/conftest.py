"""One body, three ways: every test that takes `way` runs with each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dspy_compat.ways import WAYS, Way, starting

from helpers.runtimes import standing_runtime

HERE = Path(__file__).parent


@pytest.fixture
def nothing_left_behind() -> None:
    """The runtime outlives a test, and looks itself what it leaves: in place of the check that every test has."""


_left_out: list[pytest.Item] = []


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Keep what of this folder is not run."""
    _left_out.extend(item for item in items if item.path.parent == HERE)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those run last that look at what the others of this folder did."""
    ours = [item for item in items if item.path.parent == HERE]
    if ours:
        at = items.index(ours[0])
        ours.sort(key=lambda item: "all_others_ran" in getattr(item, "fixturenames", ()))
        items[:] = [*items[:at], *ours, *(item for item in items[at:] if item.path.parent != HERE)]


@pytest.fixture
def all_others_ran(request: pytest.FixtureRequest) -> None:
    """Skip where only a part of this folder was asked for."""
    files = {item.path for item in request.session.items}
    if _left_out or not set(HERE.glob("test_*.py")) <= files or any("::" in argument for argument in request.config.args):
        pytest.skip("only a part of this folder is run")


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
