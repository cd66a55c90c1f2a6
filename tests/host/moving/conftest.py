from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.hosted_process import HostedProcess
from helpers.moving import Move, make_packing_wait
from helpers.versions import versions


@pytest.fixture
def moving(fork: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Move]:
    """A factory of moves that were rehearsed: from a process that is given, or started, to one that has served nobody."""
    make_packing_wait(monkeypatch)

    def make(found: Any, *args: Any, old: HostedProcess | None = None, new: HostedProcess | None = None, **options: Any) -> Move:
        if old is None:
            old = fork()
            old.start(found, *args, **options)
        if new is None:
            new = fork()
        new.start(found, *args, rehearsal=True, journal=str(old.folder / "journal"), **options)
        move = Move(old, new)
        move.rehearse()
        return move

    return make


@pytest.fixture
def version() -> Iterator[Any]:
    """A factory of versions in this process."""
    with versions() as make:
        yield make
