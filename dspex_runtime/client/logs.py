"""A module's log file as lines: its last n without reading the rest, then what is added, across rotations."""

from __future__ import annotations

import os
from collections import deque
from typing import BinaryIO, Final

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError

BLOCK_BYTES: Final = 64 * 1024
LINE_BYTES: Final = 2**20  # a longer line is given in pieces: a module may print a gigabyte without a newline
POLL_S: Final = 0.1  # how often a followed file is looked at; a person cannot tell it from at once


def last_lines(path: str, n: int) -> tuple[list[str], int]:
    """Return the last n lines (of the rotated file before it, too, where the newest has fewer) and the offset read up to.

    Cost: reads only the blocks that hold those lines, from the end.
    """
    if type(n) is not int or n < 0:
        raise ConfigError(f"n is how many lines, a whole number >= 0; got {show(n)}")
    lines, offset = _tail(path, n)
    if len(lines) < n and offset >= 0:
        lines = _tail(f"{path}.1", n - len(lines))[0] + lines
    return lines, max(0, offset)


def _tail(path: str, n: int) -> tuple[list[str], int]:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return [], 0
    with file:
        end = position = file.seek(0, os.SEEK_END)
        blocks: deque[bytes] = deque()
        newlines = 0
        while position > 0 and newlines <= n and end - position < n * LINE_BYTES:
            size = min(BLOCK_BYTES, position)
            position -= size
            file.seek(position)
            blocks.appendleft(file.read(size))
            newlines += blocks[0].count(b"\n")
    lines = b"".join(blocks).splitlines()
    return [_text(line) for line in lines[-n:]] if n > 0 else [], end


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode(errors="replace")


class LogFollower:
    """What is added to a log file from an offset on. Owns the open file; never waits."""

    def __init__(self, path: str, offset: int) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = offset
        self._rest = b""

    def read(self) -> list[str]:
        """Return the complete lines that came since; a rotated file is read to its end first."""
        if self._file is None and not self._open():
            return []
        assert self._file is not None
        lines = self._lines()
        if not lines and self._replaced():
            lines = self._lines()  # written between our read and the rotation
            if self._rest:
                lines.append(_text(self._rest))
            self.close()
            self._rest, self._offset = b"", 0
        return lines

    def _open(self) -> bool:
        try:
            self._file = open(self._path, "rb")  # noqa: SIM115  # held between calls
        except FileNotFoundError:
            return False
        if os.fstat(self._file.fileno()).st_size < self._offset:
            self._offset = 0  # rotated before we came back to it
        self._file.seek(self._offset)
        return True

    def _lines(self) -> list[str]:
        assert self._file is not None
        lines: list[str] = []
        while data := self._file.read(BLOCK_BYTES):
            *complete, self._rest = (self._rest + data).split(b"\n")
            lines.extend(_text(line) for line in complete)
            if len(self._rest) > LINE_BYTES:
                lines.append(_text(self._rest))
                self._rest = b""
        return lines

    def _replaced(self) -> bool:
        assert self._file is not None
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False  # between the rename and the new file
        ours = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        if self._file is not None:
            self._file.close()
            self._file = None
