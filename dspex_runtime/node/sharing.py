"""Parameters that replicas share: what is newer in one is given to the others. Values pass through unopened.

    join    of a replica that begins to serve: it takes what is newer in another one, and what is newer in it the others take
    spread  of a write under the group's id, which the lowest has made: the others take it, with its version

A replica takes a value only when its version is newer. One in which something else has that version, or a later one, says so:
then the lowest sets its value once more, above that, and it is spread again. Never decides who may be called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.errors import DspexError, ParameterError, ProcessDownError
from dspex_runtime.node.control_pipe import FdAnswer
from dspex_runtime.node.control_requests import Answer
from dspex_runtime.node.groups import Group
from dspex_runtime.node.registry import Record

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.node import Node

__all__ = ["Sharing", "give_to"]

Facts: TypeAlias = dict[str, Any]
Over: TypeAlias = Callable[..., None]  # (is_in=whether it may be called)
Spread: TypeAlias = Callable[[dict[str, int] | None, DspexError | Facts | None], None]  # (versions, why not)

TIMEOUT_S: Final = 60.0  # what a running call uses is put in when it has ended
TRIES: Final = 5  # each time somebody else has written to one replica alone


class Sharing:
    """See the module docstring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._joining: dict[str, _Join] = {}  #: by full id

    # -- a replica that begins to serve -----------------------------------------------------------------------------

    def join(self, group: Group, record: Record, joined: Callable[[], None]) -> None:
        """Have a replica know what the others know, and they what it knows; then call `joined`.

        Not where its process ends before, or is told to `leave`. Idempotent while the process is the same.
        """
        process, before = record.process, self._joining.get(record.id)
        if process is None or (before is not None and before.process is process):
            return
        self.leave(record.id)

        def over(*, is_in: bool) -> None:
            if self._joining.get(record.id) is join:
                del self._joining[record.id]
            if is_in:
                joined()

        join = self._joining[record.id] = _Join(self._node, group, record.id, process, over)
        join.begin()

    def leave(self, id: str) -> None:
        """A replica serves no more, or not now: what it was about to take it takes when it joins again. Idempotent."""
        join = self._joining.pop(id, None)
        if join is not None:
            join.give_up()

    # -- a write under the group's id -------------------------------------------------------------------------------

    def spread(self, group: Group, names: Sequence[str] | None, leader: Record, incarnation: int, done: Spread) -> None:
        """Give what the leader has to all the others that serve, those that only join included.

        Args:
            group: Of both.
            names: Of parameters; None: all that is newer in the leader than in one of them.
            leader: Who has made the write.
            incarnation: That it was by then.
            done: Gets the versions that all have now, or why not.
        """
        _Spread(self._node, group, names, leader, incarnation, done).begin()


class _Join:
    """One replica that begins to serve.

    Args:
        node: The runtime.
        group: Of the replica.
        id: Its full id.
        process: Its process, which serves.
        over: Called once, unless it is given up: whether it may be called.
    """

    def __init__(self, node: Node, group: Group, id: str, process: ModuleProcess, over: Over) -> None:
        self.process = process
        self._node = node
        self._group = group
        self._id = id
        self._over = over
        self._tried: list[ModuleProcess] = []
        self._is_over = False

    def begin(self) -> None:
        """Compare with the first of the others that answers."""
        if not self.process.serving:
            self._end(is_in=False)
            return
        sibling = next((other for other in self._others() if other not in self._tried), None)
        if sibling is None:
            self._end(is_in=True)
            return
        self._tried.append(sibling)
        self._ask("shared_versions", {}, lambda versions, fault: self._compare(sibling, versions, fault))

    def _others(self) -> list[ModuleProcess]:
        return [r.process for r in self._group.routable if r.id != self._id and r.process is not None]

    def give_up(self) -> None:
        """Nothing more is asked, and nobody is told."""
        self._is_over = True

    def _end(self, *, is_in: bool) -> None:
        if not self._is_over:
            self._is_over = True
            self._over(is_in=is_in)

    def _ask(self, op: str, args: Facts, then: Answer, fds: Sequence[int] = ()) -> None:
        self.process.request(op, args, TIMEOUT_S, lambda value, fault: None if self._is_over else then(value, fault), fds)

    def _ask_values(self, process: ModuleProcess, newer: Any, then: FdAnswer) -> None:
        def answered(value: Any, fault: Facts | None, fd: int | None) -> None:
            if not self._is_over:
                then(value, fault, fd)
            elif fd is not None:
                os.close(fd)

        process.request_fd("shared_values", {"newer": newer}, TIMEOUT_S, answered)

    def _compare(self, sibling: ModuleProcess, versions: Any, fault: Facts | None) -> None:
        if fault is not None:
            self._failed(fault)
        elif sibling not in self._others():  # it ended, or is swapped: what it has, if it answers, is of before that
            self.begin()
        else:
            self._ask_values(sibling, versions, lambda value, fault, fd: self._take(sibling, value, fault, fd))

    def _take(self, sibling: ModuleProcess, theirs: Any, fault: Facts | None, fd: int | None) -> None:
        if fault is not None or fd is None:
            self.begin()  # of another one
            return

        def taken(_refused: Any, fault: Facts | None) -> None:
            if fault is not None:
                self._failed(fault)
            else:
                self._ask_values(self.process, theirs["versions"], self._give)

        if theirs["n"]:
            self._ask("shared_take", {"who": sibling.id}, taken, (fd,))
        else:
            os.close(fd)
            if theirs["behind"]:
                taken(None, None)
            else:
                self._end(is_in=True)

    def _give(self, value: Any, fault: Facts | None, fd: int | None) -> None:
        if fault is not None or fd is None:
            self._failed(fault or {})
            return
        others = [r.process for r in self._group.serving if r.id != self._id and r.process is not None] if value["n"] else []
        give_to(others, fd, self._id, lambda _: self._end(is_in=True))

    def _failed(self, fault: Facts) -> None:
        """It ended, or does not answer: it is let in all the same when it lives, and said so."""
        if self.process.serving:
            text = f"it has not taken over what the other replicas have: {fault.get('message')}"
            self._node.reports.emit("state_report", self._id, message=text)
        self._end(is_in=self.process.serving)


