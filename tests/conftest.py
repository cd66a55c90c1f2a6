"""Shared fixtures. Tests marked `process` must leave nothing behind; the failure names what they left.

`helpers` is importable from every test (`from helpers.waiting import ...`), whatever directory pytest was started in.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx

sys.path.insert(0, str(Path(__file__).parent))
# Before dspy is imported, here and in every process that is started: answers of other days are no answers, and the developer's
# own cache is none of ours.
CACHE = os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="dspex-tests-")

from helpers.leaks import Footprint
from helpers.runtimes import Standing, standing_runtime


def pytest_unconfigure() -> None:
    """Remove what dspy has kept."""
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of every later collection: the leak check collects, and dspy has 300 000 objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test marked `process` that leaves processes, descriptors, threads or shared memory behind.

    One that uses the `shared_runtime` of its file is asked at the end of that: its own connections to it stay.
    """
    if request.node.get_closest_marker("process") is None or "shared_runtime" in request.fixturenames:
        yield
        return
    before = Footprint.take()
    yield
    leaks = before.leaks_since(timeout_s=20.0)
    if leaks:
        pytest.fail("left behind:\n  " + "\n  ".join(leaks), pytrace=False)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """Start the one runtime of a file, by its name and what is configured; it ends with the file, and leaves nothing behind."""
    with ExitStack() as stack:

        def start(name: str, **config: Any) -> dx.Runtime:
            return stack.enter_context(standing_runtime(tmp_path_factory.mktemp(name), name, **config))

        yield start
