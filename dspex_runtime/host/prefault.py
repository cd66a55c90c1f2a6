"""The rehearsal: the start of a module and a call, with nothing at stake, while nobody waits.

In the zygote, several times before it forks: what the first runs of code leave (specialised bytecode, filled caches, names
looked up) is then done and shared. In a spare, once: every page that becoming a module will write is the zygote's until it is
copied at its first write, 2 to 3 us each; a rehearsal makes the copies beforehand. It takes the steps of a start itself
(`becoming`), with a parent and a client played by this process. It leaves nothing behind, and in a spare it stops between two
steps when the assignment is there.
"""

from __future__ import annotations

import _thread
import gc
import logging
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec, Limits
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import ProtocolError
from dspex_runtime.host import becoming, context, sources
from dspex_runtime.host.assignment import Assignment, from_message
from dspex_runtime.host.context import current_request
from dspex_runtime.host.control import Control
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
ONE_CALL: Final = Limits(max_calls=1)  # then its loop ends
_NOTHING_KEPT: Final[dict[str, Any]] = {"kept": False, "journal": "", "base": {}}
_BY_FILE: Final = LaunchSpec(Kind.SERVER, target=f"{UNDERSTUDY}:Understudy", limits=ONE_CALL)
_BY_NAME: Final = replace(_BY_FILE, target="understudy:Understudy")


def _assignment_as_sent() -> bytes:
    own = {"id": "", "incarnation": 0, "runtime": "", "socket": "", "slot": 0, "cwd": "/"}
    spec: dict[str, Any] = {**own, **_NOTHING_KEPT, "log": "", "log_max_bytes": 0, "log_keep": 0, "launch": to_map(_BY_FILE)}
    return Codec().pack([m.CONTROL, 0, "assign", spec])


_ASSIGNMENT: Final = _assignment_as_sent()  # packed in the zygote: packing is the parent's part and no pages of ours


def warm_up(control_fd: int, codec: Codec, warmth: Warmth) -> None:
    """Run the code paths of a start and of a call once.

    Args:
        control_fd: Readable as soon as the assignment is there; then nothing more is rehearsed.
        codec: Of this process.
        warmth: What to rehearse.
    """
    if warmth is Warmth.COLD:
        return
    waiting = select.poll()
    waiting.register(control_fd, select.POLLIN)
    for step in _steps(codec, modules=warmth is Warmth.MODULE, threads=True):
        if waiting.poll(0):
            return
        step()
        gc.collect()  # in circles by now: what the next start makes is to lie where this lay, whose pages are copied


def rehearse_in_zygote(codec: Codec) -> None:
    """Run them once, all but the start of a thread, which no fork survives; and a question to an LM.

    That imports and fills what each process would at its first question. In a spare it would take 1.5 MB of pages, which a
    module that asks none never needs.
    """
    for step in _steps(codec, modules=True, threads=False):
        step()
    if "dspy" in sys.modules:
        from dspex_runtime.modules import rehearsal

        rehearsal.ask()


def _steps(codec: Codec, *, modules: bool, threads: bool) -> list[Callable[[], None]]:
    steps: list[Callable[[], None]] = [lambda: _assignment(codec), lambda: _server(codec, threads=threads)]
    if modules and "dspy" in sys.modules:
        from dspex_runtime.modules import rehearsal

        steps.append(lambda: rehearsal.build_and_call(threads=threads))
    return steps


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


def _server(codec: Codec, *, threads: bool) -> None:
    path = list(sys.path)
    with _found_by_name() as launch:
        hosted = perform(launch, codec, m.plain_call("$call", ["x"], {}), threads=threads)
    sys.path[:] = path
    found: str = type(hosted.server).__module__  # type: ignore[attr-defined] # it is a server
    del sys.modules[found]
    sources.forget(found)


@contextmanager
def _found_by_name() -> Iterator[LaunchSpec]:
    """Have the understudy imported as a user's module is; by its file where another one has that name."""
    folder = os.path.dirname(UNDERSTUDY)
    if "understudy" in sys.modules or not user_code.is_installed():
        yield _BY_FILE
        return
    sys.path.insert(0, folder)
    sys.path_importer_cache[folder] = user_code.finder_of(folder)
    try:
        yield _BY_NAME
    finally:
        del sys.path_importer_cache[folder]


