"""From a forked spare to a serving module: wait for the assignment, become it, say READY, serve, end.

Runs on the main thread, where user code is imported and built. Imports nothing of ours after the fork: the zygote has
loaded this package (and dspy with `modules`, where it is preloaded), so that a fork shares it.
"""

from __future__ import annotations

import _thread
import atexit
import select
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import ProtocolError
from dspex_runtime.host import building, context, sources, targets, template
from dspex_runtime.host.assignment import Assignment, from_message
from dspex_runtime.host.causes import fault_reason
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.control import Control
from dspex_runtime.host.dependencies import check
from dspex_runtime.host.ending import Ending
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.logs import ProcessLog, install
from dspex_runtime.host.os_signals import ignore_interrupts, stop_on_sigterm
from dspex_runtime.host.own_mail import OwnMail
from dspex_runtime.host.param_service import ParamService
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.host.prefault import rehearse_in_zygote, warm_up
from dspex_runtime.host.server_cells import cells_of as cells_of  # here, so that a fork shares it
from dspex_runtime.host.server_loop import ServerLoop
from dspex_runtime.host.shared import SharedParameters
from dspex_runtime.host.start_failure import start_failed
from dspex_runtime.host.template import Built
from dspex_runtime.host.uplink import Uplink
from dspex_runtime.osproc.board import Board, Slot
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.params.parameter import read_shared_with
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault

if TYPE_CHECKING:  # the zygote imports it last, see `zygote_loop`
    from dspex_runtime.osproc.forker import Forker


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


def main(control_fd: int, board: Board, warmth: int, forker: Forker, built: Built | None = None) -> int:
    """Be a module process; return its exit status.

    Args:
        control_fd: Our end of the control socketpair; owned from here on.
        board: Where to stamp; the slot comes with the assignment.
        warmth: A `Warmth`: what to rehearse while nobody waits.
        forker: That made it: a template forks on.
        built: What its template has built.
    """
    if built is None:
        atexit._clear()  # what the zygote's imports registered belongs to the zygote
        ignore_interrupts()
    codec = _inherited.codec
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control_fd)
    control = FdChannel(sock, codec)
    warm_up(control.fileno(), codec, Warmth(warmth), None if built is None else built.hosted)
    try:
        message = control.recv()
    except (EOFError, OSError):
        return 0  # never needed
    started = time.monotonic()
    if built is None and (spec := template.told_to_be(message)) is not None:
        return template.serve(spec, sock, control, codec, forker, main)
    try:
        assignment = from_message(message)
    except ProtocolError as exc:
        control.send([m.FAULT, 0, to_fault(exc, id=None, incarnation=None, codec=codec)])
        return 1
    return _become(assignment, control, board, codec, started, built)


def _become(assignment: Assignment, control: FdChannel, board: Board, codec: Codec, started: float, built: Built | None) -> int:
    logs = _open_log(assignment, control)
    stale = built is not None and built.is_stale()
    if built is None:
        building.settle_in(assignment.launch, assignment.cwd)
    elif stale:
        _forget_built(assignment)
    building.settle_again(assignment)
    context.Process.parent = uplink = Uplink(control, codec)
    context.Process.mail = mail = OwnMail()
    parameters = Parameters(assignment, control, codec)
    if assignment.launch.shared:
        read_shared_with(SharedParameters(codec).read)
    try:
        hosted = _build(assignment, codec, parameters, uplink, None if built is None or stale else built.hosted)
        if hosted is None:
            control.send([m.READY, 0, {"ignore": True}])
            return 0
    except BaseException as exc:
        return start_failed(exc, assignment, control, codec)
    control.send([m.READY, 0, {**_facts(hosted, started), **({"stale": True} if stale else {})}])
    # The rest is not on the way to READY. What comes meanwhile waits in the control socket.
    epoll = select.epoll()
    ending = Ending(control)
    service = Control(control, epoll, assignment, codec, ending, logs, uplink, parameters)
    loop = _loop(hosted, assignment, DataChannels(epoll), board.slot(assignment.slot), codec, service, ending)
    _serve_parameters(loop, hosted, assignment, parameters, service)
    if assignment.dependencies:
        loop.depend(assignment.dependencies)
    ending.hosted, ending.loop, ending.closing = hosted, loop, service.close
    context.Process.loop = loop
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


def _forget_built(assignment: Assignment) -> None:
    """Drop what the template has built: a file of it has changed since."""
    atexit._clear()  # what it registered is registered again
    sources.prepare(assignment.launch.sources)


def _build(assignment: Assignment, codec: Codec, parameters: Parameters, uplink: Uplink, built: Hosted | None) -> Hosted | None:
    """Find, build and initialise what is to be hosted, with what is kept for it; None when it chose to be ignored.

    What a template has `built` is initialised only.
    """
    launch = assignment.launch
    hosted = building.host(targets.find(launch), launch, codec) if built is None else built
    check(hosted, assignment.dependencies, assignment.id)
    context.Process.server = hosted if isinstance(hosted, ServerHost) else None
    args, kwargs = targets.arguments(launch)
    if built is None:
        hosted.build(args, kwargs)
    parameters.adopt(hosted, uplink)
    if assignment.rehearsal and isinstance(hosted, ServerHost) and not hosted.keeps_user_state:
        hosted.check_start(args, kwargs)  # its state comes from the process whose place it takes
    elif not hosted.start(args, kwargs):
        return None
    parameters.adopt_what_setup_added(hosted, uplink)
    parameters.give_user_state()
    parameters.give_rest()
    return hosted


def _loop(
    hosted: Hosted, assignment: Assignment, channels: DataChannels, slot: Slot, codec: Codec, service: Control, ending: Ending
) -> ServerLoop:
    """Make the loop that is to run on this thread; it tells the control thread and the end what concerns them."""
    return ServerLoop(
        hosted,
        assignment.launch,
        channels,
        slot,
        codec,
        id=assignment.id,
        incarnation=assignment.incarnation,
        on_max_calls=lambda n: service.event({"type": "max_calls", "calls": n}),
        on_idle=service.wake,
        on_end=ending.exit,
        base=assignment.base,
    )


def _serve_parameters(loop: ServerLoop, hosted: Hosted, assignment: Assignment, parameters: Parameters, service: Control) -> None:
    """Have calls read and write what the parameters hold, and what a call changed published before it is answered."""
    loop.calls.make_service = lambda: ParamService(
        assignment.id, parameters.owner, assignment.launch.durability, loop.calls, getattr(hosted, "mirrored", None)
    )
    if parameters.watches_calls:
        loop.calls.before_reply = parameters.after_call
    parameters.attach(service.wake)


def _facts(hosted: Hosted, started: float) -> dict[str, Any]:
    return {
        "kind": str(hosted.kind),
        "version": hosted.version,
        "methods": {"idempotent": hosted.idempotent_methods(), **hosted.call_facts()},
        "outgrew": not _inherited.has_dspy and ("dspy" in sys.modules or "numpy" in sys.modules),  # forked from where they are next
        "files": sources.loaded(),
        "main": f"thread {_thread.get_ident()}",  # as `names.this_thread` has it: what callbacks lock goes along in a swap
        "seconds": time.monotonic() - started,
    }


def _log_full(control: FdChannel, text: str) -> None:
    try:
        control.send([m.EVENT, 0, {"type": "log_full", "message": text}])
    except OSError:
        pass  # the parent is gone
