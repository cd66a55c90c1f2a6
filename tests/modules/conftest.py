from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.hosted_process import HostedProcess, hosted_processes


@pytest.fixture
def fork(tmp_path: Path) -> Iterator[Callable[..., HostedProcess]]:
    """A factory of forked module processes; the test plays their runtime."""
    yield from hosted_processes(tmp_path)
