"""The journal in memory: made when needed, adopted with a torn tail, compacted to what history shows."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.params import volatile as module
from dspex_runtime.params.journal import FACTS, records
from dspex_runtime.params.records import SetRecord
from dspex_runtime.params.volatile import VolatileJournal


@pytest.fixture
def make() -> Iterator[Callable[..., VolatileJournal]]:
    made: list[VolatileJournal] = []

    def new(*args: Any, **options: Any) -> VolatileJournal:
        made.append(VolatileJournal(*args, **options))
        return made[-1]

    yield new
    for journal in made:
        journal.close()


def written(version: int, name: str = "x", size: int = 10) -> list[Any]:
    return SetRecord(name, version, 1.0, "me", b"v" * size, b"annex").payload()


def versions(fd: int, name: str = "x", start: int = 0) -> list[int]:
    return [payload[2] for _, payload in records(fd, start) if payload[0] == 1 and payload[1] == name]


def test_no_memfd_is_made_before_the_first_append_and_then_it_is_told(make: Callable[..., VolatileJournal]) -> None:
    told: list[int] = []
    journal = make(on_replaced=told.append)
    assert journal.fd == -1
    journal.append(written(1))
    journal.append(written(2), written(3))
    assert told == [journal.fd]
    assert versions(journal.fd) == [1, 2, 3]


def test_the_next_incarnation_goes_on_where_the_killed_one_was(make: Callable[..., VolatileJournal]) -> None:
    first = make()
    for version in range(1, 200):
        first.append(written(version))
    kept = os.dup(first.fd)
    os.pwrite(kept, b"\x99\0\0\0torn", os.fstat(kept).st_size)
    first.close()
    told: list[int] = []
    heir = make(kept, on_replaced=told.append)
    assert versions(heir.fd, start=heir.published)[-1] == 199
    assert 0 < len(versions(heir.fd, start=heir.published)) <= 64, "what was published long ago is not looked at"
    heir.append(written(200))
    assert versions(heir.fd) == list(range(1, 201))
    assert told == []


def test_several_at_once_are_there_together(make: Callable[..., VolatileJournal], monkeypatch: pytest.MonkeyPatch) -> None:
    journal = make()
    journal.append(written(1))
    writes: list[tuple[int, int]] = []

    def seen(fd: int, data: bytes, offset: int) -> int:
        writes.append((len(data), len(versions(fd))))
        return pwrite(fd, data, offset)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", seen)
    journal.append(written(2), written(3))
    assert [found for _, found in writes] == [1, 1], "a part of them was there"
    assert writes[-1][0] == 8, "the last write is too small to be cut"
    assert versions(journal.fd) == [1, 2, 3]


class TestReserved:
    def test_nobody_reads_it_before_it_is_completed(self, make: Callable[..., VolatileJournal]) -> None:
        journal = make()
        journal.append(written(1))
        where = journal.reserve(written(2), written(3))
        assert where[1:3] == [os.fstat(journal.fd).st_ino, journal.position]
        assert versions(journal.fd) == [1]
        journal.complete()
        journal.append(written(4))
        assert versions(journal.fd) == [1, 2, 3, 4]

    def test_what_is_appended_instead_leaves_nothing_of_it(self, make: Callable[..., VolatileJournal]) -> None:
        journal = make()
        journal.append(written(1))
        journal.reserve(written(7), written(8), written(9))
        journal.append(written(2))
        assert versions(journal.fd) == [1, 2], "the second of those that were reserved is behind a record of that size"
        with pytest.raises(AssertionError):
            journal.complete()

    def test_who_adopts_it_completes_it(self, make: Callable[..., VolatileJournal]) -> None:
        first = make()
        first.append(written(1))
        _, *where = first.reserve(written(2), written(3))
        heir = make(os.dup(first.fd))
        heir.complete_kept(*where)
        heir.complete_kept(*where)
        heir.append(written(4))
        assert versions(heir.fd) == [1, 2, 3, 4]

    def test_what_is_not_there_is_not_completed(self, make: Callable[..., VolatileJournal]) -> None:
        first, other = make(), make()
        for journal in (first, other):
            journal.append(written(1))
        _, *where = first.reserve(written(2), written(3))
        _, *others = other.reserve(written(2), written(3))
        heir = make(os.dup(first.fd))
        heir.complete_kept(*others)
        assert versions(heir.fd) == [1], "of another memfd"
        first.reserve(written(7, size=9), written(8))
        heir.complete_kept(*where)
        heir.append(written(4))
        heir.complete_kept(*where)
        assert versions(heir.fd) == [1, 4], "something else is in its place"


def test_what_a_failed_append_left_is_not_read_behind_the_next_one(
    make: Callable[..., VolatileJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.append(written(1))
    pwrite = os.pwrite

    def short(fd: int, data: bytes, offset: int) -> int:
        return pwrite(fd, data[:-1], offset)

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.journal.os.pwrite", short)
        with pytest.raises(ParameterError, match="cannot be written"):
            journal.append(written(7), written(8), written(9))
    journal.append(written(2))
    assert versions(journal.fd) == [1, 2]


def test_nothing_is_marked_while_something_is_not_published(make: Callable[..., VolatileJournal]) -> None:
    settled = True
    journal = make(is_settled=lambda: settled)
    journal.append(written(1))
    settled, begin = False, journal.position
    for version in range(2, 200):
        journal.append(written(version))
    assert make(os.dup(journal.fd)).published <= begin
    settled = True
    for version in range(200, 300):
        journal.append(written(version))
    assert make(os.dup(journal.fd)).published > begin


def test_what_is_no_journal_is_dropped(make: Callable[..., VolatileJournal]) -> None:
    fd = os.memfd_create("other")
    os.write(fd, b"something else altogether, long enough")
    journal = make(fd)
    assert journal.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    journal.append(written(1))
    assert versions(journal.fd) == [1]


@pytest.mark.parametrize("adopted", [False, True])
def test_a_full_one_is_replaced_by_the_last_hundred_of_each_name(make: Callable[..., VolatileJournal], adopted: bool) -> None:
    told: list[int] = []
    journal = make(on_replaced=told.append, limit=20_000)
    journal.append(written(1, "rare"), [FACTS, 1.0, {"not": "kept"}])
    for version in range(1, 250):
        journal.append(written(version))
    if adopted:
        journal = make(os.dup(journal.fd), on_replaced=told.append, limit=20_000)
    version = 250
    before = journal.fd
    while len(told) == 1:
        journal.append(written(version))
        version += 1
    assert told[1:] == [journal.fd]
    assert journal.fd != before or adopted
    assert versions(journal.fd) == list(range(version - 101, version))
    assert versions(journal.fd, "rare") == [1]
    assert journal.published <= journal.position


def test_it_does_not_compact_at_every_append_when_what_it_keeps_is_large(make: Callable[..., VolatileJournal]) -> None:
    told: list[int] = []
    journal = make(on_replaced=told.append, limit=10_000)
    for version in range(1, 401):
        journal.append(written(version, size=400))
    assert 2 <= len(told) <= 12
    assert versions(journal.fd)[-100:] == list(range(301, 401))


def test_of_large_values_fewer_versions_are_kept_but_the_last_always(
    make: Callable[..., VolatileJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NAME_BYTES", 10_000)
    journal = make(limit=20_000)
    for version in range(1, 30):
        journal.append(written(version, size=4000), written(version, "huge", size=15_000))
    kept = os.fstat(journal.fd).st_size
    assert kept < 150_000
    assert versions(journal.fd)[-1] == versions(journal.fd, "huge")[-1] == 29


def test_no_memory_left_is_an_error_that_changes_nothing(
    make: Callable[..., VolatileJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.append(written(1))

    def fails(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.journal.os.pwrite", fails)
        with pytest.raises(ParameterError, match="the journal in memory cannot be written"):
            journal.append(written(2))
    journal.append(written(2))
    assert versions(journal.fd) == [1, 2]
