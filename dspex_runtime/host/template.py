"""A process that is built once and then forked, as often as its spec is started: the user's code is imported, its object made.

What is one process's own comes after the fork: its id, log, parameters, `setup` or `init`. What user code left that forks cannot
share is refused, and told: threads, child processes, CUDA, connections, open files, an LM that was asked.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.launch_map import from_map
from dspex_runtime.errors import StartError
from dspex_runtime.host import building, sources, targets
from dspex_runtime.host.causes import without_own_frames
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.osproc import template
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.preload import PreloadError
from dspex_runtime.osproc.user_code import Read
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:  # the zygote imports it last, see `zygote_loop`
    from dspex_runtime.osproc.forker import Forker

__all__ = ["Become", "Built", "serve", "told_to_be"]

_BUILDING = "building it"


@dataclass(frozen=True, slots=True)
class Built:
    """What forks of a template have from the start.

    Attributes:
        hosted: Built, and nothing more.
        files: What it was made of.
    """

    hosted: Hosted
    files: tuple[Read, ...]

    def is_stale(self) -> bool:
        """Return whether a file that it was made of has changed since. Cost: one stat for each."""
        return sources.have_changed(self.files)


Become: TypeAlias = "Callable[[int, Board, int, Forker, Built], int]"  #: what a fork runs: `bootstrap.main`


def told_to_be(message: list[Any]) -> Mapping[str, Any] | None:
    """Return what a spare is told to be the template of; None when the message is another."""
    match message:
        case [m.CONTROL, _, "template", dict(spec)]:
            return spec
    return None


def serve(spec: Mapping[str, Any], sock: socket.socket, control: FdChannel, codec: Codec, forker: Forker, become: Become) -> int:
    """Build what `spec` says, then fork until told to quit; return the exit status.

    Args:
        spec: "launch", "cwd", "runtime", "socket", as an assignment has them.
        sock: The channel's.
        control: To the runtime: `zygote` has what is said there.
        codec: Of this process.
        forker: That it comes from.
        become: What forks run.
    """
    before = template.open_fds()
    try:
        built = _built(spec, codec)
        keep_fds = template.check(_BUILDING, before)
    except BaseException as exc:  # SystemExit too: whatever it is, the processes are started without a template, and say it
        _refuse(exc, control)
        return 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what was printed is not to be each fork's to print again

    def main(control_fd: int, board: Board, warmth: int, forker: Forker) -> int:
        return become(control_fd, board, warmth, forker, built)

    return template.serve(sock, control, forker, main, keep_fds=keep_fds, facts={"files": len(built.files)})


def _built(spec: Mapping[str, Any], codec: Codec) -> Built:
    launch = from_map(spec["launch"])
    building.settle_in(launch, spec["cwd"])
    os.environ.update({"DSPEX_RUNTIME": spec["runtime"], "DSPEX_SOCKET": spec["socket"]})
    _forget_answers()
    found = targets.find(launch)
    _check_answers()  # here and below: to host it begins with an empty history
    hosted = building.host(found, launch, codec)
    args, kwargs = _arguments(hosted, launch)
    hosted.build(args, kwargs)
    _check_answers()
    return Built(hosted, sources.read_for(launch))


def _arguments(hosted: Hosted, launch: LaunchSpec) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the constructor's; those of a server are its init's, which each process runs with its own."""
    return targets.arguments(launch) if hosted.kind == "module" else ((), {})


def _forget_answers() -> None:
    if (history := _history()) is not None:
        history.clear()


def _check_answers() -> None:
    if _history():
        raise PreloadError(f"{_BUILDING} asked an LM; forks would share its connection and get each other's answers")


def _history() -> list[Any] | None:
    """Return the calls of LMs of this process, as dspy notes them; None where there is no dspy."""
    clients = sys.modules.get("dspy.clients.base_lm")
    return None if clients is None else clients.GLOBAL_HISTORY


def _refuse(exc: BaseException, control: FdChannel) -> None:
    text, trace = str(exc), ""
    if not isinstance(exc, PreloadError | StartError):
        exc.__traceback__ = without_own_frames(exc.__traceback__)
        text, trace = f"{type(exc).__name__}: {exc}", "".join(traceback.format_exception(exc))
    try:
        control.send(["failed", {"message": text, "traceback": trace}])
    except OSError:
        pass  # the runtime is gone
