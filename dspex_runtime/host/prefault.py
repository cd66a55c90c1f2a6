"""A spare's rehearsal: the start of a module and a call, once, with nothing at stake, while nobody waits.

Every page that becoming a module will write is the zygote's until it is copied at its first write: of the 4 ms from
assignment to ready, 3 are such copies. A rehearsal makes them beforehand. It leaves nothing behind, and it stops between
two steps when the assignment is there.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec, Limits
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.host import targets
from dspex_runtime.host.assignment import from_message
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.context import current_request
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.server_loop import ServerLoop
from dspex_runtime.osproc.board import SLOT_BYTES, Slot
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

UNDERSTUDY: Final = os.path.join(os.path.dirname(__file__), "understudy.py")


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
    steps: list[Callable[[], None]] = [lambda: _assignment(codec), lambda: _server(codec)]
    if warmth is Warmth.MODULE and "dspy" in sys.modules:
        from dspex_runtime.modules import rehearsal

        steps += [rehearsal.build, rehearsal.call]
    for step in steps:
        if waiting.poll(0):
            return
        step()


def _launch() -> LaunchSpec:
    return LaunchSpec(Kind.SERVER, target=f"{UNDERSTUDY}:Understudy")


def _assignment(codec: Codec) -> None:
    own = {"id": "", "incarnation": 0, "runtime": "", "socket": "", "slot": 0, "cwd": "/"}
    spec: dict[str, Any] = {**own, "log": "", "log_max_bytes": 0, "log_keep": 0, "launch": to_map(_launch())}
    from_message(codec.unpack(codec.pack([m.CONTROL, 0, "assign", spec]))).environment()
    thread = threading.Thread(target=lambda: None, name="dspex-rehearsal")
    thread.start()
    thread.join()


def _server(codec: Codec) -> None:
    path, modules = list(sys.path), set(sys.modules)
    server = ServerHost(targets.find(_launch())())
    server.start((), {})
    serve(server, codec, [m.CALL, 1, "$call", ["x"], {}, None, None, 0])
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def serve(hosted: Hosted, codec: Codec, call: list[Any]) -> None:
    """Serve one call on this thread, through a loop and a channel like any."""
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
    loop.run()
    current_request.set(None)
    client.recv()
    client.close()
    channels.close()
    control.close()
