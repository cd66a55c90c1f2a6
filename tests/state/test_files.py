"""Journals as files: which may go, which must stay, and what a crash in between leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dspex_runtime.params.journal import EXECUTIONS, Journal, segments, tail
from dspex_runtime.state.files import JournalFiles, discard_state
from dspex_runtime.state.layout import NAME


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    return JournalFiles(tmp_path)


def write(files: JournalFiles, id: str, n_segments: int) -> int:
    """Write one record into each of so many segments; return the position behind the last."""
    position = 0
    for number in range(n_segments):
        journal = Journal.at(files.path(id))
        position = journal.append([EXECUTIONS, 1.0, [{"n": number}]])
        journal.close()
    return position


def numbers(files: JournalFiles, id: str) -> list[int]:
    return [number for number, _ in segments(files.path(id))]


def test_ids_are_those_that_have_a_journal(files: JournalFiles) -> None:
    assert files.ids() == []
    write(files, "sup/a", 1)
    write(files, "b", 1)
    assert files.ids() == ["b", "sup/a"]


def test_folded_segments_go_but_not_the_newest_two(files: JournalFiles) -> None:
    position = write(files, "a", 5)
    files.trim("a", position)
    assert numbers(files, "a") == [4, 5]


def test_what_is_not_folded_stays(files: JournalFiles) -> None:
    write(files, "a", 5)
    files.trim("a", 2 << 40 | 50)
    assert numbers(files, "a") == [2, 3, 4, 5]


def test_a_journal_that_is_emptied_takes_no_room_and_its_numbers_go_on(files: JournalFiles) -> None:
    position = write(files, "a", 3)
    files.empty("a", position)
    assert [(number, path.stat().st_size) for number, path in segments(files.path("a"))] == [(3, 0)]
    assert write(files, "a", 1) > position
    assert [payload[2] for _, payload in tail(files.path("a"), position)] == [[{"n": 0}]]


def test_a_journal_with_something_unread_is_not_emptied(files: JournalFiles) -> None:
    position = write(files, "a", 1)
    files.empty("a", position - 1)
    assert len(list(tail(files.path("a")))) == 1


def test_a_discarded_journal_is_gone_and_one_that_is_not_there_is_none(files: JournalFiles, tmp_path: Path) -> None:
    write(files, "a", 2)
    files.discard("a")
    files.discard("a")
    assert files.ids() == []
    assert os.listdir(tmp_path / "journals") == []


def test_what_a_crash_left_of_a_discarded_one_is_no_id_and_goes(files: JournalFiles, tmp_path: Path) -> None:
    write(files, "a", 1)
    files.path("a").rename(tmp_path / "journals" / ".dropped-1-0")
    assert files.ids() == []
    assert os.listdir(tmp_path / "journals") == []


def test_state_that_is_discarded_takes_the_database_and_the_journals_and_leaves_the_logs(
    files: JournalFiles, tmp_path: Path
) -> None:
    for name in (NAME, f"{NAME}-wal", f"{NAME}-shm", "runtime.log"):
        (tmp_path / name).write_bytes(b"x")
    write(files, "a", 1)
    discard_state(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["journals", "runtime.log"]
    assert files.ids() == []
