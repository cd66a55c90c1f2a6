"""The new process of a swap, until it serves; what the parent says of that.

    rehearse {old_version, migrate, extra, verify} + image
                                                -> {"version", "migrated", "parameters", "dropped", "seconds"}
                                                this process is what is in the image, migrated and verified
    prepare {} + socket                         -> {"again", "queued", "channels"}
                                                all that the old one is was read; migrated again where it has gone on since
    serve {base}                                -> {"versions": {name: version}}
                                                from here on this process is who the old one was

The first two run on the main thread, as they run the user's code; `serve` runs none. A `serve` that fails ends the process: there
is no other one any more.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import SwapError
from dspex_runtime.host.causes import fault_reason
from dspex_runtime.host.keeping import contents_of
from dspex_runtime.host.moving.freight import Freight
from dspex_runtime.host.moving.rehearsing import Rehearsal, Request
from dspex_runtime.host.moving.state import STATE, Moved, differ, read_state
from dspex_runtime.host.moving.stream import END, Incoming
from dspex_runtime.host.sys_functions import shielded
from dspex_runtime.params import image as images
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.operations import MovingDesk
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.params.image import Image
    from dspex_runtime.wire.codec import Codec

__all__ = ["Arriving"]

log = logging.getLogger("dspex_runtime.host")


class Arriving:
    """Serves `rehearse`, `prepare` and `serve` for one process, each once.

    Args:
        desk: The control pipe.
        loop: It has served nobody but the parent.
        hosted: The new version.
        assignment: Of this process.
        codec: Unpacks values of users.
        parameters: Copies until `serve`.
    """

    def __init__(
        self,
        desk: MovingDesk,
        loop: ServerLoop,
        hosted: Hosted,
        assignment: Assignment,
        codec: Codec,
        parameters: Parameters,
    ) -> None:
        self._desk = desk
        self._loop = loop
        self._hosted = hosted
        self._assignment = assignment
        self._codec = codec
        self._parameters = parameters
        self._rehearsal: Rehearsal | None = None
        self._image: Image | None = None  # that it is
        self._moved: Moved | None = None
        self._freight: Freight | None = None

    def serve_op(self, id: int, op: str, args: dict[str, Any]) -> None:
        """Carry out one of them; on the control thread."""
        match op:
            case "rehearse":
                fd = self._desk.take_fd()
                self._on_main(id, op, lambda: self._rehearse(fd, args))
            case "prepare":
                sock = socket.socket(fileno=self._desk.take_fd())
                self._on_main(id, op, lambda: self._prepare(sock))
            case _:
                self._serve(id, args.get("base") or {})

    def _on_main(self, id: int, op: str, function: Callable[[], Any]) -> None:
        def answer() -> None:
            try:
                value = shielded(op, function)
            except Exception as exc:
                if isinstance(exc, SwapError) and exc.__cause__ is None:
                    exc.__traceback__ = None  # the user's frames are in its remote_traceback: here are only ours
                self._desk.reply([m.FAULT, id, self._desk.fault(exc)])
            else:
                self._desk.reply([m.REPLY, id, value])

        self._loop.run_on_main(answer)

    def _rehearse(self, fd: int, args: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        image = images.decode(contents_of(fd))
        if not self._assignment.rehearsal:
            raise SwapError("this process was not started for a rehearsal", code="start", id=self._assignment.id)
        if self._rehearsal is not None:
            raise SwapError("this process has rehearsed already", code="start", id=self._assignment.id)
        request = Request(args.get("old_version"), args.get("migrate"), args.get("extra"), args.get("verify"))
        self._rehearsal = Rehearsal(request, self._hosted, self._parameters, self._codec, id=self._assignment.id)
        found = self._rehearsal.become(image)
        self._rehearsal.verify()
        self._image = image
        return {**found, "seconds": time.monotonic() - began}

    def _prepare(self, sock: socket.socket) -> dict[str, Any]:
        freight, moved = Freight(self._codec), None
        with Incoming(sock, self._codec) as stream:
            while (frame := stream.recv()).kind != END:
                if frame.kind == STATE:
                    moved = read_state(frame, self._image)
                else:
                    freight.take(frame)
        if moved is None or self._rehearsal is None or self._image is None:
            raise SwapError("what came has no state, or this process has not rehearsed", code="move", id=self._assignment.id)
        again = differ(moved.image, self._image)
        if again:
            self._rehearsal.become(moved.image)
        self._image, self._moved, self._freight = moved.image, moved, freight
        counts = freight.counts
        return {"again": again, "queued": counts["queued"], "channels": counts["channels"]}

    def _serve(self, id: int, base: dict[str, Any]) -> None:
        try:
            versions = self._served(base)
        except Exception as exc:
            log.critical("the old process has gone, and this one cannot take its place", exc_info=exc)
            fault = self._desk.fault(exc)
            self._desk.reply([m.FAULT, id, fault])
            self._loop.end(fault_reason(fault))
            return
        self._desk.reply([m.REPLY, id, {"versions": versions}])

    def _served(self, base: dict[str, Any]) -> dict[str, int]:
        moved, freight, parameters, loop = self._moved, self._freight, self._parameters, self._loop
        if moved is None or freight is None or self._rehearsal is None:
            raise SwapError("there is nothing to be taken over: it was not prepared", code="move", id=self._assignment.id)
        self._moved = self._freight = None
        versions = parameters.move_in(moved.kept, self._rehearsal.plan, position=moved.position, watched=moved.watched)
        if parameters.watches_calls:
            loop.calls.before_reply = parameters.after_call
        freight.adopt(loop, base)
        self._desk.adopted()
        return versions
