"""One step of a reload, done: by the same requests to supervisors as a user's, then noted in what they would begin with.

A step that fails has changed nothing that is noted, so that the next reload finds it to do again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.config.plan import ROOT, RUNTIME
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.spec_tree import child_at, supervisor_at, with_child, without_child
from dspex_runtime.config.steps import Action as Kind
from dspex_runtime.config.steps import Step
from dspex_runtime.core import events
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.node.operations.answers import tree_of
from dspex_runtime.node.reloading import respecifying, telling
from dspex_runtime.node.reloading.in_turn import Action, Done

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["SwapIt", "actions_of"]

#: Swaps a child to a spec.
SwapIt = Callable[["Record", ChildSpec, Done], None]

_OWN: Final = tuple(field.name for field in fields(SupervisorSpec) if field.name != "children")


def actions_of(node: Node, step: Step, wanted: RuntimeSpec, swap: SwapIt) -> Iterator[Action]:
    """Yield what is done for a step, each when the one before is through; raises a DspexError where that cannot be."""
    id = step.id
    if id == RUNTIME:
        return _runtime(node, wanted)
    if id == ROOT:
        return _root(node, step, wanted)
    if step.action is Kind.REMOVE:
        return _remove(node, id)
    spec = child_at(wanted.tree, id)
    assert spec is not None
    match step.action:
        case Kind.ADD:
            return _add(node, id, spec, wanted)
        case Kind.RESTART:
            return _restart(node, id, spec)
        case Kind.SWAP:
            return _swap(node, id, spec, swap)
        case _:
            return _live(node, id, spec)


# -- the whole --------------------------------------------------------------------------------------------------------


def _runtime(node: Node, wanted: RuntimeSpec) -> Iterator[Action]:
    assert node.spec is not None
    assert node.launcher is not None
    node.spec = replace(node.spec, lm=wanted.lm, dspy=wanted.dspy, defaults=wanted.defaults, spares=wanted.spares)
    node.launcher.keep_spares(wanted.spares)
    yield from ()


def _root(node: Node, step: Step, wanted: RuntimeSpec) -> Iterator[Action]:
    yield from respecifying.keep(node, "", lambda tree: _supervised(tree, wanted.tree))
    if step.action is Kind.RESTART:
        yield lambda done: tree_of(node).reviving.start_root(lambda _value, error: done(error))


# -- one child --------------------------------------------------------------------------------------------------------


def _remove(node: Node, id: str) -> Iterator[Action]:
    record = node.registry.get(id)
    if record is not None:
        yield lambda done: tree_of(node).delete(record, lambda _value, error: done(error))
    yield from respecifying.keep(node, _above(id), lambda tree: without_child(tree, id))


def _add(node: Node, id: str, spec: ChildSpec, wanted: RuntimeSpec) -> Iterator[Action]:
    path = _above(id)
    if tree_of(node).node_of(path) is not None:
        yield lambda done: tree_of(node).ask(path, lambda n: events.StartChildAsked(n, spec), lambda _value, error: done(error))
    siblings = supervisor_at(wanted.tree, path)
    order = [str(child.id) for child in siblings.children] if siblings is not None else []
    yield from respecifying.keep(node, path, lambda tree: with_child(tree, id, spec, order))


def _live(node: Node, id: str, spec: ChildSpec) -> Iterator[Action]:
    record = node.registry.get(id)
    if spec.launch is not None and record is not None and record.spec.launch is not None:
        yield from telling.depends(record, spec)
        yield from telling.tell(record, record.spec.launch, spec.launch)
    if spec.supervisor is not None:
        yield from respecifying.keep(node, id, lambda tree: _below(tree, id, spec))
        return
    yield from respecifying.change_child(node, id, spec)
    yield from respecifying.keep(node, _above(id), lambda tree: with_child(tree, id, spec))
    if record is not None and spec.launch is not None:
        telling.settled(node, record)


def _swap(node: Node, id: str, spec: ChildSpec, swap: SwapIt) -> Iterator[Action]:
    """The new process has all it is made of from its beginning; what is told to a running one is told to it then."""
    record = node.registry.resolve(id)
    launch, old = spec.launch, record.spec.launch
    assert launch is not None
    assert old is not None
    between = replace(spec, launch=replace(launch, params=old.params))
    yield lambda done: swap(record, between, done)
    yield from _live(node, id, spec)


def _restart(node: Node, id: str, spec: ChildSpec) -> Iterator[Action]:
    record, supervision = node.registry.resolve(id), tree_of(node)
    if (
        record.spec.supervisor is not None
        and spec.supervisor is not None
        and record.spec.supervisor.dynamic == spec.supervisor.dynamic
    ):
        yield from _live(node, id, spec)  # those below it have had steps of theirs
    else:
        yield from respecifying.change_child(node, id, spec)
        yield from respecifying.keep(node, _above(id), lambda tree: with_child(tree, id, spec))
    if record.gone:
        yield lambda done: supervision.reviving.start(record, lambda _value, error: done(error))
    else:
        yield lambda done: supervision.cycle(record, lambda _value, error: done(error))


def _below(tree: SupervisorSpec, id: str, spec: ChildSpec) -> SupervisorSpec:
    """Return the tree with a supervisor's own part of its spec; those below it are what they were."""
    now = child_at(tree, id)
    assert spec.supervisor is not None
    if now is None or now.supervisor is None:
        return tree
    return with_child(tree, id, replace(spec, supervisor=_supervised(now.supervisor, spec.supervisor)))


def _supervised(now: SupervisorSpec, wanted: SupervisorSpec) -> SupervisorSpec:
    own: Mapping[str, Any] = {name: getattr(wanted, name) for name in _OWN}
    place = {child.id: number for number, child in enumerate(wanted.children)}
    children = sorted(now.children, key=lambda child: place.get(child.id, len(place)))
    return replace(now, children=tuple(children), **own)


def _above(id: str) -> str:
    return id.rpartition("/")[0]
