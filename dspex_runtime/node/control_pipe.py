"""What the runtime says to one module process over its control pipe, and asks of it. What comes by itself is `module_process`'s.

Messages for a process that is not forked yet wait, in order; so does what is meant for one that is held. Descriptors that
are given away are closed where there is no pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeAlias

from dspex_runtime.node.control_requests import Answer, ControlRequests
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.peer import PLAIN, Peer
from dspex_runtime.node.swapping.holding_back import HoldingBack
from dspex_runtime.state.protocol import FDS_AT_ONCE, KEPT, KEPT_PART
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import CHANNEL, CONTROL, EVENT

__all__ = ["ControlPipe", "FdAnswer"]

DEPENDS_WITHIN_S: Final = 1.0  # then it holds the GIL in C code, and hears it when it hears anything

#: (value, fault, descriptor); the descriptor is None with a fault, or where none came.
FdAnswer: TypeAlias = Callable[[Any, dict[str, Any] | None, int | None], None]


class ControlPipe:
    """The runtime's end, from before there is one."""

    def __init__(self, loop: EventLoop, id: str, incarnation: int) -> None:
        self._loop = loop
        self.id = id
        self.incarnation = incarnation
        self._peer: Peer | None = None
        self._mail: list[Any] = []  #: messages for it from before it had a process
        self._requests = ControlRequests(loop, id, self._to_fault)
        self._brings: dict[int, list[int]] = {}  #: by request: where the descriptor of its answer goes
        self.held_back: HoldingBack | None = None  #: what is meant for it while it is swapped, or saved with others

    def _open(self, peer: Peer, assignment: dict[str, Any]) -> None:
        """There is a process: tell it what to be, and what was meant for it already."""
        self._peer = peer
        peer.send([CONTROL, 0, "assign", assignment])
        mail, self._mail = self._mail, []
        for message in mail:
            self.message(message)

    def send_channel(self, info: dict[str, Any], fd: int) -> None:
        """Hand the module its end of a direct pipe; `fd` is given away."""
        if self._holds_all(lambda to: to.send_channel(info, fd), (fd,)):
            return
        if self._peer is None:
            os.close(fd)
            return
        self._peer.send([CHANNEL, 0, info], (fd,))

    def give_kept(self, info: dict[str, Any], fds: list[int]) -> None:
        """Give it what is kept of the incarnations before (`state.protocol`, GIVE); the descriptors are given away."""
        if self._peer is None:
            for fd in fds:
                os.close(fd)
            return
        early = fds[:-FDS_AT_ONCE] if len(fds) > FDS_AT_ONCE else []
        for at in range(0, len(early), FDS_AT_ONCE):
            part = early[at : at + FDS_AT_ONCE]
            self._peer.send([CONTROL, 0, KEPT_PART, {"fds": len(part)}], part)
        self._peer.send([CONTROL, 0, KEPT, info], fds[len(early) :])

    @property
    def peer(self) -> Peer:
        """Its control pipe; only something that was assigned can have asked for an answer."""
        assert self._peer is not None
        return self._peer

    def message(self, message: Any) -> None:
        """Put a message into its mailbox, behind all that was sent to it before (`host.server_loop.deliver`)."""
        if self._holds_all(lambda to: to.message(message)):
            return
        if self._peer is None:
            self._mail.append(message)
        else:
            self._peer.send([EVENT, 0, {"type": "message", "message": message}])

    def depend(self, table: dict[str, Any], done: Callable[[], None]) -> None:
        """Tell it how what it depends on is now (`host.dependencies`); one without a process is told when it gets one.

        `done` is called when it goes by that, or cannot be waited for.
        """
        if self._peer is None:
            done()
        else:
            self.request_now("dependencies", {"table": table}, DEPENDS_WITHIN_S, lambda _value, _fault: done())

    def check_log(self) -> None:
        """Ask it to rotate its log: what C code and grandchildren write there it does not see."""
        if self._peer is not None and self.held_back is None:
            self._peer.send([CONTROL, 0, "check_log", {}])

    def request(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: Answer, fds: Sequence[int] = ()) -> None:
        """Ask the control thread something; `answer` gets the value or a fault, exactly once (BusyError on time-out).

        Descriptors are given away.
        """
        if self.held_back is not None and self.held_back.keeps(op):
            self._hold_question(op, timeout_s, lambda to, left_s: to.request(op, args, left_s, answer, fds), answer, fds)
        else:
            self.request_now(op, args, timeout_s, answer, fds)

    def request_now(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: Answer, fds: Sequence[int] = ()) -> None:
        """Ask as `request` does, also while what is meant for it is kept: what the swap itself asks."""
        if self._peer is None or self._peer.closed:
            for fd in fds:
                os.close(fd)
            self._requests.refuse("has no control pipe", answer)
            return
        self._peer.send([CONTROL, self._requests.add(op, timeout_s, answer), op, args], fds)

    def request_fd(self, op: str, args: dict[str, Any], timeout_s: float | None, answer: FdAnswer, fds: Sequence[int] = ()) -> None:
        """Ask the control thread what is answered with a value and a descriptor, which is the asker's from then on.

        Descriptors that go with the question are given away.
        """
        if self.held_back is not None and self.held_back.keeps(op):
            again: Callable[[ControlPipe, float | None], None] = lambda to, left_s: to.request_fd(op, args, left_s, answer, fds)  # noqa: E731
            self._hold_question(op, timeout_s, again, lambda value, fault: answer(value, fault, None), fds)
            return
        self.request_fd_now(op, args, timeout_s, answer, fds)

    def request_fd_now(
        self, op: str, args: dict[str, Any], timeout_s: float | None, answer: FdAnswer, fds: Sequence[int] = ()
    ) -> None:
        """Ask as `request_fd` does, also while what is meant for it is kept."""
        brought: list[int] = []

        def answered(value: Any, fault: dict[str, Any] | None) -> None:
            answer(value, fault, brought.pop() if brought else None)

        if self._peer is None or self._peer.closed:
            for fd in fds:
                os.close(fd)
            self._requests.refuse("has no control pipe", answered)
            return
        number = self._requests.add(op, timeout_s, answered)
        self._brings[number] = brought
        self._peer.send([CONTROL, number, op, args], fds)

    @property
    def asked(self) -> list[str]:
        """What it was asked and has not answered."""
        return self._requests.ops

    def when_answered(self, but: Collection[str], done: Callable[[], None]) -> None:
        """Call `done` once when every question that is not one of `but` has its answer, or when the process has ended."""
        requests = self._requests

        def look() -> None:
            if all(op in but for op in requests.ops):
                requests.on_settled = None
                done()

        requests.on_settled = look
        look()

    def _hold_question(
        self,
        op: str,
        timeout_s: float | None,
        again: Callable[[ControlPipe, float | None], None],
        answer: Answer,
        fds: Sequence[int],
    ) -> None:
        assert self.held_back is not None
        text = f"did not answer {op!r} within {timeout_s or 0.0:g} s: {self.held_back.why}"
        self.held_back.put_question(again, timeout_s, lambda: self._requests.refuse(text, answer), fds)

    def _holds_all(self, again: Callable[[ControlPipe], None], fds: Sequence[int] = ()) -> bool:
        if self.held_back is None or not self.held_back.everything:
            return False
        self.held_back.put(again, fds)
        return True

    def _answered(self, request: int, value: Any, fault: dict[str, Any] | None) -> None:
        brought = self._brings.pop(request, None)
        if brought is not None and fault is None and (fd := self.peer.take_fd()) is not None:
            brought.append(fd)
        self._requests.answered(request, value, fault)
        for fd in brought or ():  # nobody waited for it any more
            os.close(fd)

    def _to_fault(self, error: Exception) -> dict[str, Any]:
        return to_fault(error, id=self.id, incarnation=self.incarnation, codec=PLAIN)
