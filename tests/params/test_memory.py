"""Mapping a table: what is refused, growing, and readers that go on reading through an old mapping."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.memory import Memory, read_only

PAGE = 4096


def memfd(size: int, seals: int = fcntl.F_SEAL_SHRINK) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def plain_file(folder: Path) -> int:
    (folder / "file").write_bytes(bytes(PAGE))
    return os.open(folder / "file", os.O_RDWR | os.O_CLOEXEC)


REFUSED: dict[str, tuple[Callable[[Path], int], str]] = {
    "an ordinary file": (plain_file, "no parameter table"),
    "memory that can shrink": (lambda _: memfd(PAGE, 0), "not sealed against shrinking"),
    "nothing at all": (lambda _: memfd(0), "empty"),
    "a pipe": (lambda _: os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), "no parameter table"),
}


@pytest.mark.process
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_memory_is_refused_and_closed(case: str, tmp_path: Path) -> None:
    make, text = REFUSED[case]
    fd = make(tmp_path)
    with pytest.raises(ParameterError, match=text):
        Memory(fd, writable=False)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_words_and_bytes_show_the_same_memory() -> None:
    memory = Memory(memfd(PAGE), writable=True)
    memory.words[3] = 0x0102030405060708
    assert int.from_bytes(memory.bytes[24:32], "little") == memory.words[3]
    memory.close()


def test_who_holds_an_old_mapping_sees_what_is_written_through_the_new_one() -> None:
    memory = Memory(memfd(PAGE), writable=True)
    old = memory.words
    memory.grow(4 * PAGE)
    memory.words[5] = 7
    memory.words[4 * PAGE // 8 - 1] = 8
    assert old[5] == 7
    assert len(old) == PAGE // 8
    memory.close()
    assert old[5] == 7


def test_growing_to_less_keeps_what_there_is() -> None:
    memory = Memory(memfd(4 * PAGE), writable=True)
    memory.grow(PAGE)
    assert len(memory.bytes) == 4 * PAGE
    memory.close()


def test_what_readers_get_cannot_write() -> None:
    fd = memfd(PAGE)
    reader = Memory(read_only(fd), writable=False)
    with pytest.raises(TypeError, match="read-only"):
        reader.words[0] = 1
    with pytest.raises(OSError, match="Invalid argument"):
        os.ftruncate(reader.fd, 2 * PAGE)
    with pytest.raises(ParameterError, match="Permission"):
        Memory(os.dup(reader.fd), writable=True)
    reader.close()
    os.close(fd)


@pytest.mark.process
def test_closing_is_idempotent_and_leaves_nothing() -> None:
    memory = Memory(memfd(PAGE), writable=True)
    memory.close()
    memory.close()
    assert memory.fd == -1
    assert len(memory.words) == len(memory.bytes) == 0
