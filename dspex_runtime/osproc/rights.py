"""Descriptors that travel with bytes over a Unix socket. Owns none: whoever received them closes them.

Source: unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final

from dspex_runtime.errors import ProtocolError

__all__ = ["MAX_FDS", "close_all", "receive_with_fds", "rights"]

MAX_FDS: Final = 253  # SCM_MAX_FD: more in one message is EINVAL
_MAX_WAITING_FDS: Final = 1024  # a peer that sends some nobody takes must not use up ours
_INT_BYTES: Final = array("i").itemsize
_FD_SPACE_BYTES: Final = socket.CMSG_SPACE(MAX_FDS * _INT_BYTES)


def rights(fds: Sequence[int]) -> list[tuple[int, int, array[int]]]:
    """Return what sendmsg needs to send duplicates of descriptors along."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))]


def receive_with_fds(sock: socket.socket, fds: deque[int], size: int, flags: int) -> bytes:
    """Receive bytes as recv(2), and append the descriptors that came with them: close-on-exec, and the caller's to close.

    Raises:
        OSError: Some were lost to this process's limit of open files; those that came are closed.
        ProtocolError: More came than anybody asked for; they are closed.
    """
    data, ancillary, message_flags, _ = sock.recvmsg(size, _FD_SPACE_BYTES, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, sent in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(array("i", sent[: len(sent) - len(sent) % _INT_BYTES]))
    if message_flags & socket.MSG_CTRUNC:
        close_all(fds)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise OSError(errno.EMFILE, f"descriptors sent to us were lost: at most {limit} files may be open here (ulimit -n)")
    if len(fds) > _MAX_WAITING_FDS:
        close_all(fds)
        raise ProtocolError(f"more than {_MAX_WAITING_FDS} descriptors came that no message asked for")
    return data


def close_all(fds: deque[int]) -> None:
    """Close descriptors, each once."""
    while fds:
        os.close(fds.popleft())
