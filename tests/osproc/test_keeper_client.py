"""Starting a keeper process; what it does then is tests/state/test_keeper.py's."""

from __future__ import annotations

import os
import socket
import time

import pytest

from dspex_runtime.osproc import lifeline
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.keeper_client import KeeperProcess
from dspex_runtime.wire.codec import Codec

pytestmark = pytest.mark.process


def test_it_serves_in_a_session_of_its_own_with_nothing_open_but_what_it_needs() -> None:
    read_fd, write_fd = lifeline.create()
    keeper = KeeperProcess.spawn(read_fd)
    channel = FdChannel(keeper.sock, Codec())
    channel.send([1, "figures", {}])
    number, word, figures, _ = channel.recv(time.monotonic() + 20)
    assert (number, word, figures["ids"]) == (1, "ok", 0)
    assert os.getsid(keeper.pid) == keeper.pid
    targets = [os.readlink(f"/proc/{keeper.pid}/fd/{fd}").partition(":")[0] for fd in os.listdir(f"/proc/{keeper.pid}/fd")]
    assert targets.count("socket") == 1
    keeper.end()
    keeper.end()
    channel.close()
    for fd in (read_fd, write_fd):
        os.close(fd)


def test_one_that_cannot_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> int:
        raise OSError("no process to be had")

    monkeypatch.setattr(os, "posix_spawn", fails)
    ours, theirs = socket.socketpair()
    with pytest.raises(OSError, match="no process to be had"):
        KeeperProcess.spawn(ours.fileno())
    ours.close()
    theirs.close()
