"""The fork itself, and the first instructions of a child: everything between os.fork and the entry function.

The child ties its process group to the lifeline, forgets the zygote's signals and closes what it must not have.
It never returns: it leaves through os._exit, so nothing the zygote registered (atexit, finalizers) runs in it.
"""

from __future__ import annotations

import _socket
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeAlias

from dspex_runtime.osproc import lifeline, signals
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.descriptors import close_all_but
from dspex_runtime.osproc.mark import Marker

__all__ = ["Entry", "Forker"]

Entry: TypeAlias = "Callable[[int, Board, int, Forker], int]"


class Forker:
    """Forks module processes of the calling process, which has one thread and only frozen objects."""

    def __init__(
        self,
        entry: Entry,
        board: Board,
        *,
        lifeline_fd: int,
        marker: Marker,
        keep_fds: Collection[int],
        limit: int,
        dispositions: Mapping[signal.Signals, Any],
    ) -> None:
        """Prepare.

        Args:
            entry: Called in the child as entry(control_fd, board, warmth, forker); its result is the exit status. The last is this
                one, for its `successor`.
            board: Passed to entry.
            lifeline_fd: Read end of the runtime's lifeline.
            marker: Marks each child and so all its descendants.
            keep_fds: Descriptors that stay open in a child beside stdio, control and lifeline: the board's.
            limit: RLIMIT_NOFILE.
            dispositions: Of signals, as a child is to have them.
        """
        self._entry = entry
        self._board = board
        self._lifeline_fd = lifeline_fd
        self.marker = marker
        self._keep_fds = tuple(keep_fds)
        self._limit = limit
        self._dispositions = dispositions
        signals.unblock_all()
        self._count = 0
        self._ahead: tuple[int, int, int, str] | None = None

    def successor(self, entry: Entry, *, keep_fds: Collection[int], dispositions: Mapping[signal.Signals, Any]) -> Forker:
        """Return a forker for a child of this one, in that child: what it forks is tied and marked as its siblings are.

        Args:
            entry: As above.
            keep_fds: Descriptors that stay open beside those that stay open in the child itself.
            dispositions: As above.
        """
        return Forker(
            entry,
            self._board,
            lifeline_fd=self._lifeline_fd,
            marker=self.marker.of_this_process(),
            keep_fds=(*self._keep_fds, *keep_fds),
            limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            dispositions=dispositions,
        )

    @property
    def own_fds(self) -> frozenset[int]:
        """In a child: the descriptors that it has from here, but for its control pipe."""
        return frozenset((self._lifeline_fd, *self._keep_fds))

    def prepare(self) -> None:
        """Make ready what the next fork needs, while nobody waits for it: here it hits warm pages and costs no latency.

        Raises:
            OSError: No descriptor could be had; nothing is left over.
        """
        if self._ahead is None:
            self._ahead = self._prepared()

    def _prepared(self) -> tuple[int, int, int, str]:
        lifeline_fd = lifeline.reopen(self._lifeline_fd)
        try:
            # The C function: socket.socketpair wraps both ends twice and asks for their names.
            ours, theirs = _socket.socketpair()
        except BaseException:
            os.close(lifeline_fd)
            raise
        self._count += 1
        mark = self.marker.mark(self._count)
        self.marker.apply(mark)
        return ours.detach(), theirs.detach(), lifeline_fd, mark

    def fork(self, warmth: int) -> tuple[int, int, str]:
        """Fork one child; the parent gets (pid, parent end of the control pipe, mark).

        Raises:
            OSError: No process or descriptor could be had; nothing is left over.
        """
        ours, theirs, lifeline_fd, mark = self._ahead or self._prepared()
        self._ahead = None
        try:
            pid = os.fork()
            if pid == 0:
                self._child(theirs, lifeline_fd, warmth, mark)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(lifeline_fd)
        try:
            os.setpgid(pid, pid)  # by both: whoever signals the group first must find it made
        except OSError:
            pass  # it has run and ended, or exec'ed; then it did this itself
        return pid, ours, mark

    def _child(self, control_fd: int, lifeline_fd: int, warmth: int, mark: str) -> NoReturn:
        status = 1
        try:
            os.setpgid(0, 0)
            lifeline.tie(lifeline_fd)
            self._lifeline_fd = lifeline_fd  # in this process; what it was is closed next
            signals.reset_in_child(self._dispositions)
            close_all_but((control_fd, lifeline_fd, *self._keep_fds), limit=self._limit)
            self.marker.adopt(mark)
            status = int(self._entry(control_fd, self._board, warmth, self))
        except SystemExit as exc:
            status = _exit_status(exc)
        except BaseException:
            traceback.print_exc()
        finally:
            _leave(status)


def _exit_status(exc: SystemExit) -> int:
    """Return what the interpreter would exit with."""
    if exc.code is None or isinstance(exc.code, int):
        return exc.code or 0
    print(exc.code, file=sys.stderr)  # noqa: T201 - as sys.exit("text") does
    return 1


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed or full: nobody is left to tell
    os._exit(status & 0xFF)
