"""The log of one module: its own file, whole lines, rotated by the module itself. Printing never raises and never blocks it.

Owns descriptors 1 and 2 and what stands behind sys.stdout and sys.stderr. A disk that is full or read-only loses lines,
which are counted and reported once; the module goes on.

    module.log        written now, O_APPEND: C code and grandchildren write to it too
    module.log.1 ...  older, newest first, `keep` of them
"""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from dspex_runtime.host.burst_filter import BurstFilter

LINE_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MAX_PARTIAL_CHARS: Final = 65536  # a "line" longer than this is written in pieces
_LOST: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class ProcessLog:
    """One log file.

    Attributes:
        foreign: Code that is not Python, or another process, writes to it too: its size must be looked at.
    """

    def __init__(self, path: str, *, max_bytes: int, keep: int, on_full: Callable[[str], None]) -> None:
        self.path = path
        self.foreign = False
        self._max_bytes = max_bytes
        self._keep = keep
        self._on_full = on_full
        self._lock = threading.Lock()
        self._dropped = 0
        self._losing = False
        self._written = 0  # by us, to the file as it is
        self._rotates = False

    def open(self) -> None:
        """Point descriptors 1 and 2 at the log. Where it cannot be opened, output is dropped and counted."""
        try:
            fd = self._open_file()
        except OSError as exc:
            fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            self._lose(0, exc)
        self._redirect(fd)

    def _open_file(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _redirect(self, fd: int) -> None:
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
        info = os.fstat(1)
        self._rotates = stat.S_ISREG(info.st_mode) and self._max_bytes > 0
        self._written = info.st_size

    def write(self, data: bytes) -> None:
        """Append whole lines; what cannot be written is dropped and counted."""
        with self._lock:
            try:
                written = os.write(1, data)
                while written < len(data):
                    written += os.write(1, data[written:])
            except OSError as exc:
                self._lose(data.count(b"\n") or 1, exc)
                return
            self._losing = False
            self._written += len(data)
            if self._rotates:
                self._check_size()

    def check(self) -> None:
        """Rotate if it is time; for what others wrote. Cost: one fstat."""
        with self._lock:
            if self._rotates:
                self._check_size()

    def counts(self) -> dict[str, Any]:
        """Return the lines dropped so far and whether lines are being dropped now."""
        return {"path": self.path, "dropped_lines": self._dropped, "dropping": self._losing}

    def _check_size(self) -> None:
        try:
            size = os.fstat(1).st_size
            if size > self._written:
                self.foreign = True
            self._written = size
            if size >= self._max_bytes:
                self._rotate()
            elif self.foreign:
                self._cut_abandoned()
        except OSError as exc:
            self._rotates = exc.errno != errno.EBADF  # user code closed descriptor 1: nothing to rotate any more
            self._lose(0, exc)

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            _rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        if self._keep:
            _rename(self.path, f"{self.path}.1")
        else:
            os.unlink(self.path)
        self._redirect(self._open_file())

    def _cut_abandoned(self) -> None:
        """Empty a rotated file that somebody with an old descriptor (a grandchild) still fills."""
        rotated = f"{self.path}.1"
        try:
            if self._keep and os.stat(rotated).st_size > 2 * self._max_bytes:
                os.truncate(rotated, 0)
        except FileNotFoundError:
            pass

    def _lose(self, lines: int, exc: OSError) -> None:
        self._dropped += lines
        if not self._losing:  # once per outage: the report must not become a flood of its own
            self._losing = True
            self._on_full(f"{self.path}: {os.strerror(exc.errno) if exc.errno else exc}")


def _rename(old: str, new: str) -> None:
    try:
        os.replace(old, new)
    except FileNotFoundError:
        pass


class LogStream(io.TextIOBase):
    """sys.stdout and sys.stderr of a module: collects each thread's text into whole lines. Never raises for lack of room."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, log: ProcessLog, fileno: int) -> None:
        self._log = log
        self._fileno = fileno
        self._partial: dict[int, str] = {}
        self.buffer = _Bytes(log, fileno)

    def write(self, text: str) -> int:
        """Write the lines that are complete, keep the rest for this thread's next write."""
        thread = threading.get_ident()
        whole = self._partial.pop(thread, "") + text
        end = whole.rfind("\n") + 1
        if len(whole) - end > MAX_PARTIAL_CHARS:
            end = len(whole)
        if end < len(whole):
            self._partial[thread] = whole[end:]
        if end:
            self._log.write(whole[:end].encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Write what this thread has begun."""
        rest = self._partial.pop(threading.get_ident(), "")
        if rest:
            self._log.write(rest.encode("utf-8", "backslashreplace"))

    def fileno(self) -> int:
        """Return the descriptor, for subprocesses."""
        return self._fileno

    def isatty(self) -> bool:
        """Return False: no colours, no progress bars."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Flush only: a library that closes its output must not silence the module."""
        self.flush()

    def __del__(self) -> None:
        """Nothing: the base class would close, at a time when the log is gone."""


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes go to the log as they are."""

    def __init__(self, log: ProcessLog, fileno: int) -> None:
        self._log = log
        self._fileno = fileno

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._log.write(raw)
        return len(raw)

    def fileno(self) -> int:
        return self._fileno

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to close."""


# Made once, in the zygote, for all forks: making these in the child costs it 40 pages.
_formatter: Final = logging.Formatter(LINE_FORMAT)
_own_handler: Final = logging.StreamHandler()
_own_handler.setFormatter(_formatter)
_own_handler.addFilter(BurstFilter(_own_handler.emit))


def install(log: ProcessLog) -> None:
    """Make prints, warnings and logging of this process go to the log, also through handlers made before the fork."""
    old = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    stdout, stderr = LogStream(log, 1), LogStream(log, 2)
    sys.stdout, sys.stderr = stdout, stderr
    sys.__stdout__, sys.__stderr__ = stdout, stderr  # type: ignore[misc,assignment]
    for reference in tuple(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if isinstance(handler, logging.StreamHandler) and handler.stream in old:
            handler.stream = stderr
    # Not a handler on the root logger: with one there, the user's own logging.basicConfig would do nothing.
    if logging.lastResort is not None:
        logging.lastResort.formatter = _formatter
    # The package's own logger has a NullHandler, as a library's should: with that, lastResort is never asked.
    _own_handler.stream = stderr  # type: ignore[assignment]
    own = logging.getLogger("dspex_runtime")
    own.handlers[:] = [_own_handler]
    own.propagate = False
