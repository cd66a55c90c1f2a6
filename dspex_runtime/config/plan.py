"""What brings a running tree to what a file says, in order. Pure: what runs is told.

    plan(what runs, what is wanted) -> Plan        the whole, to be shown
    next_step(id, what runs, what is wanted)       one child again, just before it is done: much may have happened since

Removals come first, what was started last before what was started first; but what somebody who stays has depended on goes at the
end, when that one does no more. What stays and what comes follows in start order, a supervisor before its children. What somebody
has stopped stays stopped, and has its new spec when it is started again; what has failed is started again. Children that were added
at run time are not the file's: they stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dspex_runtime.config.build import default_preload
from dspex_runtime.config.differences import child_changes, flat, mapping_changes, supervisor_changes
from dspex_runtime.config.removals import is_another, removals, starts_anew
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.steps import SEVERITY, Action, Change, Plan, Step
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.names import full_id
from dspex_runtime.types import State

__all__ = ["ROOT", "RUNTIME", "Running", "next_step", "plan"]

ROOT: Final = "root"
RUNTIME: Final = "runtime"
ANEW: Final = "`dspex down` and `dspex up` apply it"
WITH_ITS_SUPERVISOR: Final = "its supervisor does not run: with that one's next start"
DOWN: Final = frozenset({State.STOPPED, State.EXITED})


@dataclass(frozen=True, slots=True)
class Running:
    """How one child is.

    Attributes:
        state: As it is shown.
        sources: Files of its code that are others on the disk than in its process.
        alone: It was started without a supervisor, under an id that the file wants.
        waits: Its supervisor does not run: it is started with that.
    """

    state: State = State.READY
    sources: tuple[str, ...] = ()
    alone: bool = False
    waits: bool = False


_AS_IT_SHOULD: Final = Running()
Facts = Mapping[str, Running]


def plan(old: RuntimeSpec, new: RuntimeSpec, running: Facts, left: Iterable[str] = ()) -> Plan:
    """Return what is to be done.

    Args:
        old: What runs: its tree has the specs as they are now, swaps included.
        new: What is wanted.
        running: How children are, by full id; "root" for the root supervisor. One that is not in it is READY.
        left: Full ids of children that are not the file's.
    """
    early, late = removals(old.tree, new.tree)
    steps = [*early, *_runtime_steps(old, new), *_supervisor_steps("", old.tree, new.tree, running), *late]
    refused = [*_refused_of_runtime(old, new), *_refused_of_tree(old.tree, new.tree, steps, running)]
    return Plan(tuple(steps), tuple(refused), tuple(left))


def next_step(id: str, old: ChildSpec | None, new: ChildSpec | None, running: Facts) -> Step | None:
    """Return what is to be done with one child now; None: nothing. What is below a supervisor has steps of its own."""
    if new is None:
        return None if old is None else Step(id, Action.REMOVE)
    here = running.get(id, _AS_IT_SHOULD)
    if old is None:
        return Step(id, Action.ADD, (_what(new),), WITH_ITS_SUPERVISOR if here.waits else None)
    changes = child_changes(old, new)
    if old.supervisor is not None and new.supervisor is not None:
        changes += supervisor_changes(old.supervisor, new.supervisor)
    return _step(id, changes, here)


def _step(id: str, changes: list[Change], here: Running) -> Step | None:
    is_down = here.waits or here.state in DOWN
    if here.sources and not is_down:
        changes = [*changes, Change("source", Action.SWAP, None, ", ".join(map(os.path.basename, here.sources)) + " changed")]
    if here.state is State.FAILED and not here.waits:
        changes = [*changes, Change("state", Action.RESTART, State.FAILED.value, "started again")]
    if not changes:
        return None
    if is_down:
        live = tuple(replace(change, action=Action.LIVE) for change in changes)
        return Step(
            id, Action.LIVE, live, WITH_ITS_SUPERVISOR if here.waits else f"it is {here.state} and stays so: from its next start"
        )
    greatest = max((change.action for change in changes), key=SEVERITY.index)
    if greatest is Action.SWAP and here.state is not State.READY:
        note = None if here.state is State.FAILED else f"it is {here.state}: there is nothing to be taken over"
        return Step(id, Action.RESTART, tuple(changes), note)
    return Step(id, greatest, tuple(changes))


# -- the tree ---------------------------------------------------------------------------------------------------------


def _supervisor_steps(path: str, old: SupervisorSpec, new: SupervisorSpec, running: Facts) -> Iterator[Step]:
    """Steps of the root's own numbers and of all children below `path`."""
    failed = running.get(ROOT, _AS_IT_SHOULD).state is State.FAILED
    if not path and not failed and (root := _step(ROOT, supervisor_changes(old, new), _AS_IT_SHOULD)) is not None:
        yield root
    present = {child.id: child for child in old.children}
    for child in new.children:
        id, before = full_id(path, child.id), present.get(child.id)
        if before is not None and is_another(before, child):
            before = None
        step = next_step(id, before, child, running)
        # One that failed is started with all that is below it, which therefore comes first.
        last = step is not None and step.action is Action.RESTART and child.supervisor is not None
        if step is not None and not last:
            yield step
        if before is not None and before.supervisor is not None and child.supervisor is not None and not starts_anew(before, child):
            yield from _supervisor_steps(id, before.supervisor, child.supervisor, running)
        if step is not None and last:
            yield step
    if not path and failed and (root := _step(ROOT, supervisor_changes(old, new), running[ROOT])) is not None:
        yield root


