from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from helpers.hosted_parameters import Keeper
from helpers.hosted_process import Gate, HostedProcess, hosted_processes
from helpers.leaks import Threads


@pytest.fixture(autouse=True)
def no_thread_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread behind; one marked `process` is asked about everything anyway."""
    if request.node.get_closest_marker("process") is not None:
        yield
        return
    before = Threads.take()
    yield
    leaks = before.leaks_since(deadline=time.monotonic() + 5.0)
    if leaks:
        pytest.fail("left behind:\n  " + "\n  ".join(leaks), pytrace=False)


@pytest.fixture
def fork(tmp_path: Path) -> Iterator[Callable[..., HostedProcess]]:
    """A factory of forked module processes; the test plays their runtime."""
    yield from hosted_processes(tmp_path)


@pytest.fixture
def keeper() -> Iterator[Callable[[HostedProcess], Keeper]]:
    """A factory of keepers: each holds what a module process has offered so far."""
    with ExitStack() as made:
        yield lambda process: made.enter_context(closing(Keeper(process)))


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A door in user code."""
    return Gate(tmp_path / "gate")
