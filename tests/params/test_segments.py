"""The journal in files: nothing before it is needed, one write a record, rotation, and disks that are full, read-only or lossy."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError, UnserialisableError
from dspex_runtime.params.journal import FACTS, Journal, segments, tail
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.params.volatile import VolatileJournal


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SegmentJournal]]:
    made: list[SegmentJournal] = []

    def new(**options: Any) -> SegmentJournal:
        made.append(SegmentJournal(tmp_path / "a" / "b", **options))
        return made[-1]

    yield new
    for journal in made:
        journal.close()


def fact(n: int, text: str = "") -> list[Any]:
    return [FACTS, float(n), {"n": n, "text": text}]


def numbers(directory: Path) -> list[int]:
    return [payload[2]["n"] for _, payload in tail(directory)]


def test_nothing_exists_before_the_first_append(make: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    journal = make()
    assert journal.position == 0
    journal.sync(0)
    journal.close()
    assert not (tmp_path / "a").exists()


def test_a_record_is_there_with_the_position_that_append_returned(make: Callable[..., SegmentJournal]) -> None:
    journal = make()
    positions = [journal.append(fact(n)) for n in range(3)]
    assert [position for position, _ in tail(journal.directory)] == positions
    assert journal.position == positions[-1]
    assert journal.append(fact(3), fact(4)) > positions[-1]
    assert numbers(journal.directory) == [0, 1, 2, 3, 4]
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_every_opener_writes_into_a_file_of_its_own(make: Callable[..., SegmentJournal]) -> None:
    for n in range(3):
        journal = make()
        journal.append(fact(n))
        journal.close()
        with journal.path.open("ab") as file:
            file.write(b"\x50\0\0\0torn")
    assert [number for number, _ in segments(journal.directory)] == [1, 2, 3]
    assert numbers(journal.directory) == [0, 1, 2]


def test_positions_grow_beyond_what_is_used_up(make: Callable[..., SegmentJournal]) -> None:
    first = make(after=(7 << 40) | 99)
    assert first.append(fact(0)) >> 40 == 8
    first.start_after(20 << 40)
    assert first.append(fact(1)) >> 40 == 8
    second = make()
    second.start_after(3 << 40)
    assert second.append(fact(2)) >> 40 == 9
    third = make()
    third.start_after(30 << 40)
    assert third.append(fact(3)) >> 40 == 31


def test_a_full_segment_is_followed_by_another_and_told(make: Callable[..., SegmentJournal]) -> None:
    complete: list[int] = []
    journal = make(on_rotate=complete.append, limit=1000)
    positions = [journal.append(fact(n, "x" * 100)) for n in range(30)]
    assert positions == sorted(positions)
    assert numbers(journal.directory) == list(range(30))
    assert complete == [number for number, _ in segments(journal.directory)][:-1]
    assert len(complete) >= 3
    for number, path in segments(journal.directory):
        assert path.stat().st_size < 1300, number


def test_what_is_not_plain_is_refused_and_leaves_nothing(make: Callable[..., SegmentJournal]) -> None:
    journal = make()
    with pytest.raises(UnserialisableError):
        journal.append(fact(1), [FACTS, 1.0, {"lock": threading.Lock()}])
    assert not journal.directory.exists()


def test_threads_append_whole_records(make: Callable[..., SegmentJournal]) -> None:
    journal = make(limit=3000)
    threads = [threading.Thread(target=lambda k=k: [journal.append(fact(k * 100 + n)) for n in range(100)]) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers(journal.directory)) == list(range(400))


# -- sync


class Disk:
    """Counts what is synced; can hold a sync up, or fail it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced = 0
        self.fails = False
        self.entered, self.released = threading.Event(), threading.Event()
        self.released.set()
        monkeypatch.setattr("dspex_runtime.params.segments.os.fdatasync", self.fdatasync)

    def fdatasync(self, fd: int) -> None:
        os.fstat(fd)  # it must be open
        self.entered.set()
        assert self.released.wait(10)
        self.synced += 1
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_one_sync_serves_all_that_were_written_before_it(make: Callable[..., SegmentJournal], disk: Disk) -> None:
    journal = make()
    positions = [journal.append(fact(n), durable=True) for n in range(5)]
    for position in reversed(positions):
        journal.sync(position)
    assert disk.synced == 1


def test_threads_that_wait_share_the_next_sync(make: Callable[..., SegmentJournal], disk: Disk) -> None:
    journal = make()
    disk.released.clear()
    first = threading.Thread(target=journal.sync, args=(journal.append(fact(0), durable=True),))
    first.start()
    assert disk.entered.wait(10)
    others = [threading.Thread(target=journal.sync, args=(journal.append(fact(n), durable=True),)) for n in range(1, 9)]
    for thread in others:
        thread.start()
    disk.released.set()
    for thread in (first, *others):
        thread.join()
    assert disk.synced == 2


