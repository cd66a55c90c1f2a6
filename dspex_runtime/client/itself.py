"""A module as its own client: what it sends to itself does not leave it, what could never be answered is refused at once.

The latter is OTP's `calling_self`.
"""

from __future__ import annotations

import os
from threading import get_ident, main_thread
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import CallError
from dspex_runtime.host.context import Process
from dspex_runtime.wire.messages import CAST

if TYPE_CHECKING:
    from dspex_runtime.client.channel_pool import ChannelPool


def is_itself(socket_path: str, id: str) -> bool:
    """Return whether an address is that of the module this process is."""
    own = Process.assignment
    return own is not None and own.id == id and own.socket == socket_path


def own_kind(socket_path: str, id: str) -> str | None:
    """Return what this process is, where the address is its own; the runtime knows it only when it is ready."""
    if not is_itself(socket_path, id):
        return None
    return "server" if Process.server is not None else "module"


def refuse_itself(id: str) -> None:
    """Raise where the thread that would have to answer is the one that asks. Only asked of one's own address.

    Callbacks of a server, and calls of a module with one call thread, run on the main thread; before READY nothing answers.
    Another thread of the process may well call.

    Raises:
        CallError: `code` is "calling_self".
    """
    own = Process.assignment
    if own is None or get_ident() != main_thread().ident:
        return
    if Process.loop is None or Process.server is not None or own.launch.concurrency == 1:
        error = CallError(f"{id!r} called itself: it cannot answer while it waits for the answer", id=id)
        error.code = "calling_self"
        raise error


def sent_to_itself(pool: ChannelPool, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Put a message to oneself into the own mailbox; False where this is a process that user code forked from the module.

    Only asked of one's own address. In `init` it waits there until init has returned. The values are copies, as all others are.

    Raises:
        UnserialisableError: A value cannot be sent.
    """
    mail = Process.mail
    if mail is None or os.getpid() != Process.pid:
        return False
    mail.put(pool.client, *pool.codec.unpack(pool.codec.pack([CAST, 0, method, [*args], kwargs]))[2:])
    return True
