"""The keeper as a process and a pipe: started, asked, replaced when it dies or answers nobody any more.

Owns the questions until they are answered, each exactly once, and those that wait for the next keeper. Knows the messages
(`state.protocol`) and nothing of what they are about. Never blocks.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from dspex_runtime.errors import CheckpointError, DspexError, StartError
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.node.peer import PLAIN, Peer
from dspex_runtime.osproc.keeper_client import KeeperProcess
from dspex_runtime.state.protocol import ALARM_KEEPER, ALARM_STORE, NO_ANSWER, OFFERS
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.messages import Message

__all__ = ["ASK_TIMEOUT_S", "CLOSE_TIMEOUT_S", "READS", "TRIES_TO_OPEN", "Answer", "Facts", "KeeperLink", "Owner", "close_all"]

log = logging.getLogger(__name__)

RESPAWN_DELAYS_S: Final = (0.0, 0.1, 0.5, 2.0, 10.0)  # before the nth replacement of one that never opened
ASK_TIMEOUT_S: Final = 30.0  # a disk that is stuck; what waits for it is told
TRIES_TO_OPEN: Final = 3
CLOSE_TIMEOUT_S: Final = 30.0
# One that is stopped or thrashing: no disk is needed to say that one is there. Twice, as this process may have stood still, too.
SILENT_S: Final = 2.0
PROBE_S: Final = 3.0
PROBE: Final = "figures"
READS: Final = frozenset(
    {"reader", "blob_of", "history", "value_at", "executions", "metrics", "checkpoints", "image", "images", PROBE}
)

#: (value, fault, descriptors): exactly once; the descriptors are whoever's answer it is, and come without a fault only.
Answer: TypeAlias = Callable[[Any, dict[str, Any] | None, list[int]], None]
Facts: TypeAlias = dict[str, Any]


class Owner(Protocol):
    """Whose keeper it is."""

    def keeper_opened(self, found: Facts, *, again: bool) -> None:
        """Hear what the store has; `again`: of a keeper that took the place of another one, before it is asked anything."""

    def keeper_failed(self, error: StartError) -> None:
        """Hear that no keeper gets as far as that."""

    def keeper_offers(self, id: str, kind: str, facts: Facts, fd: int) -> None:
        """Get a descriptor that the keeper made; a copy of it is to be taken."""

    def keeper_tells(self, facts: Facts) -> None:
        """Hear any other event."""


@dataclass(slots=True, eq=False)
class _Question:
    op: str
    args: Facts
    answer: Answer
    timeout_s: float | None
    is_asked_again: bool  #: of the next keeper, when this one dies
    timer: Timer | None = None
    fds: list[int] = field(default_factory=list)  #: that came ahead of the answer


class KeeperLink:
    """One keeper after the other, as if it were one."""

    def __init__(self, loop: EventLoop, owner: Owner, *, spawn: Callable[[], KeeperProcess], report: Callable[..., None]) -> None:
        """Prepare; `open` starts the process.

        Args:
            loop: Of the runtime process.
            owner: Whose it is.
            spawn: Starts a keeper; may raise OSError.
            report: Publishes an event of ours.
        """
        self._loop = loop
        self._owner = owner
        self._spawn = spawn
        self._report = report
        self._process: KeeperProcess | None = None
        self._peer: Peer | None = None
        self._is_open = False
        self._was_open = False
        self._questions: dict[int, _Question] = {}
        self._next = 1
        self._waiting: deque[Callable[[], None]] = deque()  #: what is to be asked when it is open
        self._open_args: Facts = {}
        self._failures = 0
        self._watch: Timer | None = None
        self._closing = False
        self._on_closed: Callable[[], None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the living keeper."""
        return self._process.pid if self._process is not None else None

    # -- the process ------------------------------------------------------------------------------------------------

    def open(self, args: Facts) -> None:
        """Start the keeper and have it open the store.

        Raises:
            OSError: It could not be started.
        """
        self._open_args = args
        self._start()

    def _start(self) -> None:
        self._process = self._spawn()
        self._peer = Peer(self._loop, self._process.sock, self._message, self._lost)
        self._send(_Question("open", self._open_args, self._opened, None, is_asked_again=False))

    def _opened(self, value: Any, fault: Facts | None, _fds: list[int]) -> None:
        if fault is not None:
            self._refused(fault)
            return
        again, self._is_open, self._was_open, self._failures = self._was_open, True, True, 0
        if again:
            self._owner.keeper_tells({"type": "alarm_cleared", "alarm": ALARM_KEEPER})
        self._open_args = {**self._open_args, "fresh": False, "again": True}
        self._owner.keeper_opened(value, again=again)
        waiting, self._waiting = self._waiting, deque()
        for action in waiting:
            action()

    def _refused(self, fault: Facts) -> None:
        if self._peer is None:
            return  # it died; another one is on its way
        error = from_fault(fault, codec=PLAIN)
        if self._was_open:
            self._peer.close(CheckpointError(f"it cannot open the store: {error}"))  # the next one may do better
            return
        if not isinstance(error, StartError):
            text = f"what is kept in {self._open_args['state_dir']} cannot be read: {error}"
            error = StartError(text, hint="name another state_dir; --fresh discards what is there")
        self._closing = True
        self._owner.keeper_failed(error)

    def _lost(self, _peer: Peer, error: Exception | None) -> None:
        process, self._process, self._peer, self._is_open = self._process, None, None, False
        if process is None:
            return
        if error is not None:
            log.error("keeper: %s", error)
        process.end()  # its socket closed: it is gone, or of no use
        questions, self._questions = self._questions, {}
        if not self._closing:
            delay_s = self._again_later()
            self._report("keeper_lost", pid=process.pid, again_in_s=delay_s)
            why = str(error) if error is not None else "it ended"
            text = f"what is kept can be neither read nor written until there is another keeper (pid {process.pid} is gone: {why})"
            self._owner.keeper_tells({"type": "alarm_set", "alarm": ALARM_KEEPER, "description": text})
            # What the next one finds wrong, it says itself; what this one found, nobody would ever take back.
            self._owner.keeper_tells({"type": "alarm_cleared", "alarm": ALARM_STORE})
        for question in questions.values():
            self._forsake(question)
        if self._closing:
            self._closed()

    def _forsake(self, question: _Question) -> None:
        _cancel(question.timer)
        close_all(question.fds)
        if question.is_asked_again and not self._closing:
            self.ask(question.op, question.args, question.answer, timeout_s=question.timeout_s, is_asked_again=True)
        else:
            text = f"the keeper died while it was asked {question.op!r}; another one starts"
            question.answer(None, _fault(CheckpointError(text)), [])

    def _again_later(self) -> float:
        if not self._was_open and self._failures + 1 >= TRIES_TO_OPEN:
            # Modules that start without what is kept would write over it.
            self._closing = True
            text = f"the keeper of {self._open_args['state_dir']} ended {TRIES_TO_OPEN} times before it had read what is there"
            self._owner.keeper_failed(StartError(text, hint="runtime.log there says why; --fresh discards it"))
        delay_s = RESPAWN_DELAYS_S[min(self._failures, len(RESPAWN_DELAYS_S) - 1)]
        self._failures += 1
        self._loop.call_later(delay_s, self._restart)
        return delay_s

    def _restart(self) -> None:
        if self._closing or self._process is not None:
            return
        try:
            self._start()
        except OSError as exc:
            self._report("keeper_failed", message=f"cannot start a keeper: {exc}")
            self._again_later()

    # -- asking -----------------------------------------------------------------------------------------------------

    def ask(
        self,
        op: str,
        args: Facts,
        answer: Answer,
        *,
        fds: Sequence[int] = (),
        timeout_s: float | None = ASK_TIMEOUT_S,
        is_asked_again: bool = False,
    ) -> None:
        """Ask the keeper; while it is being replaced the question waits.

        Args:
            op: Of `state.protocol`.
            args: Its arguments.
            answer: Gets the answer, or CheckpointError: it died (it may have been done), or is stuck.
            fds: Go with the question, and are given away.
            timeout_s: Until the answer counts as none.
            is_asked_again: Whether the next keeper is asked when this one dies; READS are.
        """
        question = _Question(op, args, answer, timeout_s, is_asked_again or op in READS)
        if self._is_open:
            self._send(question, fds)
        else:
            self._waiting.append(lambda: self._send(question, fds))

    def tell(self, op: str, args: Facts, fds: Sequence[int] = ()) -> None:
        """Tell the keeper something that needs no answer; dropped while there is none. Descriptors are given away."""
        if self._peer is None:
            close_all(fds)
        else:
            self._peer.send([NO_ANSWER, op, args], fds)

    def _send(self, question: _Question, fds: Sequence[int] = ()) -> None:
        assert self._peer is not None
        number = self._next
        self._next += 1
        if question.timeout_s is not None:
            question.timer = self._loop.call_later(question.timeout_s, lambda: self._unanswered(number))
        self._questions[number] = question
        try:
            self._peer.send([number, question.op, question.args], fds)
        except DspexError as exc:  # too large, nested too deep
            del self._questions[number]
            _cancel(question.timer)
            question.answer(None, _fault(exc), [])
            return
        if question.op != PROBE and (self._watch is None or self._watch.callback is None):
            self._watch = self._loop.call_later(SILENT_S, self._look)

    def _unanswered(self, number: int) -> None:
        question = self._questions.pop(number, None)
        if question is not None:
            close_all(question.fds)
            text = f"the keeper did not answer {question.op!r} within {question.timeout_s:g} s: its disk does not answer"
            question.answer(None, _fault(CheckpointError(text)), [])

    def _look(self) -> None:
        """Something was asked a while ago: if it is still open, see whether anybody is there at all."""
        if self._questions and self._peer is not None:
            peer = self._peer
            heard: list[int] = []
            self._send(_Question(PROBE, {}, lambda *_: heard.append(1), None, is_asked_again=False))
            self._loop.call_later(PROBE_S, lambda: self._probed(peer, heard))

    def _probed(self, peer: Peer, heard: list[int]) -> None:
        if peer is not self._peer:
            return
        if not heard:
            peer.close(CheckpointError(f"it did not answer within {SILENT_S + PROBE_S:g} s, and is replaced"))
        elif self._questions:
            self._watch = self._loop.call_later(SILENT_S, self._look)

    # -- messages ---------------------------------------------------------------------------------------------------

    def _message(self, peer: Peer, message: Message) -> None:
        match message:
            case [int(number), "ok", value, int(count)]:
                self._answered(number, value, None, _take(peer, count))
            case [int(number), "error", dict() as fault]:
                self._answered(number, None, fault, [])
            case [int(number), "fds", int(count)]:
                fds = _take(peer, count)
                question = self._questions.get(number)
                question.fds.extend(fds) if question is not None else close_all(fds)
            case [0, "event", {"type": kind, "id": str(id)} as facts] if kind in OFFERS:
                for fd in _take(peer, 1):
                    self._owner.keeper_offers(id, kind, facts, fd)
                    os.close(fd)
            case [0, "event", dict() as facts]:
                self._owner.keeper_tells(facts)
            case _:
                log.error("illegal message from the keeper: %.200r", message)

    def _answered(self, number: int, value: Any, fault: Facts | None, fds: list[int]) -> None:
        question = self._questions.pop(number, None)
        if question is None:
            close_all(fds)
            return
        _cancel(question.timer)
        if fault is not None:
            close_all([*question.fds, *fds])
            question.answer(None, fault, [])
        else:
            question.answer(value, None, [*question.fds, *fds])

    # -- end --------------------------------------------------------------------------------------------------------

    def close(self, done: Callable[[], None]) -> None:
        """End the keeper in order, then call `done`: it takes in every journal first. Modules must be gone by now."""
        self._closing, self._on_closed = True, done
        if self._process is None:
            self._closed()
        else:
            self._loop.call_later(CLOSE_TIMEOUT_S, self.kill)
            self.tell("close", {})

    def kill(self) -> None:
        """End the keeper at once. What it has not taken in is in the journals, for the next one. Idempotent."""
        self._closing = True
        process, self._process = self._process, None
        if process is not None:
            process.end()
        if self._peer is not None:
            self._peer.close()
        self._closed()

    def _closed(self) -> None:
        done, self._on_closed = self._on_closed, None
        if done is not None:
            done()


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def _take(peer: Peer, count: int) -> list[int]:
    return [fd for fd in (peer.take_fd() for _ in range(count)) if fd is not None]


def _cancel(timer: Timer | None) -> None:
    if timer is not None:
        timer.cancel()


def _fault(error: Exception) -> Facts:
    return to_fault(error, id=None, incarnation=None, codec=PLAIN)