def _what(spec: ChildSpec) -> Change:
    if spec.launch is not None:
        return Change(spec.kind.value, Action.ADD, None, spec.launch.initial_call)
    assert spec.supervisor is not None
    below = len(spec.supervisor.children)
    return Change("supervisor", Action.ADD, None, f"{spec.supervisor.strategy}, {below} {'child' if below == 1 else 'children'}")


def _refused_of_tree(old: SupervisorSpec, new: SupervisorSpec, steps: Iterable[Step], running: Facts) -> Iterator[Step]:
    if old.dynamic != new.dynamic:
        yield Step(ROOT, Action.REFUSED, (Change("tree.dynamic", Action.REFUSED, old.dynamic, new.dynamic),), ANEW)
    for step in steps:
        if step.action is Action.ADD and running.get(step.id, _AS_IT_SHOULD).alone:
            how = f"one of this id was started alone; `dspex rm {step.id}` forgets it, with what it has learnt"
            yield Step(step.id, Action.REFUSED, step.changes, how)


# -- the runtime itself -----------------------------------------------------------------------------------------------


def _runtime_steps(old: RuntimeSpec, new: RuntimeSpec) -> Iterator[Step]:
    changes = [
        *mapping_changes("lm", old.lm or {}, new.lm or {}, Action.LIVE, wary=True),
        *mapping_changes("dspy", old.dspy, new.dspy, Action.LIVE, wary=True),
        *_defaults(old, new),
    ]
    inherited = bool(changes)
    if old.spares != new.spares:
        changes.append(Change("runtime.spares", Action.LIVE, old.spares, new.spares))
    if changes:
        note = "inherited by what is started from now on; the file's own children have steps of theirs" if inherited else None
        yield Step(RUNTIME, Action.LIVE, tuple(changes), note)


def _defaults(old: RuntimeSpec, new: RuntimeSpec) -> list[Change]:
    found: list[Change] = []
    for key in dict.fromkeys((*old.defaults, *new.defaults)):
        before, after = (flat(f"defaults.{key}", spec.defaults[key]) if key in spec.defaults else {} for spec in (old, new))
        changes = mapping_changes("", before, after, Action.LIVE, wary=key in ("lm", "dspy"))
        found += [Change(change.field, change.action, hidden=True) for change in changes] if key == "env" else changes
    return found


def _refused_of_runtime(old: RuntimeSpec, new: RuntimeSpec) -> Iterator[Step]:
    """What only the start of a runtime can do. What was said at that start, not in the file, is not the file's to change."""
    changes: list[Change] = []
    if old.name != new.name and "name" not in {*old.given, *new.given}:
        changes.append(Change("name", Action.REFUSED, old.name, new.name))
    wants_a_state_dir = new.state_dir not in (None, _default_state_dir(new))
    if old.state_dir != new.state_dir and "state_dir" not in old.given and wants_a_state_dir:
        changes.append(Change("runtime.state_dir", Action.REFUSED, old.state_dir, new.state_dir))
    is_said = new.preload != default_preload(new.tree)  # what follows from the tree saves time, and no more
    if old.preload != new.preload and "preload" not in old.given and is_said:
        changes.append(Change("runtime.preload", Action.REFUSED, ", ".join(old.preload), ", ".join(new.preload)))
    changes += [
        Change(change.field, Action.REFUSED, hidden=True)
        for change in mapping_changes("runtime.env", old.env, new.env, Action.REFUSED)
    ]
    changes += mapping_changes("shared", old.shared, new.shared, Action.REFUSED)
    if changes:
        yield Step(RUNTIME, Action.REFUSED, tuple(changes), ANEW)


def _default_state_dir(spec: RuntimeSpec) -> str:
    return os.path.join(spec.base_dir, ".dspex", spec.name)