def perform(launch: LaunchSpec, codec: Codec, call: list[Any], *, threads: bool) -> Hosted:
    """Become what is specified, answer one call, and be what was kept of it for the next one; return what was hosted.

    Args:
        launch: What to become; its loop is to end after one call.
        codec: Of this process.
        call: What the client asks.
        threads: Whether the control thread is started, too.

    Raises:
        ProtocolError: The call was not taken.
    """
    theirs, ours = socket.socketpair()
    with FdChannel(ours, codec) as control, FdChannel(theirs, codec) as parent, _as_nobody():
        assignment = replace(from_message(codec.unpack(_ASSIGNMENT)), launch=launch, cwd=os.getcwd())
        if user_code.is_installed():
            becoming.settle_in(assignment)
        uplink = Uplink(control, codec)
        parameters = Parameters(assignment, control, codec)
        hosted = becoming.build(assignment, codec, parameters, uplink)
        assert hosted is not None
        parent.recv()  # it offers its table
        with os.fdopen(parent.take_fd(), "rb", buffering=0) as table:
            control.send([m.READY, 0, becoming.facts(hosted, 0.0, had_dspy=True)])
            parent.recv()
            with closing(parameters):
                _serve_once(hosted, assignment, control, codec, uplink, parameters, call, threads=threads)
            with closing(Parameters(replace(assignment, kept=True), control, codec)) as next_ones:
                parent.send([m.CONTROL, 0, KEPT, {"table": True}], fds=[table.fileno()])
                next_ones.adopt(hosted, Uplink(control, codec))
    return hosted


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Forget at the end which process this was."""
    process = {name: value for name, value in vars(context.Process).items() if not name.startswith("_")}
    variables = dict(os.environ)
    try:
        yield
    finally:
        for name, value in process.items():
            setattr(context.Process, name, value)
        for name in [name for name in os.environ if name not in variables]:
            del os.environ[name]


def _serve_once(
    hosted: Hosted,
    assignment: Assignment,
    control: FdChannel,
    codec: Codec,
    uplink: Uplink,
    parameters: Parameters,
    call: list[Any],
    *,
    threads: bool,
) -> None:
    logs = ProcessLog(os.devnull, max_bytes=0, keep=0, on_full=lambda _: None)
    slot = Slot(memoryview(bytearray(SLOT_BYTES)).cast("Q"))
    loop, service, _ = becoming.open_for_calls(hosted, assignment, control, codec, slot, logs, uplink, parameters)
    try:
        if threads:
            with _serving(service, loop, hosted):
                ask(loop, codec, call)
        else:
            ask(loop, codec, call)
            service.begin(loop, hosted)
    finally:
        loop.channels.close()
        service.release()


@contextmanager
def _serving(service: Control, loop: ServerLoop, hosted: Hosted) -> Iterator[None]:
    """Have the parent served on the control thread meanwhile."""
    over = _thread.allocate_lock()
    over.acquire()

    def serve() -> None:
        try:
            service.serve(loop, hosted)
        finally:
            over.release()

    _thread.start_new_thread(serve, ())
    try:
        yield
    finally:
        service.leave()
        over.acquire()


def ask(loop: ServerLoop, codec: Codec, call: list[Any]) -> None:
    """Run a loop on this thread for one call, which comes over a channel like any.

    Raises:
        ProtocolError: It was not taken.
    """
    theirs, ours = socket.socketpair()
    client = Channel(theirs, codec)
    try:
        loop.add_channel(Peer(Channel(ours, codec)))
        client.send_many([[m.HELLO, 0, {"protocol": list(m.PROTOCOL), "mux": False, "client": ""}], call])
        with loop.lock:
            loop.read()
            if not loop.mailbox:  # there would be nothing to do, for ever
                raise ProtocolError("the call of the rehearsal was refused: it is no CALL of this protocol")
        loop.run()
        current_request.set(None)
        client.recv()
    finally:
        client.close()
