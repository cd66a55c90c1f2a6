"""What a group has of its own: figures, keys, checkpoints, what it was compiled to. Each replica is asked what one child would be.

metrics, executions   of all: added up, and the latest of any
checkpoint            of each; the answer is that of the lowest, whose checkpoints are the group's
restore               all of them are what the lowest was, with their parts; refused where each has parameters of its own
compile               of the lowest; what came of it all of them take, with their parts
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CheckpointError, CompileError, DspexError
from dspex_runtime.node.broker import no_replica
from dspex_runtime.node.checkpointing import IMAGE_TIMEOUT_S
from dspex_runtime.node.composites.restoring import Restoring, running
from dspex_runtime.node.composites.saving import fault_of
from dspex_runtime.node.composites.taking import Taking
from dspex_runtime.node.groups import Group, several, summed
from dspex_runtime.node.operations import checkpoints, compile, inspection
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["checkpoint", "compile_", "keys", "module_op", "restore"]

Facts = dict[str, Any]
Operation = Callable[["Node", Args, Responder], None]


class Part(Responder):
    """The answer of one replica, on its way to be part of the group's."""

    __slots__ = ("_answered",)

    def __init__(self, whole: Responder, answered: Callable[[Any, DspexError | Facts | None], None]) -> None:
        super().__init__(whole.session, whole.request)
        self._answered = answered

    def reply(self, value: Any) -> None:
        """It has answered."""
        if self._finish():
            self._answered(value, None)

    def fail(self, error: BaseException) -> None:
        """It has not."""
        if self._finish():
            self._answered(None, error if isinstance(error, DspexError) else DspexError(str(error)))

    def fault(self, fault: Facts) -> None:
        """It has not, and says so as data."""
        if self._finish():
            self._answered(None, fault)


def _asked_of(
    node: Node, records: Sequence[Record], operation: Operation, args: Args, responder: Responder, done: Callable[[list[Any]], None]
) -> None:
    """Ask each of some replicas; `done` gets what they answered, in order. The first error there is is the group's answer."""
    answers: list[Any] = [None] * len(records)
    left = len(records)

    def answered(place: int, value: Any, error: DspexError | Facts | None) -> None:
        nonlocal left
        left -= 1
        answers[place] = value
        if isinstance(error, DspexError):
            responder.fail(error)
        elif error is not None:
            responder.fault(error)
        elif not left:
            done(answers)

    parts = [Part(responder, partial(answered, place)) for place in range(len(records))]

    def nobody_waits() -> None:
        for part in parts:
            part.cancel()

    responder.on_done = nobody_waits
    for record, part in zip(records, parts, strict=True):
        try:
            operation(node, {**args, "id": record.id}, part)
        except DspexError as exc:
            part.fail(exc)


def keys(node: Node, group: Group, _args: Args, responder: Responder) -> None:
    """Those under which any of them is registered."""
    from dspex_runtime.node.operations import naming

    _asked_of(
        node, group.records, naming.keys, {}, responder, lambda found: responder.reply([key for each in found for key in each])
    )


def module_op(node: Node, group: Group, args: Args, responder: Responder) -> None:
    """Figures and records of all; anything else is asked of one of them."""
    op = args.get("op")
    there = group.serving or group.records[:1]
    if op not in WHOLE:
        raise several(group, f"{op!r} is asked of one of them")
    if not there:
        raise no_replica(group)
    n = (args.get("args") or {}).get("n", 20)
    _asked_of(node, there, inspection.module_op, args, responder, lambda found: responder.reply(WHOLE[op](found, n)))


def _latest(found: list[list[Facts]], n: int) -> list[Facts]:
    records = [record for each in found for record in each]
    return sorted(records, key=lambda record: record.get("started_at") or 0.0, reverse=True)[:n]


WHOLE: Final[dict[Any, Callable[[list[Any], int], Any]]] = {"metrics": lambda found, _: summed(found), "executions": _latest}


def checkpoint(node: Node, group: Group, args: Args, responder: Responder) -> None:
    """Take one of each that serves; answers with that of the lowest when all are on the disk."""
    records = group.serving
    if not records:
        raise CheckpointError(f"{group.id!r} is {group.state}: only running modules can be saved", id=group.id)
    _asked_of(node, records, checkpoints.checkpoint, args, responder, lambda infos: responder.reply(infos[0]))


def restore(node: Node, group: Group, args: Args, responder: Responder) -> None:
    """Put all of them, each with its parts, back to a checkpoint of the lowest: that one first, then the others side by side."""
    if not group.shares:
        raise several(group, "each has parameters of its own, and is put back by itself")
    lowest = group.lowest()
    if lowest is None:
        raise no_replica(group)
    running(lowest)
    node.replicas.when_joined(group, partial(_restore, node, group, lowest, args.get("number"), responder))


