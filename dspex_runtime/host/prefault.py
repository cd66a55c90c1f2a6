"""The rehearsal: the start of a module and a call, with nothing at stake, while nobody waits.

In the zygote, several times before it forks: what the first runs of code leave (specialised bytecode, filled caches, names
looked up) is then done and shared. In a spare, once: every page that becoming a module will write is the zygote's until it is
copied at its first write, 3 us each; a rehearsal makes the copies beforehand. It leaves nothing behind, and in a spare it stops
between two steps when the assignment is there.
"""

from __future__ import annotations

import _thread
import logging
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec, Limits
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import ProtocolError
from dspex_runtime.host import sources, targets
from dspex_runtime.host.assignment import from_message
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.context import current_request
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.logs import ProcessLog, install
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.server_loop import ServerLoop
from dspex_runtime.host.uplink import Uplink
from dspex_runtime.osproc import user_code
from dspex_runtime.osproc.board import SLOT_BYTES, Slot
from dspex_runtime.osproc.channel import Channel, FdChannel
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.state.protocol import KEPT
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

UNDERSTUDY: Final = os.path.join(os.path.dirname(__file__), "understudy.py")
_NOTHING_KEPT: Final[dict[str, Any]] = {"kept": False, "journal": "", "base": {}}
_LAUNCH: Final = LaunchSpec(Kind.SERVER, target=f"{UNDERSTUDY}:Understudy")


def _assignment_as_sent() -> bytes:
    own = {"id": "", "incarnation": 0, "runtime": "", "socket": "", "slot": 0, "cwd": "/"}
    spec: dict[str, Any] = {**own, **_NOTHING_KEPT, "log": "", "log_max_bytes": 0, "log_keep": 0, "launch": to_map(_LAUNCH)}
    return Codec().pack([m.CONTROL, 0, "assign", spec])


_ASSIGNMENT: Final = _assignment_as_sent()  # packed in the zygote: packing is the parent's part and no pages of ours


def warm_up(control_fd: int, codec: Codec, warmth: Warmth, built: Hosted | None = None) -> None:
    """Run the code paths of a start and of a call once.

    Args:
        control_fd: Readable as soon as the assignment is there; then nothing more is rehearsed.
        codec: Of this process.
        warmth: What to rehearse.
        built: What its template has built: its parameters are looked up.
    """
    if warmth is Warmth.COLD:
        return
    waiting = select.poll()
    waiting.register(control_fd, select.POLLIN)
    steps = _steps(codec, modules=warmth is Warmth.MODULE)
    steps.insert(1, _thread_start)
    if built is not None:
        steps += _steps_of(built)
    for step in steps:
        if waiting.poll(0):
            return
        step()


def rehearse_in_zygote(codec: Codec) -> None:
    """Run them once, all but the start of a thread, which no fork survives; and a question to an LM.

    That imports and fills what each process would at its first question. In a spare it would take 1.5 MB of pages, which a
    module that asks none never needs.
    """
    for step in _steps(codec, modules=True):
        step()
    if "dspy" in sys.modules:
        from dspex_runtime.modules import rehearsal

        rehearsal.ask()


def _steps(codec: Codec, *, modules: bool) -> list[Callable[[], None]]:
    steps: list[Callable[[], None]] = [lambda: _assignment(codec), lambda: _server(codec)]
    if modules and "dspy" in sys.modules:
        from dspex_runtime.modules import rehearsal

        steps.append(rehearsal.build_and_call)
    return steps


def _steps_of(built: Hosted) -> list[Callable[[], None]]:
    if built.kind is Kind.SERVER:
        return []
    from dspex_runtime.modules import rehearsal

    def look_up() -> None:
        built.parameters()

    return [rehearsal.build_and_adopt, look_up]


def _assignment(codec: Codec) -> None:
    assignment = from_message(codec.unpack(_ASSIGNMENT))
    assignment.environment()
    os.environ.update(islice(os.environ.items(), 1))  # a variable, as it is
    log = ProcessLog(os.devnull, max_bytes=assignment.log_max_bytes, keep=assignment.log_keep, on_full=lambda _: None)
    with _streams_restored():
        install(log)


@contextmanager
def _streams_restored() -> Iterator[None]:
    """Put back what `install` changes, but for our own logger: every process of ours sets that alike."""
    streams = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    handlers = [(h, h.stream) for ref in tuple(logging._handlerList) if isinstance(h := ref(), logging.StreamHandler)]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]
        for handler, stream in handlers:
            if handler.stream is not stream:
                handler.stream = stream


def _thread_start() -> None:
    started = _thread.allocate_lock()
    started.acquire()
    _thread.start_new_thread(started.release, ())
    started.acquire()


def _server(codec: Codec) -> None:
    path = list(sys.path)
    if user_code.is_installed():
        sources.prepare({})
    found = targets.find(_LAUNCH)
    server = ServerHost(found())
    server.build((), {})
    adopt(server, codec)
    server.start((), {})
    serve(server, codec, m.plain_call("$call", ["x"], {}))
    sys.path[:] = path
    del sys.modules[found.__module__]
    sources.forget(found.__module__)


def adopt(hosted: Hosted, codec: Codec) -> None:
    """Give what was built its parameters twice: those of a first start, and then what such a one has kept for the next."""
    theirs, ours = socket.socketpair()
    assignment = from_message(codec.unpack(_ASSIGNMENT))
    with FdChannel(ours, codec) as control, FdChannel(theirs, codec) as parent:
        first, second = Parameters(assignment, control, codec), Parameters(replace(assignment, kept=True), control, codec)
        first.adopt(hosted, Uplink(control, codec))
        parent.recv()  # it offers its table
        table_fd = parent.take_fd()
        first.close()
        parent.send([m.CONTROL, 0, KEPT, {"table": True}], fds=[table_fd])
        os.close(table_fd)
        second.adopt(hosted, Uplink(control, codec))
        second.close()


def serve(hosted: Hosted, codec: Codec, call: list[Any]) -> None:
    """Serve one call on this thread, through a loop and a channel like any.

    Raises:
        ProtocolError: It was not taken.
    """
    ours, theirs = socket.socketpair()
    control = select.epoll()
    channels = DataChannels(control)
    loop = ServerLoop(
        hosted,
        LaunchSpec(hosted.kind, limits=Limits(max_calls=1)),
        channels,
        Slot(memoryview(bytearray(SLOT_BYTES)).cast("Q")),
        codec,
        id="",
        incarnation=0,
        on_max_calls=lambda _: None,
        on_idle=lambda: None,
        on_end=lambda _reason, _owed: None,
    )
    loop.add_channel(Peer(Channel(theirs, codec)))
    client = Channel(ours, codec)
    client.send_many([[m.HELLO, 0, {"protocol": list(m.PROTOCOL), "mux": False, "client": ""}], call])
    try:
        with loop.lock:
            loop.read()
            if not loop.mailbox:  # there would be nothing to do, for ever
                raise ProtocolError("the call of the rehearsal was refused: it is no CALL of this protocol")
        loop.run()
        current_request.set(None)
        client.recv()
    finally:
        client.close()
        channels.close()
        control.close()