def test_appending_goes_on_while_the_disk_works_even_into_the_next_segment(make: Callable[..., SegmentJournal], disk: Disk) -> None:
    journal = make(limit=200)
    position = journal.append(fact(0, "x" * 300), durable=True)
    disk.released.clear()
    thread = threading.Thread(target=journal.sync, args=(position,))
    thread.start()
    assert disk.entered.wait(10)
    appended = threading.Thread(target=lambda: journal.append(fact(1)))
    appended.start()
    disk.released.set()
    thread.join()
    appended.join()
    assert numbers(journal.directory) == [0, 1]


def test_a_segment_that_is_left_takes_what_is_to_be_durable_with_it(make: Callable[..., SegmentJournal], disk: Disk) -> None:
    journal = make(limit=100)
    position = journal.append(fact(0, "x" * 300), durable=True)
    journal.append(fact(1))
    assert disk.synced == 1
    journal.sync(position)
    assert len(segments(journal.directory)) == 2


def test_whatever_a_failed_sync_lost_is_never_said_to_be_there(make: Callable[..., SegmentJournal], disk: Disk) -> None:
    journal = make()
    lost = [journal.append(fact(n), durable=True) for n in range(2)]
    disk.fails = True
    with pytest.raises(ParameterError, match="Input/output error"):
        journal.sync(lost[0])
    disk.fails = False
    for position in lost:
        with pytest.raises(ParameterError, match="the disk did not take what was written"):
            journal.sync(position)
    journal.sync(journal.append(fact(2), durable=True))


# -- disks that refuse


def fails(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def call(*args: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"dspex_runtime.params.segments.os.{name}", call)


def test_a_directory_that_cannot_be_made_is_told_each_time_and_no_longer_once_it_can(
    make: Callable[..., SegmentJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    with monkeypatch.context() as patch:
        fails(patch, "makedirs", errno.EROFS)
        for _ in range(2):
            with pytest.raises(ParameterError, match=r"a journal in .*/a/b cannot be written \(Read-only file system\)") as caught:
                journal.append(fact(0))
            assert caught.value.code == "journal"
            assert "durability 'memory' needs no disk" in str(caught.value.hint)
    journal.append(fact(1))
    assert numbers(journal.directory) == [1]


def test_a_file_where_the_directory_should_be_is_told(make: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("mine")
    with pytest.raises(ParameterError, match="there is a file of that name"):
        make().append(fact(0))


def test_where_no_new_file_can_be_made_the_full_one_goes_on(
    make: Callable[..., SegmentJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete: list[int] = []
    journal = make(limit=100, on_rotate=complete.append)
    journal.append(fact(0, "x" * 200))
    with monkeypatch.context() as patch:
        fails(patch, "open", errno.ENOSPC)
        journal.append(fact(1))
    assert complete == []
    journal.append(fact(2))
    assert complete == [1]
    assert numbers(journal.directory) == [0, 1, 2]


def test_where_a_torn_record_cannot_be_cut_off_the_next_file_is_begun(
    make: Callable[..., SegmentJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.append(fact(0))
    write = os.write

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.journal.os.write", lambda fd, data: write(fd, data[:10]))
        fails(patch, "ftruncate", errno.EIO)
        with pytest.raises(ParameterError, match="only 10 of"):
            journal.append(fact(1))
    journal.append(fact(2))
    assert [number for number, _ in segments(journal.directory)] == [1, 2]
    assert numbers(journal.directory) == [0, 2]


LIMITED = """
import json, resource, sys
from dspex_runtime.errors import ParameterError
from dspex_runtime.params.journal import FACTS, Journal
journal = Journal.at(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
done, said = 0, None
while said is None:
    try:
        journal.append([FACTS, 0.0, {"n": done, "text": "x" * 50}])
        done += 1
    except ParameterError as exc:
        said = str(exc)
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append([FACTS, 0.0, {"n": done}])
print(json.dumps([done, said, size]))
"""


@pytest.mark.process
@pytest.mark.parametrize("room", [10, 500, 537, 4096])
def test_at_the_real_limit_of_a_file_nothing_half_written_stays(tmp_path: Path, room: int) -> None:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit could not be lifted again")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "j"), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    n, said, size = json.loads(done.stdout)
    assert "1.journal cannot be written" in said
    assert size <= room
    assert numbers(tmp_path / "j") == list(range(n + 1))


def test_both_kinds_are_journals(tmp_path: Path) -> None:
    on_disk, in_memory = Journal.at(tmp_path), VolatileJournal()
    assert isinstance(on_disk, Journal)
    assert isinstance(in_memory, Journal)
    for journal in (on_disk, in_memory):
        journal.append(fact(1), durable=True)
        journal.sync(journal.position)
        journal.close()
        journal.close()


def test_a_journal_that_was_left_takes_nothing_and_makes_no_file(make: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    journal = make()
    journal.append(fact(1))
    before = sorted(tmp_path.rglob("*"))
    journal.leave()
    for _ in range(2):
        with pytest.raises(ParameterError, match="it is another process's by now"):
            journal.append(fact(2))
    journal.close()
    assert sorted(tmp_path.rglob("*")) == before
