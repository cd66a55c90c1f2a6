"""Values that are too large for the table: one sealed memfd per name and version, which nobody can change any more.

    0        8         16            24             32      64      64 + aligned(data)
    MAGIC    LAYOUT    data bytes    annex bytes    free    data    annex                 words as in layout

Whoever maps one may keep views of it as long as it likes: its bytes stay, whatever is set later and whoever dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from struct import Struct
from typing import Final

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.layout import LAYOUT_VERSION, UNIT, aligned

__all__ = ["Blob"]

_MAGIC: Final = int.from_bytes(b"dspexblb", "little")
_HEAD: Final = Struct("=QQQQ32x")
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_PADDING: Final = bytes(UNIT)


class Blob:
    """A blob that was just made. Who makes it closes it; copies of the descriptor live on.

    Attributes:
        fd: The sealed memfd.
        size: Bytes of the file.
        data_bytes: Bytes of the value in it.
        inode: What tells this memfd from every other one.
    """

    __slots__ = ("data_bytes", "fd", "inode", "size")

    def __init__(self, fd: int, data_bytes: int) -> None:
        self.fd = fd
        self.data_bytes = data_bytes
        stat = os.fstat(fd)
        self.size = stat.st_size
        self.inode = stat.st_ino

    @classmethod
    def create(cls, data: bytes | memoryview, annex: bytes = b"") -> Blob:
        """Return a new blob of these bytes.

        Raises:
            OSError: No memory or no descriptor is left.
        """
        flat = memoryview(data).cast("B")
        head = _HEAD.pack(_MAGIC, LAYOUT_VERSION, len(flat), len(annex))
        gap = _PADDING[: aligned(len(flat)) - len(flat)]
        fd = os.memfd_create("dspex-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            for part in (head, flat, gap, annex):
                _write_all(fd, part)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, len(flat))

    @staticmethod
    def map(fd: int) -> tuple[memoryview, bytes]:
        """Return data (shown without a copy, read-only, valid for ever) and annex of a blob. The descriptor stays the caller's.

        Raises:
            ParameterError: It is no blob, is not sealed, or is cut short.
        """
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as exc:
            raise ParameterError(f"this is no parameter value: {exc}") from exc
        size = os.fstat(fd).st_size
        if seals & _SEALS != _SEALS:
            raise ParameterError(f"this is no parameter value: seals {seals:#x}, expected {_SEALS:#x}")
        if size < _HEAD.size:
            raise ParameterError(f"this is no parameter value: {size} bytes")
        whole = memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ))
        magic, layout, data_bytes, annex_bytes = _HEAD.unpack_from(whole)
        annex_at = _HEAD.size + aligned(data_bytes)
        if (magic, layout) != (_MAGIC, LAYOUT_VERSION) or annex_at + annex_bytes != size:
            raise ParameterError(f"this is no parameter value of layout {LAYOUT_VERSION}: {size} bytes, layout {layout}")
        return whole[_HEAD.size : _HEAD.size + data_bytes], bytes(whole[annex_at:])

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1  # an interrupt in between must not have another close the same number
            os.close(fd)


def _write_all(fd: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:  # one write(2) takes 2 GB at most
        left = left[os.write(fd, left) :]