class _Spread:
    """One write on its way to all replicas."""

    def __init__(
        self, node: Node, group: Group, names: Sequence[str] | None, leader: Record, incarnation: int, done: Spread
    ) -> None:
        self._node = node
        self._group = group
        self._names = None if names is None else list(names)
        self._leader = leader
        self._incarnation = incarnation
        self._done = done
        self._left = TRIES

    @property
    def _process(self) -> ModuleProcess | None:
        """That of the leader, while it is the same incarnation: another one, when it was swapped meanwhile."""
        return self._leader.process if self._leader.incarnation == self._incarnation else None

    def begin(self) -> None:
        """Ask the leader for the value."""
        process = self._process
        if process is None or process.ended:
            self._leader_is_down()
            return
        process.request_fd("shared_values", {"names": self._names}, TIMEOUT_S, self._given)

    def _given(self, value: Any, fault: Facts | None, fd: int | None) -> None:
        if fault is not None or fd is None:
            self._fail(fault or {"message": "the lowest replica answered without its values"})
            return
        others = [r.process for r in self._group.serving if r is not self._leader and r.process is not None]
        give_to(others, fd, self._leader.id, lambda answers: self._taken(value["versions"], answers))

    def _taken(self, versions: dict[str, int], answers: list[tuple[ModuleProcess, Any, Facts | None]]) -> None:
        above: dict[str, int] = {}
        for taker, refused, fault in answers:
            if fault is not None and taker.serving:  # one that ended takes it when it serves again
                text = f"{taker.id!r} did not take what {self._leader.id!r} has: {fault.get('message')}"
                self._done(None, ParameterError(text, id=self._group.id))
                return
            for name, version in (refused or {}).items():
                above[name] = max(version, above.get(name, 0))
        if not above:
            self._done(
                versions if self._names is None else {name: versions[name] for name in self._names if name in versions}, None
            )
            return
        self._left -= 1
        process = self._process
        if process is None:
            self._leader_is_down()
            return
        if not self._left:
            text = f"the replicas of {self._group.id!r} are written to one by one meanwhile: {', '.join(above)} differs in them"
            self._done(None, ParameterError(text, id=self._group.id))
            return
        process.request("shared_raise", {"above": above}, TIMEOUT_S, self._raised)

    def _raised(self, _value: Any, fault: Facts | None) -> None:
        if fault is not None:
            self._fail(fault)
        else:
            self.begin()

    def _fail(self, fault: Facts) -> None:
        if self._process is None or not self._process.serving:
            self._leader_is_down()
        else:
            self._done(None, fault)

    def _leader_is_down(self) -> None:
        reason = self._leader.exits.get(self._incarnation) or self._leader.last_exit or "noproc"
        text = f"{self._leader.id!r} ended before the other replicas of {self._group.id!r} had what was set"
        self._done(None, ProcessDownError(text, id=self._leader.id, incarnation=self._incarnation, reason=reason))


def give_to(
    processes: Sequence[ModuleProcess],
    fd: int,
    who: str,
    done: Callable[[list[tuple[ModuleProcess, Any, Facts | None]]], None],
) -> None:
    """Give values to processes, side by side; takes the descriptor over. `done` gets what each answered."""
    answers: list[tuple[ModuleProcess, Any, Facts | None]] = []
    left = len(processes)

    def answered(process: ModuleProcess, value: Any, fault: Facts | None) -> None:
        nonlocal left
        left -= 1
        answers.append((process, value, fault))
        if not left:
            done(answers)

    copies = [os.dup(fd) for _ in processes]
    os.close(fd)
    for process, copy in zip(processes, copies, strict=True):
        args = {"who": who}
        process.request("shared_take", args, TIMEOUT_S, partial(answered, process), (copy,))
    if not processes:
        done(answers)
