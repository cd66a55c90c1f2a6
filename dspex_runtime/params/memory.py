"""A table's memfd as memory: mapping it, and mapping it again when it has grown. Never interprets what is in there.

An old mapping goes when its last user drops it: threads that read through it meanwhile are not disturbed, since both
show the same pages. The file never shrinks (it is sealed), so a mapping never loses what it shows.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from dspex_runtime.errors import ParameterError

__all__ = ["Memory", "read_only"]


class Memory:
    """A mapped table. `words` and `bytes` show the same memory; take each once, then use that one.

    Args:
        fd: The memfd; taken over, also when this raises.
        writable: Whether `words` and `bytes` can be stored to.
    """

    __slots__ = ("_access", "bytes", "fd", "words")

    def __init__(self, fd: int, *, writable: bool) -> None:
        self.fd = fd
        self._access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        try:
            if not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise ParameterError("this is no parameter table: its memory is not sealed against shrinking")
            self.remap()
        except OSError as exc:
            self.close()
            raise ParameterError(f"this is no parameter table: {exc}") from exc
        except BaseException:
            self.close()
            raise

    def remap(self) -> None:
        """Map what the file is by now."""
        size = os.fstat(self.fd).st_size // 8 * 8
        if size == 0:
            raise ParameterError("this is no parameter table: it is empty")
        view = memoryview(mmap.mmap(self.fd, size, access=self._access))
        self.bytes: memoryview[int] = view
        self.words: memoryview[int] = view.cast("Q")

    def grow(self, size: int) -> None:
        """Make the file at least `size` bytes long and map it."""
        if os.fstat(self.fd).st_size < size:
            os.ftruncate(self.fd, size)
        self.remap()

    def close(self) -> None:
        """Let go of the memory. Idempotent; who still reads from it keeps it."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1  # an interrupt in between must not have another close the same number
            os.close(fd)
        self.bytes = _NOTHING
        self.words = _NOTHING.cast("Q")


_NOTHING: memoryview[int] = memoryview(b"")


def read_only(fd: int) -> int:
    """Return a descriptor of the same memfd that cannot write: what is given to readers."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