def _restore(node: Node, group: Group, lowest: Record, number: Any, responder: Responder) -> None:
    def found(infos: Any, fault: Facts | None, fds: list[int]) -> None:
        if fault is not None:
            responder.fault(fault)
            return

        # In hand for the others before the lowest is put back: what is saved first may push it out.
        copies = [os.dup(fd) for fd in fds]

        def restored(_info: Facts | None, fault: Facts | None) -> None:
            others = [record for record in _living(group) if record is not lowest]
            if fault is None and others:
                _restore_others(node, others, lowest.id, infos, copies, had)
            else:
                had(fault)
            for copy in copies:
                os.close(copy)

        def had(fault: Facts | None) -> None:
            if fault is None:
                responder.reply(infos[0])
            else:
                responder.fault(fault)

        Restoring(node, lowest, None, checkpoints.kept(lowest), restored).begin_with(infos, fds)

    node.keeping.ask("images", {"id": lowest.id, "number": number}, found)


def _restore_others(
    node: Node, records: Sequence[Record], of: str, infos: Sequence[Facts], fds: Sequence[int], done: Callable[[Facts | None], None]
) -> None:
    """Put others back to what is one's checkpoint; `done` gets the first fault there was. Descriptors stay the caller's."""
    left = len(records)
    first: Facts | None = None

    def restored(record: Record, incarnation: int, _info: Facts | None, fault: Facts | None) -> None:
        nonlocal left, first
        left -= 1
        if fault is not None and _lives(record, incarnation):
            text = f"{of!r} is put back to checkpoint {infos[0]['number']}, but not {record.id!r}: {fault.get('message')}"
            first = first or fault_of(CheckpointError(text, id=record.id))
        if not left:
            done(first)

    for record in records:
        one = Restoring(node, record, None, checkpoints.kept(record), partial(restored, record, record.incarnation), of)
        one.begin_with(infos, [os.dup(fd) for fd in fds])


def _lives(record: Record, incarnation: int) -> bool:
    """Return whether a replica is what it was; one that ended takes what has a version when it serves again."""
    return record.incarnation == incarnation and record.process is not None and record.process.serving


def _living(group: Group) -> list[Record]:
    """Return those whose process takes questions, now or when it is swapped: then they wait until it is."""
    return [r for r in group.records if r.process is not None and r.process.serving and r.id not in group.leaving]


def compile_(node: Node, group: Group, args: Args, responder: Responder) -> None:
    """Compile the lowest, and have all take what came of it."""
    lowest = group.lowest()
    if lowest is None:
        raise no_replica(group)
    if not group.shares:
        raise several(group, "each has parameters of its own, and is compiled by itself")

    def others(who: str, fd: int, done: Callable[[Facts | None], None]) -> None:
        _give(node, [record for record in _living(group) if record is not lowest], fd, who, done)

    try:
        compile.compile_(node, {**args, "id": lowest.id}, responder, others)
    except CompileError as exc:
        exc.id = group.id
        raise


def _give(node: Node, records: Sequence[Record], fd: int, who: str, done: Callable[[Facts | None], None]) -> None:
    """Have replicas take what one was compiled to, side by side, and save what they are then; takes the descriptor over.

    `done` gets the first fault there was.
    """
    left = len(records)
    first: Facts | None = None

    def over(record: Record, fault: Facts | None) -> None:
        nonlocal left, first
        left -= 1
        if fault is not None:
            first = first or {**fault, "message": f"{record.id!r} did not take it: {fault.get('message')}"}
        if not left:
            done(first)

    copies = [os.dup(fd) for _ in records]
    os.close(fd)
    for record, copy in zip(records, copies, strict=True):
        if len(node.composites.members(record)) > 1:
            Taking(node, record, copy, who, partial(over, record)).begin()
        else:
            _give_alone(node, record, copy, who, partial(over, record))
    if not records:
        done(None)


def _give_alone(node: Node, record: Record, fd: int, who: str, done: Callable[[Facts | None], None]) -> None:
    """Have a replica without parts take it."""
    incarnation = record.incarnation

    def taken(_value: Any, fault: Facts | None) -> None:
        process = record.process  # another one, where it was swapped in the meantime
        if process is None or not _lives(record, incarnation):
            done(None)
        elif fault is not None:
            done(fault)
        else:
            node.checkpointing.take(process, "restored", saved)

    def saved(_info: Any, fault: Facts | None) -> None:
        if fault is None or not _lives(record, incarnation):
            done(None)
        else:
            done({**fault, "message": f"it has it, but there is no checkpoint of that: {fault.get('message')}"})

    assert record.process is not None
    record.process.request("restore", {"who": who}, IMAGE_TIMEOUT_S, taken, (fd,))
