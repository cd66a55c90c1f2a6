"""The control pipe as seen by whoever asks the parent something: questions out, their answers in. Never interprets an answer.

A question is [CONTROL, -n, op, args]: its numbers are negative, so that they never meet the parent's own. Before the control
thread runs (in `init`) one of those who wait reads the pipe for all of them; what comes then and is no answer is kept for
the control thread.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from math import ceil
from threading import Condition
from time import monotonic
from typing import Any, Final

from dspex_runtime.errors import CallTimeoutError, RuntimeUnreachableError
from dspex_runtime.host.brought import descriptors
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.faults import from_fault, to_fault

log = logging.getLogger("dspex_runtime.host")

CHANGES: Final = frozenset({"changed", "versions", "forgotten"})

ANSWERS: Final = (m.REPLY, m.FAULT, m.PARAM)


class Question:
    """One question on its way. `settled` is called once, on the thread that read the answer."""

    __slots__ = ("_codec", "answer", "fd", "number", "op", "settled")

    def __init__(self, number: int, op: str, codec: Codec, settled: Callable[[], None] | None) -> None:
        self.number = number
        self.op = op
        self.settled = settled
        self.answer: list[Any] | None = None
        self.fd: int | None = None  # what the answer brought; whoever asked closes it
        self._codec = codec

    def result(self) -> Any:
        """Return the value, or raise what the operation failed with."""
        assert self.answer is not None
        kind, _, value = self.answer
        if kind == m.FAULT:
            raise from_fault(value, codec=self._codec)
        return value


class Uplink:
    """The control pipe as seen by those who ask.

    Invariant: one thread at a time receives on the channel: whoever has `_reading` set, from `serve` on the control thread.
    """

    def __init__(self, channel: FdChannel, codec: Codec) -> None:
        self.served = False  #: the control thread reads
        self._channel = channel
        self._codec = codec
        self._pid = os.getpid()
        self._changed = Condition()
        self._numbers = 0
        self._open: dict[int, Question] = {}
        self._early: list[tuple[list[Any], list[int]]] = []  # with the descriptors they brought
        self._reading = False
        self._wake = -1  # of the reader before the control thread: an eventfd while it waits
        self._gone = False

    # -- asking, on any thread

    def ask(self, op: str, args: dict[str, Any], deadline: float | None) -> Any:
        """Send a question and wait for its answer; see the function `parent.ask`. Nothing is sent after the deadline."""
        if deadline is not None and deadline <= monotonic():
            raise timed_out(op)
        return self._wait(self.begin(op, args), deadline).result()

    def ask_for_fd(self, op: str, args: dict[str, Any], deadline: float | None) -> int | None:
        """Ask for a descriptor, the caller's to close; None when the answer brings none. Raises as `ask`."""
        if deadline is not None and deadline <= monotonic():
            raise timed_out(op)
        question = self._wait(self.begin(op, args), deadline)
        question.result()
        return question.fd

    def _wait(self, question: Question, deadline: float | None) -> Question:
        try:
            with self._changed:
                while question.answer is None:
                    left = None if deadline is None else deadline - monotonic()
                    if left is not None and left <= 0:
                        raise timed_out(question.op)
                    if self.served or self._reading:
                        self._changed.wait(left)
                    else:
                        self._read(left)
        finally:
            self.give_up(question)
        return question

    def begin(self, op: str, args: dict[str, Any], settled: Callable[[], None] | None = None) -> Question:
        """Send a question."""
        if os.getpid() != self._pid:  # before the lock, which another thread may have held at the fork
            raise RuntimeUnreachableError(f"the way to the runtime belongs to process {self._pid}; it does not survive a fork")
        with self._changed:
            self._numbers -= 1
            question = Question(self._numbers, op, self._codec, settled)
            self._open[question.number] = question
            gone = self._gone
        try:
            if gone:
                raise BrokenPipeError
            self._channel.send([m.CONTROL, question.number, op, args])
        except OSError as exc:
            self._forget(question)
            raise RuntimeUnreachableError("the runtime is gone") from exc
        except BaseException:  # a value that cannot be sent
            self._forget(question)
            raise
        return question

    def give_up(self, question: Question) -> None:
        """Want no answer any more; nothing for a question that was answered."""
        if self._forget(question):
            try:
                self._channel.send([m.CANCEL, question.number])
            except OSError:
                pass  # nobody there to tell

    def _forget(self, question: Question) -> bool:
        with self._changed:
            return self._open.pop(question.number, None) is not None

    def expect(self, op: str) -> tuple[dict[str, Any], list[int]]:
        """Before the control thread reads: wait for the parent's [CONTROL, 0, op, args]; return args and its descriptors.

        Raises:
            RuntimeUnreachableError: The parent is gone.
        """
        with self._changed:
            while True:
                for place, (message, fds) in enumerate(self._early):
                    if message[0] == m.CONTROL and message[2] == op:
                        del self._early[place]
                        return message[3], fds
                if self._gone:
                    raise RuntimeUnreachableError("the runtime is gone")
                if self._reading:
                    self._changed.wait()
                else:
                    self._read(None)

    # -- answers

    def serve(self) -> list[tuple[list[Any], list[int]]]:
        """Say that the control thread reads from now on; return what came before and is for it, and what that brought."""
        with self._changed:
            self.served = True
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
            self._changed.notify_all()
            early, self._early = self._early, []
            return early

    def answered(self, message: list[Any]) -> None:
        """Take [REPLY | FAULT | PARAM, -n, value]; an answer nobody waits for any more is dropped, PARAM's descriptor closed."""
        with self._changed:
            self._settle(message)

    def undecodable(self, exc: UndecodableError) -> None:
        """Fail the question whose answer holds a value that cannot be rebuilt here; anything else is only logged."""
        if exc.request is not None and exc.request < 0:
            self.answered(self._fault(exc.request, exc))
        else:
            log.error("lost a message of the parent: %s", exc)

    def drop_messages(self, unwanted: Callable[[Any], bool]) -> int:
        """Drop messages for the mailbox that came before there was one; return how many."""
        with self._changed:
            kept = [each for each in self._early if not (is_mail(each[0]) and unwanted(each[0][2]["message"]))]
            dropped, self._early = len(self._early) - len(kept), kept
            return dropped

    def _fault(self, number: int, exc: Exception) -> list[Any]:
        return [m.FAULT, number, to_fault(exc, id=None, incarnation=None, codec=self._codec)]

    def _settle(self, message: list[Any]) -> None:
        question = self._open.pop(message[1], None)
        fd = self._channel.take_fd() if message[0] == m.PARAM else None
        if question is None:
            if fd is not None:
                os.close(fd)
            return
        question.answer, question.fd = message, fd
        self._changed.notify_all()
        if question.settled is not None:
            question.settled()

    def _read(self, timeout_s: float | None) -> None:
        """Be the one who reads, once. Holds the lock but for the wait."""
        self._reading, self._wake = True, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed.release()
        try:
            if not self._channel.pending:
                poller = select.poll()
                poller.register(self._channel.fileno(), select.POLLIN)
                poller.register(self._wake, select.POLLIN)
                poller.poll(None if timeout_s is None else ceil(timeout_s * 1e3))
        finally:
            self._changed.acquire()
            os.close(self._wake)
            self._reading, self._wake = False, -1
            self._changed.notify_all()  # whoever waits on may have to be the next
        if not self.served:
            self._receive()

    def _receive(self) -> None:
        try:
            received = self._channel.recv_ready()
        except UndecodableError as exc:
            if exc.request is not None and exc.request < 0:
                self._settle(self._fault(exc.request, exc))
            return
        except (EOFError, ConnectionError):
            self._gone = True
            for number in list(self._open):
                self._settle(self._fault(number, RuntimeUnreachableError("the runtime is gone")))
            return
        for message in received:
            if message[0] in ANSWERS and message[1] < 0:
                self._settle(message)
            else:
                self._early.append((message, [self._channel.take_fd() for _ in range(descriptors(message))]))


def is_change(message: list[Any]) -> bool:
    """Return whether a message of the parent is one of a subscription to parameters (`node.subscriptions`)."""
    return bool(message[0] == m.EVENT and message[2].get("type") in CHANGES)


def is_mail(message: list[Any]) -> bool:
    """Return whether a message of the parent is one for the mailbox: [EVENT, 0, {"type": "message", "message": ...}]."""
    return bool(message[0] == m.EVENT and message[2].get("type") == "message")


def timed_out(op: str) -> CallTimeoutError:
    """Return the error for a question that was not answered in time."""
    return CallTimeoutError(f"the runtime has not answered {op!r} in time")
