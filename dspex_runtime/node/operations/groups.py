"""Operations under the id of a group: what they come to for its replicas. Those that are only to be had of one process say so.

stop, start, delete     all, side by side
restart                 one by one: each may be called again before the next one goes
info, wait, versions    of the group
scale                   {id, n} -> {"id", "replicas": [full ids]}
spread                  {id, names, with, incarnation} -> {name: version}, of parameters that replica `with` has written
board                   {}      -> a descriptor: what each process has to do, to be read (`osproc.board`)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.config.composition_schema import MAX_REPLICAS, SHARED_PARAMS, Replicas
from dspex_runtime.config.problems import Problems
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.core.keys import show
from dspex_runtime.core.names import full_id
from dspex_runtime.errors import ConfigError, DspexError, NoProcessError, SupervisorError
from dspex_runtime.node.broker import no_replica
from dspex_runtime.node.groups import Group, several
from dspex_runtime.node.operations import checkpoints, group_state, params
from dspex_runtime.node.operations.answers import Answer, Args, done, erasing, settled, taken, tree_of, value
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.node.waiting import wait_for

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["TABLE", "board", "dispatched", "scale", "spread", "start_again"]

Each = Callable[[Record, Answer], None]
Operation = Callable[["Node", Args, Responder], None]
GroupOperation = Callable[["Node", Group, Args, Responder], None]


def dispatched(node: Node, op: str, args: Args, responder: Responder) -> bool:
    """Carry out an operation that names a group; False where it does not, or where its own code knows of groups."""
    operation = TABLE.get(op)
    if operation is None or not isinstance(args.get("id"), str):
        return False
    group = node.registry.group(args["id"])
    if group is None:
        return False
    operation(node, group, args, responder)
    return True


def scale(node: Node, args: Args, responder: Responder) -> None:
    """Have a group, or a child that is alone, be so many replicas; answers when the new ones serve and the others are gone."""
    n = args["n"]
    if type(n) is not int or not 0 <= n <= MAX_REPLICAS:
        raise ConfigError(f"a group has 0 to {MAX_REPLICAS} replicas; got {n}", id=args["id"])
    group = node.registry.group(args["id"])
    if group is None:
        record = node.registry.resolve(args["id"])
        node.replicas.scaling.split(record, n, settled(node, record.id, value(responder)))
    else:
        node.replicas.scaling.scale(group, n, settled(node, group.id, value(responder)))


def spread(node: Node, args: Args, responder: Responder) -> None:
    """Have all replicas of a group take what one has written; answers with the versions that all have then."""
    names = args["names"]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"malformed request 'spread': 'names' is a list of text; got {show(names, 200)}")
    group = node.registry.group(args["id"])
    leader = node.registry.get(args["with"])
    if group is None or leader is None or leader not in group.records:
        raise NoProcessError(f"{args['with']!r} is no replica of {args['id']!r} any more", id=args["with"])

    def spread_out(versions: dict[str, int] | None, error: Any) -> None:
        if error is None:
            responder.reply(versions)
        elif isinstance(error, DspexError):
            responder.fail(error)
        else:
            responder.fault(error)

    node.replicas.sharing.spread(group, names, leader, args["incarnation"], spread_out)


def board(node: Node, _args: Args, responder: Responder) -> None:
    """Give a descriptor of the board."""
    fd = node.replicas.board()
    if fd is None:
        responder.reply(None)
    else:
        responder.give({}, fd)


def info(node: Node, group: Group, _args: Args, responder: Responder) -> None:
    """The group."""
    responder.reply(node.replicas.info(group))


def stop(node: Node, group: Group, args: Args, responder: Responder) -> None:
    """Stop all; answers when all are reaped."""
    timeout_s = args.get("timeout")
    responder.give_up_after(timeout_s, f"{group.id!r} is still stopping after {timeout_s} s")
    tree = tree_of(node)
    one: Each = lambda record, answer: tree.terminate(record, node.parts.after(record.id, answer))  # noqa: E731
    stopped = done(node, group.id, responder)
    _of_each(group.records, one, lambda error: stopped(None, error))


def delete(node: Node, group: Group, _args: Args, responder: Responder) -> None:
    """Stop all and forget them, and the group."""
    tree, answer_all = tree_of(node), done(node, group.id, responder)

    def one(record: Record, answer: Answer) -> None:
        tree.delete(record, node.parts.after(record.id, erasing(node, record.id, answer)))

    def deleted(error: DspexError | None) -> None:
        if error is None:
            node.registry.forget_group(group.id)
            node.replicas.forgotten(group.id)
        answer_all(None, error)

    group.kept = True  # until the last one is gone
    _of_each(group.records, one, deleted)


def has_started(node: Node, id: str, args: Args, responder: Responder) -> bool:
    """Answer the start of what is a group already, where that is asked for.

    Raises:
        SupervisorError: It is not.
    """
    group = node.registry.groups.get(id)
    if group is None:
        return False
    if not args.get("get_if_exists") or group.gone:
        code = "already_present" if group.gone else "already_started"
        text = f"{group.id!r} is a group of {len(group.by_number)} replicas already"
        raise SupervisorError(code, text, id=group.id, hint=f"`rt.scale({group.id!r}, n)` makes it larger or smaller")
    wait_for(node, [group], "ready", None, responder, lambda: identity(group))
    return True


def wanted(spec: Args) -> tuple[int, bool] | None:
    """Take `replicas` out of the keys of a child; return how many there are to be, and whether they share parameters.

    Raises:
        ConfigError: It is no such thing.
    """
    if spec.get("replicas") is None:
        spec.pop("replicas", None)
        return None
    problems = Problems()
    checked = REPLICAS.check(spec.pop("replicas"), ("replicas",), problems)
    problems.raise_if_any()
    return checked["count"], checked["params"] == SHARED_PARAMS


def start(node: Node, child: ChildSpec, path: str | None, wanted: tuple[int, bool], responder: Responder) -> None:
    """Start a new group, all of it or none; answers when the last replica may be called."""
    count, shares = wanted
    id = full_id(path or "", child.id)
    existing = node.registry.get(id)
    if existing is not None:
        raise taken(existing)
    if child.register is not None:
        raise ConfigError(f"{child.id!r} has both 'register' and 'replicas': a key names one process", id=child.id)

    def started(group: Group, error: DspexError | None) -> None:
        _started(node, group, responder)(None, error)

    begin = partial(node.replicas.scaling.start, child, path, count, shares=shares, done=started)
    tree_of(node).starts.when_possible(id, child, begin, responder.fail)


def start_again(node: Node, group: Group, responder: Responder) -> None:
    """Start those that were stopped, have exited or have failed."""
    down = [record for record in group.records if record.gone]
    if not group.by_number:
        raise NoProcessError(f"{group.id!r} has no replicas", id=group.id, hint=f"`dspex scale {group.id}=1` starts one")
    if not down:
        down = group.records[:1]  # whose supervisor says what it says of one that runs

    answer = _started(node, group, responder)
    _of_each(down, tree_of(node).reviving.start, lambda error: answer(None, error))


def _started(node: Node, group: Group, responder: Responder) -> Answer:
    """Answer with the identity of a group."""

    def answer(_value: Any, error: DspexError | None) -> None:
        responder.reply(identity(group)) if error is None else responder.fail(error)

    return settled(node, group.id, answer)


def restart(node: Node, group: Group, _args: Args, responder: Responder) -> None:
    """Stop and start one after the other; answers when the last may be called."""
    answer = done(node, group.id, responder)

    def work(over: Callable[[], None]) -> None:
        records = group.records

        def next_one(error: DspexError | None) -> None:
            if error is not None or not records:
                over()
                answer(None, error)
                return
            record = records.pop(0)

            def restarted(_value: Any, error: DspexError | None) -> None:
                node.replicas.when_settled(group, record, lambda: next_one(error))

            if record.gone:
                tree_of(node).reviving.start(record, restarted)
            else:
                tree_of(node).cycle(record, restarted)

        next_one(None)

    node.replicas.in_turn(group, work)


def of_lowest(operation: Operation) -> GroupOperation:
    """Return what reads of a group what it reads of the replica that speaks for all."""

    def read(node: Node, group: Group, args: Args, responder: Responder) -> None:
        lowest = group.lowest()
        if lowest is None:
            raise no_replica(group)
        node.replicas.follow(responder.session, group)
        operation(node, {**args, "id": lowest.id}, responder)

    return read


def param_write(node: Node, group: Group, args: Args, responder: Responder) -> None:
    """Write a parameter of all replicas while none runs; None where one does, or is about to: its clients write then."""
    if not group.gone:
        responder.reply(None)
        return
    if not group.shares:
        raise several(group, "each has parameters of its own")
    first, *others = group.records
    for record in others:  # what one refuses all refuse, and the first says so
        params.param_write(node, {**args, "id": record.id}, Responder(responder.session, 0, done=True))
    params.param_write(node, {**args, "id": first.id}, responder)


def refused(_node: Node, group: Group, _args: Args, _responder: Responder) -> None:
    """What has a process as its object."""
    raise several(group, "this is to be had of one of them")


def identity(group: Group) -> dict[str, Any]:
    """Return what a client needs to make a reference to a group."""
    lowest = group.lowest()
    kind = group.spec.kind if lowest is None or lowest.kind is None else lowest.kind
    return {"id": group.id, "incarnation": 0, "kind": kind.value}


def _of_each(records: list[Record], do: Each, done: Callable[[DspexError | None], None]) -> None:
    """Do something with each, side by side; then `done` gets the first error there was."""
    left = len(records)
    first: DspexError | None = None

    def answered(_value: Any, error: DspexError | None) -> None:
        nonlocal left, first
        left -= 1
        first = first or error
        if not left:
            done(first)

    for record in records:
        do(record, answered)
    if not records:
        done(None)


REPLICAS: Final = Replicas()
TABLE: Final[dict[str, GroupOperation]] = {
    "info": info,
    "stop": stop,
    "delete": delete,
    "restart": restart,
    "kill": refused,
    "keys": group_state.keys,
    "module_op": group_state.module_op,
    "checkpoint": group_state.checkpoint,
    "checkpoints": of_lowest(checkpoints.checkpoints),
    "image": of_lowest(checkpoints.image),
    "export": of_lowest(checkpoints.export),
    "import": of_lowest(checkpoints.import_),
    "prune": of_lowest(checkpoints.prune),
    "restore": group_state.restore,
    "compile": group_state.compile_,
    "param_table": of_lowest(params.param_table),
    "param_blob": of_lowest(params.param_blob),
    "param_history": of_lowest(params.param_history),
    "param_value_at": of_lowest(params.param_value_at),
    "param_write": param_write,
}
