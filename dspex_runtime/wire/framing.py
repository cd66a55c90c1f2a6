"""Frames: a length, then that many bytes. Owns the header and the size limit; never does I/O, never looks inside a body.

    offset 0            4
           length i32   body[length]        big-endian, `multiprocess` Connection's own short header

Usable alone: feed a FrameReader from any transport, blocking or not. Its memory is bounded by what was really
received: an announced length reserves nothing.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from dspex_runtime.errors import ProtocolError, UnserialisableError

__all__ = ["HEADER", "MAX_FRAME_BYTES", "FrameReader", "frame"]

HEADER: Final = Struct("!i")
MAX_FRAME_BYTES: Final = 64 * 2**20  # bounds what a peer can make us hold; larger values belong in shared memory

_pack_header = HEADER.pack
_unpack_header = HEADER.unpack_from
_HEADER_BYTES: Final = HEADER.size


def frame(body: bytes) -> bytes:
    """Return header and body joined, ready for one send.

    Raises:
        UnserialisableError: The body is larger than MAX_FRAME_BYTES.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise UnserialisableError(
            f"a message of {len(body)} bytes does not fit a frame of at most {MAX_FRAME_BYTES} bytes",
            hint="send it in parts (a stream), or as the name of a file",
        )
    return _pack_header(len(body)) + body


class FrameReader:
    """Turns received bytes into bodies, however they were split. Not thread-safe.

    After a ProtocolError the position in the stream is lost: every further `next` raises it again, close the transport.
    """

    __slots__ = ("_body", "_chunk", "_missing_bytes", "_position")

    def __init__(self) -> None:
        self._chunk = b""  # received; from _position on not yet returned. Under 4 bytes remain once `next` said None
        self._position = 0
        self._body: bytearray | None = None  # start of a body whose rest has not come yet
        self._missing_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take over received bytes; call `next` until it returns None before feeding again."""
        self._chunk = self._chunk[self._position :] + data if self._position < len(self._chunk) else data
        self._position = 0

    def next(self) -> bytes | None:
        """Return the next complete body, or None when more bytes are needed.

        Raises:
            ProtocolError: The header announces a negative length or more than MAX_FRAME_BYTES.

        Cost: one copy of the body, two when it came in several pieces.
        """
        if self._body is not None:
            return self._continue_body(self._body)
        chunk, start = self._chunk, self._position + _HEADER_BYTES
        if start > len(chunk):
            return None
        length: int = _unpack_header(chunk, self._position)[0]
        if not 0 <= length <= MAX_FRAME_BYTES:
            raise ProtocolError(
                f"a frame header announces {length} bytes; allowed are 0 to {MAX_FRAME_BYTES} (is the peer speaking this protocol?)"
            )
        end = start + length
        if end <= len(chunk):
            self._position = end
            return chunk[start:end]
        # The rest is collected in a growing buffer: joining chunk by chunk would copy a large frame once per chunk.
        self._body = bytearray(chunk[start:])
        self._missing_bytes = end - len(chunk)
        self._chunk, self._position = b"", 0
        return None

    def feed_or_take(self, data: bytes) -> bytes | None:
        """Return the body if data is exactly one frame and nothing came before it; else feed it and return None.

        Cost: 0.15 us, for the usual case; `feed` and `next` take twice that.
        """
        size = len(data) - _HEADER_BYTES
        if (
            0 <= size <= MAX_FRAME_BYTES
            and self._body is None
            and self._position == len(self._chunk)
            and size == _unpack_header(data)[0]
        ):
            return data[_HEADER_BYTES:]
        self.feed(data)
        return None

    def _continue_body(self, body: bytearray) -> bytes | None:
        taken = self._chunk[self._position : self._position + self._missing_bytes]
        self._position += len(taken)
        self._missing_bytes -= len(taken)
        body += taken
        if self._missing_bytes:
            return None
        self._body = None
        return bytes(body)

    @property
    def unread(self) -> bytes:
        """Those bytes, headers included: fed to another reader they are to that what they are to this one."""
        rest = self._chunk[self._position :]
        if self._body is None:
            return rest
        return _pack_header(len(self._body) + self._missing_bytes) + bytes(self._body) + rest

    @property
    def pending_bytes(self) -> int:
        """Bytes received that were not yet returned as part of a body (0: the stream may end here)."""
        if self._body is not None:
            # An empty partial body still has its header behind it, so it never counts as nothing.
            return _HEADER_BYTES + len(self._body) + len(self._chunk) - self._position
        return len(self._chunk) - self._position
