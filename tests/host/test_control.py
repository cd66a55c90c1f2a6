from __future__ import annotations
from typing import Any
import os, signal
import pytest
import dspex_runtime.host.behaviours as dx
from dspex_runtime.wire import messages as m
pytestmark = pytest.mark.process

class Desk(dx.GenServer):
    def init(self) -> Any:
        return None

def test_x(fork: Any) -> None:
    process = fork()
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    process.assign(Desk)
    process.control.send([m.CONTROL, 900, "ping", {}])
    os.kill(process.pid, signal.SIGCONT)
    assert process.recv()[0] == m.READY
    assert process.recv()[:2] == [m.REPLY, 900]
