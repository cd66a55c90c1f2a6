"""A log file as lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.client.logs import BLOCK_BYTES, LINE_BYTES, LogFollower, last_lines
from dspex_runtime.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "n", "lines"),
    [
        ("", 5, []),
        ("a\nb\nc\n", 2, ["b", "c"]),
        ("a\nb\nc", 2, ["b", "c"]),
        ("a\n\nc\n", 3, ["a", "", "c"]),
        ("a\nb\n", 0, []),
        ("a\r\nb\r\n", 5, ["a", "b"]),
    ],
)
def test_the_last_lines(tmp_path: Path, text: str, n: int, lines: list[str]) -> None:
    log = tmp_path / "m.log"
    log.write_bytes(text.encode())
    assert last_lines(str(log), n) == (lines, len(text))


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(str(tmp_path / "m.log"), 5) == ([], 0)


def test_only_the_end_of_a_huge_file_is_read(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    with log.open("wb") as file:
        file.truncate(10 * 2**30)  # a hole of 10 GB: reading it would show in memory and time
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(b"line %d\n" % n for n in range(10_000)))
    lines, _ = last_lines(str(log), 3)
    assert lines == ["line 9997", "line 9998", "line 9999"]


def test_lines_longer_than_a_block_are_whole(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    long = "x" * (3 * BLOCK_BYTES)
    log.write_text(f"a\n{long}\nb\n")
    assert last_lines(str(log), 2)[0] == [long, "b"]


def test_what_the_newest_file_lacks_comes_from_the_rotated_one(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    (tmp_path / "m.log.1").write_text("a\nb\n")
    log.write_text("c\n")
    assert last_lines(str(log), 2)[0] == ["b", "c"]


def test_following_gives_whole_lines_as_they_are_completed(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    log.write_text("old\n")
    follower = LogFollower(str(log), last_lines(str(log), 0)[1])
    assert follower.read() == []
    with log.open("a") as file:
        file.write("ha")
        file.flush()
        assert follower.read() == []
        file.write("lf\nsecond\n")
        file.flush()
        assert follower.read() == ["half", "second"]
    follower.close()


def test_following_survives_a_rotation_without_losing_a_line(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    log.write_text("a\n")
    follower = LogFollower(str(log), 0)
    assert follower.read() == ["a"]
    with log.open("a") as file:
        file.write("b\n")
    log.rename(tmp_path / "m.log.1")
    assert follower.read() == ["b"]
    assert follower.read() == []
    log.write_text("c\n")
    assert follower.read() + follower.read() == ["c"]
    follower.close()


def test_a_line_without_end_is_given_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    log.write_text("x" * (LINE_BYTES + BLOCK_BYTES))
    follower = LogFollower(str(log), 0)
    assert sum(len(piece) for piece in follower.read()) >= LINE_BYTES
    follower.close()


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    log.write_bytes(b"\xff\xfe ok\n")
    assert last_lines(str(log), 1)[0] == ["\ufffd\ufffd ok"]


@pytest.mark.parametrize("n", [-1, 1.5, None, "x", True])
def test_how_many_lines_is_a_whole_number(n: Any) -> None:
    with pytest.raises(ConfigError, match="n is how many lines"):
        last_lines("/nowhere", n)
