"""What a test's module processes run: whatever source the test sends over the control pipe, ended by a zero byte."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

from dspex_runtime.osproc import template
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.forker import Forker
from dspex_runtime.wire.codec import Codec


def main(control_fd: int, board: Board, warmth: int, forker: Forker) -> int:
    """Execute sources until the control pipe ends; the status is what one of them sets as `status`, else 0."""

    def reply(value: Any) -> None:
        os.write(control_fd, json.dumps(value).encode() + b"\0")

    def become_template() -> int:
        sock = socket.socket(fileno=control_fd)
        channel = FdChannel(sock, Codec())
        return template.serve(sock, channel, forker, main, keep_fds=(), facts={})

    names: dict[str, Any] = {
        "become_template": become_template,
        "control_fd": control_fd,
        "board": board,
        "warmth": warmth,
        "reply": reply,
        "os": os,
        "status": None,
    }
    buffered = b""
    while names["status"] is None:
        data = os.read(control_fd, 65536)
        if not data:
            return 0
        *sources, buffered = (buffered + data).split(b"\0")
        for source in sources:
            exec(source.decode(), names)
    return int(names["status"])


rehearsals: list[int] = []


def rehearse() -> None:
    """Leave a trace that children find."""
    rehearsals.append(os.getpid())


def fail_to_rehearse() -> None:
    """Fail as a broken installation would."""
    raise RuntimeError("no rehearsal today")


def rehearse_with_a_thread() -> None:
    """Leave a thread behind."""
    threading.Thread(target=threading.Event().wait, daemon=True, name="understudy").start()
