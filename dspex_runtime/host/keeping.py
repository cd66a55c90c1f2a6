"""What the parent asks of a module's parameters and state: checkpoints, restores, hand-overs, who watches; a compile.

Owns when each is served. What sees the user's own state, or several parameters that one callback of a server writes, is done
between two callbacks, on the main thread, also while it is suspended; all else on the control thread, whatever runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from dspex_runtime.errors import CheckpointError, CompileError
from dspex_runtime.host import checkpoint_image, compiling, kept
from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.sys_functions import shielded
from dspex_runtime.params import image
from dspex_runtime.state.protocol import KEPT, KEPT_PART
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.loop_control import ControlledLoop
    from dspex_runtime.host.parameters import Parameters

__all__ = ["KEEPING_OPS", "Desk", "Keeping", "contents_of", "memfd_of"]

BEFORE_SWAP: Final = "before_swap"  # kind of the checkpoint that a rehearsal is made with: there is more in it
KEEPING_OPS: Final = frozenset({KEPT, KEPT_PART, "checkpoint", "restore", "hand_over", "watched", "compile"})


class Desk(Protocol):
    """The control pipe, as these operations need it."""

    def take_fd(self) -> int:
        """Take the next descriptor that came."""
        ...

    def reply(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        """Send an answer; never raises for a parent that is gone."""
        ...

    def fault(self, exc: BaseException) -> dict[str, Any]:
        """Return an exception as the map that travels."""
        ...

    def event(self, payload: dict[str, Any]) -> None:
        """Tell the parent something, from any thread."""
        ...


class Keeping:
    """Serves KEEPING_OPS for one process."""

    def __init__(self, loop: ControlledLoop, hosted: Hosted, parameters: Parameters, assignment: Assignment, desk: Desk) -> None:
        self._loop = loop
        self._hosted = hosted
        self._parameters = parameters
        self._assignment = assignment
        self._desk = desk

    def serve(self, id: int, op: str, args: dict[str, Any]) -> None:
        """Carry out one of them; its answer follows, now or when the main thread has a moment."""
        match op:
            case "kept":  # nothing here has a use for it, or the start would have waited for it
                kept.discard(args, self._desk.take_fd)
            case "watched":
                self._answer(id, lambda: self._watched(args["names"]))
            case "hand_over":
                self._answer(id, self._hand_over)
            case "checkpoint":
                self._at_a_good_moment(args, lambda: self._checkpoint(id, args))
            case "restore":
                fd = self._desk.take_fd()  # now: it is the first of those that are here
                self._between_callbacks(args, lambda: self._restore(id, fd, args))
            case "compile":
                paths = [str(path) for path in args.get("parts") or ()]
                images = {path: self._desk.take_fd() for path in ("", *paths)}
                job_fd = self._desk.take_fd()
                self._loop.run_on_main(lambda: self._compile(id, images, job_fd, str(args["id"])))
            case _:  # the descriptors of "kept_part" wait in the pipe for the message that says what they are
                pass

    def _at_a_good_moment(self, args: dict[str, Any], function: Callable[[], None]) -> None:
        if self._hosted.serial or self._hosted.keeps_user_state or args.get("has_down"):
            self._between_callbacks(args, function)
        else:
            function()

    def _between_callbacks(self, args: dict[str, Any], function: Callable[[], None]) -> None:
        if self._hosted.serial and not args.get("held"):  # what is queued does not begin while we are held
            self._loop.run_behind(str(args.get("client", "")), function)
        else:
            self._loop.run_on_main(function)

    def _answer(self, id: int, function: Callable[[], Any]) -> None:
        try:
            answer = [m.REPLY, id, function()]
        except Exception as exc:
            answer = [m.FAULT, id, self._desk.fault(exc)]
        self._desk.reply(answer)

    def _watched(self, names: bool | list[str]) -> dict[str, list[Any]]:
        """Tell of changes from now on; return what there is before the first: version, when and who by name."""
        owner, changes = self._parameters.owner, self._parameters.changes
        if owner is None or changes is None:
            return {}
        changes.watch(names)
        return {name: list(owner.written(name)) for name in owner.names()}

    def _hand_over(self) -> None:
        if self._parameters.owner is not None:
            self._parameters.owner.hand_over()

    def _checkpoint(self, id: int, args: dict[str, Any]) -> None:
        def taken() -> tuple[dict[str, Any], bytes]:
            data = image.encode(self._image(args))
            return {"size": len(data)}, data

        self._answer_with_fd(id, lambda: shielded("checkpoint", taken))

    def _answer_with_fd(self, id: int, function: Callable[[], tuple[Any, bytes]]) -> None:
        try:
            value, data = function()
            fd = memfd_of(data)
        except Exception as exc:
            if isinstance(exc, CompileError) and exc.__cause__ is None:
                exc.__traceback__ = None  # the user's frames are in its remote_traceback: here are only ours
            self._desk.reply([m.FAULT, id, self._desk.fault(exc)])
            return
        self._desk.reply([m.REPLY, id, value], [fd])
        os.close(fd)

    def _compile(self, id: int, images: dict[str, int], job_fd: int, of: str) -> None:
        """Run for as long as it takes, as a call of this process: its stamps say that it is busy."""
        call, loop = Request(None, 0, "compile", [], {}), self._loop
        with loop.lock:
            loop.tally.begin(call)
        try:
            self._answer_with_fd(id, lambda: shielded("compile", lambda: self._compiled(images, job_fd, of)))
        finally:
            with loop.lock:
                loop.tally.end(call, None)

    def _compiled(self, images: dict[str, int], job_fd: int, of: str) -> tuple[dict[str, Any], bytes]:
        job = contents_of(job_fd)
        snapshot = {path: contents_of(fd) for path, fd in images.items()}
        try:
            compiling.become(snapshot, self._hosted, self._parameters, who=f"compile of {of}")
        except Exception as exc:
            raise compiling.snapshot_failed(exc, of) from exc
        tell = lambda progress: self._desk.event({"type": "compile", "progress": progress})  # noqa: E731
        version = self._hosted.version
        facts, patch = compiling.compiled(self._hosted, self._parameters.codec, job, tell, id=of, version=version)
        return facts, image.encode(patch)

    def _image(self, args: dict[str, Any]) -> image.Image:
        kind, about, loop = str(args.get("kind", "manual")), args.get("about") or {}, self._loop
        with loop.lock:
            metrics = loop.tally.metrics.totals()
            quiet = not loop.tally.running
        owner = self._parameters.owner
        if owner is not None and quiet:  # a running call may be half through with what it changes
            self._parameters.after_call()
        if kind == BEFORE_SWAP:
            from dspex_runtime.host.moving import state  # few processes are ever replaced

            return state.take(kind, self._assignment, self._hosted, self._parameters, metrics, about, state.Way.of(args))
        return checkpoint_image.take(kind, self._assignment, self._hosted, owner, self._parameters.codec, metrics, about)

    def _restore(self, id: int, fd: int, args: dict[str, Any]) -> None:
        self._answer(id, lambda: shielded("restore", lambda: self._restored(fd, args)))

    def _restored(self, fd: int, args: dict[str, Any]) -> dict[str, int]:
        try:
            found = image.decode(contents_of(fd))
        except OSError as exc:
            raise CheckpointError(f"the checkpoint cannot be read: {exc}", id=self._assignment.id) from exc
        if args.get("share") is not None:
            from dspex_runtime.host import composite_image  # few owners are compiled

            found = composite_image.share(found, composite_image.Share(**args["share"]))
        parameters, who = self._parameters, str(args.get("who", "restore"))
        versions = checkpoint_image.give_back(found, self._hosted, parameters.owner, parameters.codec, who=who)
        parameters.after_call()
        return versions


def contents_of(fd: int) -> bytes:
    """Return what is in a memfd, which is closed."""
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def memfd_of(data: bytes) -> int:
    """Return a memfd that holds these bytes; the caller's to close."""
    fd = os.memfd_create("dspex-checkpoint", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BaseException:
        os.close(fd)
        raise
    return fd
