"""Reading journals: whole, torn at every byte, damaged, foreign, and while they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.errors import ParameterError, UnserialisableError
from dspex_runtime.params import records as r
from dspex_runtime.params.records import HEAD, MAGIC, SetRecord, frame, position_of, records, segments, tail

HEADER = HEAD.pack(MAGIC, 1, 0, 0)
PAYLOADS: list[list[Any]] = [
    SetRecord("temperature", 2, 1.5, "me", b"\x91\xcb", b"annex").payload(),
    [r.EXECUTIONS, 2.0, [{"method": "forward", "ok": True}]],
    [r.FACTS, 3.0, {"mode": "train"}],
    SetRecord("temperature", 3, 4.0, "you", b"", b"", removed=True).payload(),
]
FRAMES = [frame(payload) for payload in PAYLOADS]


def journal(directory: Path, data: bytes, number: int = 1) -> Path:
    path = directory / f"{number}.journal"
    path.write_bytes(data)
    return path


def test_what_was_framed_is_read_with_its_position(tmp_path: Path) -> None:
    path = journal(tmp_path, HEADER + b"".join(FRAMES), 3)
    found = list(records(path))
    assert [payload for _, payload in found] == PAYLOADS
    ends = [len(HEADER) + sum(map(len, FRAMES[: n + 1])) for n in range(len(FRAMES))]
    assert [position for position, _ in found] == [position_of(3, end) for end in ends]
    for n, (position, _) in enumerate(found):
        assert [payload for _, payload in records(path, position)] == PAYLOADS[n + 1 :]


def test_a_set_reads_as_one_and_others_do_not() -> None:
    assert SetRecord.read(PAYLOADS[0]) == SetRecord("temperature", 2, 1.5, "me", b"\x91\xcb", b"annex")
    assert SetRecord.read(PAYLOADS[1]) is None


def test_a_tail_torn_at_any_byte_is_dropped_silently(tmp_path: Path) -> None:
    whole = HEADER + b"".join(FRAMES)
    ends = [len(HEADER) + sum(map(len, FRAMES[: n + 1])) for n in range(len(FRAMES))]
    told: list[str] = []
    for length in range(len(whole) + 1):
        for rest in (b"", bytes(100)):  # zeros: what a loss of power leaves
            path = journal(tmp_path, whole[:length] + rest)
            expected = PAYLOADS[: sum(end <= length for end in ends)]
            assert [payload for _, payload in records(path, on_damage=told.append)][: len(expected)] == expected
    path = journal(tmp_path, whole[:-5])
    assert [payload for _, payload in records(path, on_damage=told.append)] == PAYLOADS[:-1]


def test_a_torn_tail_is_no_damage(tmp_path: Path) -> None:
    told: list[str] = []
    whole = HEADER + b"".join(FRAMES)
    for length in range(len(whole)):
        list(records(journal(tmp_path, whole[:length]), on_damage=told.append))
    list(records(journal(tmp_path, whole + bytes(64)), on_damage=told.append))
    list(records(journal(tmp_path, bytes(64)), on_damage=told.append))
    assert told == []


def test_a_damaged_record_in_the_middle_is_left_out_and_told(tmp_path: Path) -> None:
    broken = bytearray(HEADER + b"".join(FRAMES))
    broken[len(HEADER) + 12] ^= 0xFF
    told: list[str] = []
    path = journal(tmp_path, bytes(broken))
    assert [payload for _, payload in records(path, on_damage=told.append)] == PAYLOADS[1:]
    assert told == [
        f"{path}: the record that ends at byte {32 + len(FRAMES[0])} cannot be read and is left out: its checksum is wrong"
    ]


def test_what_is_no_journal_is_told_and_one_of_a_newer_format_is_an_error(tmp_path: Path) -> None:
    told: list[str] = []
    assert list(records(journal(tmp_path, b"SQLite format 3\0" + bytes(100)), on_damage=told.append)) == []
    assert "is no journal: it begins with b'SQLite f'" in told[0]
    with pytest.raises(ParameterError, match="has journal format 9; this version of dspex reads format 1"):
        list(records(journal(tmp_path, HEAD.pack(MAGIC, 9, 0, 0) + FRAMES[0])))


def test_kinds_that_nobody_asked_for_are_passed_over(tmp_path: Path) -> None:
    path = journal(tmp_path, HEADER + b"".join(FRAMES) + frame([77, "of a later version"]))
    found = [payload for _, payload in records(path, kinds=frozenset({r.SET}))]
    assert found == [PAYLOADS[0], PAYLOADS[3]]


def test_segments_are_in_the_order_of_their_numbers_and_nothing_else_is_one(tmp_path: Path) -> None:
    for name in ("10.journal", "9.journal", "x.journal", "1.journal.bak", "2.db"):
        (tmp_path / name).write_bytes(b"")
    assert segments(tmp_path) == [(9, tmp_path / "9.journal"), (10, tmp_path / "10.journal")]
    assert segments(tmp_path / "nowhere") == []
    assert segments(tmp_path / "2.db") == []


def test_a_tail_goes_over_all_segments_from_a_position_on(tmp_path: Path) -> None:
    for number in (2, 3, 5):
        journal(tmp_path, HEADER + FRAMES[0] + FRAMES[2], number)
    found = list(tail(tmp_path))
    assert len(found) == 6
    assert [position >> 40 for position, _ in found] == [2, 2, 3, 3, 5, 5]
    for n, (position, _) in enumerate(found):
        assert list(tail(tmp_path, position)) == found[n + 1 :]
    assert list(tail(tmp_path, position_of(4, 999))) == found[4:]
    assert list(tail(tmp_path / "nowhere")) == []


def test_a_descriptor_is_read_and_stays_the_callers(tmp_path: Path) -> None:
    fd = os.open(journal(tmp_path, HEADER + FRAMES[0]), os.O_RDONLY)
    assert [payload for _, payload in records(fd)] == PAYLOADS[:1]
    os.close(fd)


def test_what_is_not_plain_is_refused() -> None:
    with pytest.raises(UnserialisableError):
        frame([r.FACTS, 1.0, {"lock": object()}])


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_fail(rubbish: bytes) -> None:
    fd = os.memfd_create("rubbish")
    try:
        os.write(fd, HEADER + FRAMES[0] + rubbish)
        assert next(iter(records(fd)))[1] == PAYLOADS[0]
        assert len(list(records(fd))) >= 1
    finally:
        os.close(fd)


def test_a_group_is_read_as_its_records_and_torn_at_any_byte_it_is_none_of_them(tmp_path: Path) -> None:
    group = frame([r.GROUP, PAYLOADS])
    begin = len(HEADER) + len(FRAMES[2])
    for length in range(len(group)):
        path = journal(tmp_path, HEADER + FRAMES[2] + group[:length])
        assert [payload for _, payload in records(path)] == PAYLOADS[2:3]
    path = journal(tmp_path, HEADER + FRAMES[2] + group)
    found = list(records(path))
    assert [payload for _, payload in found] == [PAYLOADS[2], *PAYLOADS]
    # Who stops in the middle of it begins with its first one again.
    ends = [position_of(1, begin)] * len(PAYLOADS) + [position_of(1, begin + len(group))]
    assert [position for position, _ in found] == ends
    assert [payload for _, payload in records(path, ends[-2])] == PAYLOADS
    assert [payload[0] for _, payload in records(path, kinds=frozenset({r.FACTS}))] == [r.FACTS, r.FACTS]
