"""From a forked spare to a serving module: wait for the assignment, become it, say READY, serve, end.

Runs on the main thread, where user code is imported and built. Imports nothing of ours after the fork: the zygote has
loaded this package (and dspy with `modules`, where it is preloaded), so that a fork shares it.
"""

from __future__ import annotations

import _thread
import atexit
import socket
import sys
import time
from typing import Any

from dspex_runtime.errors import ProtocolError
from dspex_runtime.host import becoming, context
from dspex_runtime.host.assignment import Assignment, from_message
from dspex_runtime.host.causes import fault_reason
from dspex_runtime.host.logs import ProcessLog, install
from dspex_runtime.host.os_signals import ignore_interrupts, stop_on_sigterm
from dspex_runtime.host.own_mail import OwnMail
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.host.prefault import rehearse_in_zygote, warm_up
from dspex_runtime.host.server_cells import cells_of as cells_of  # here, so that a fork shares it
from dspex_runtime.host.shared import SharedParameters
from dspex_runtime.host.start_failure import start_failed
from dspex_runtime.host.uplink import Uplink
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.params.parameter import read_shared_with
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault


class _Inherited:
    """What every fork needs and the zygote can make for all: made in a child it costs 150 page faults, 0.5 ms and 0.6 MB."""

    def __init__(self) -> None:
        self.codec = Codec(pickle=True)
        self.codec.unpack(self.codec.pack([0, {}]))  # the first use makes a packer
        self.has_dspy = "dspy" in sys.modules
        # A user's file asks for `dx.GenServer`: the package, which no layer imports, looks a name up once and keeps it.
        package: Any = sys.modules["dspex_runtime"]
        for name, home in package._HOME_OF.items():
            if f"dspex_runtime.{home}" in sys.modules:
                getattr(package, name)


_inherited = _Inherited()


def rehearse() -> None:
    """Do in the zygote, for all forks, what each of them will do."""
    rehearse_in_zygote(_inherited.codec)


def main(control_fd: int, board: Board, warmth: int) -> int:
    """Be a module process; return its exit status.

    Args:
        control_fd: Our end of the control socketpair; owned from here on.
        board: Where to stamp; the slot comes with the assignment.
        warmth: A `Warmth`: what to rehearse while nobody waits.
    """
    atexit._clear()  # what the zygote's imports registered belongs to the zygote
    codec = _inherited.codec
    control = FdChannel(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control_fd), codec)
    ignore_interrupts()
    warm_up(control.fileno(), codec, Warmth(warmth))
    try:
        message = control.recv()
    except (EOFError, OSError):
        return 0  # never needed
    started = time.monotonic()
    try:
        assignment = from_message(message)
    except ProtocolError as exc:
        control.send([m.FAULT, 0, to_fault(exc, id=None, incarnation=None, codec=codec)])
        return 1
    return _become(assignment, control, board, codec, started)


def _become(assignment: Assignment, control: FdChannel, board: Board, codec: Codec, started: float) -> int:
    logs = _open_log(assignment, control)
    becoming.settle_in(assignment)
    context.Process.parent = uplink = Uplink(control, codec)
    context.Process.mail = mail = OwnMail()
    parameters = Parameters(assignment, control, codec)
    if assignment.launch.shared:
        read_shared_with(SharedParameters(codec).read)
    try:
        hosted = becoming.build(assignment, codec, parameters, uplink)
        if hosted is None:
            control.send([m.READY, 0, {"ignore": True}])
            return 0
    except BaseException as exc:
        return start_failed(exc, assignment, control, codec)
    control.send([m.READY, 0, becoming.facts(hosted, started, had_dspy=_inherited.has_dspy)])
    # The rest is not on the way to READY. What comes meanwhile waits in the control socket.
    slot = board.slot(assignment.slot)
    loop, service, ending = becoming.open_for_calls(hosted, assignment, control, codec, slot, logs, uplink, parameters)
    if assignment.rehearsal:
        loop.rehearse()  # what `init` has sent waits, too
    else:
        mail.hand_to(loop)
    if assignment.launch.trap_exit:
        stop_on_sigterm(service.on_sigterm)
        loop.channels.wake_on_signals()
    # Not threading.Thread: its start waits for the new thread to run, 0.3 ms and 30 pages more.
    _thread.start_new_thread(service.serve, (loop, hosted))
    try:
        reason, owed = loop.run()
    except BaseException as exc:  # ours: whatever user code raises was caught where it was called
        reason, owed = fault_reason(loop.calls.fault(exc)), None
    return ending.finish(reason, owed)


def _open_log(assignment: Assignment, control: FdChannel) -> ProcessLog:
    """Have all that is printed and logged from here on go to this process's own file."""
    logs = ProcessLog(
        assignment.log,
        max_bytes=assignment.log_max_bytes,
        keep=assignment.log_keep,
        on_full=lambda text: _log_full(control, text),
    )
    logs.open()
    install(logs)
    return logs


def _log_full(control: FdChannel, text: str) -> None:
    try:
        control.send([m.EVENT, 0, {"type": "log_full", "message": text}])
    except OSError:
        pass  # the parent is gone
