"""What a reload takes out of the tree, and when: first, or, where somebody who stays depends on it, when he does no more. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dspex_runtime.config.steps import Action, Step
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.names import full_id
from dspex_runtime.types import Kind

__all__ = ["is_another", "removals", "starts_anew"]


def removals(old: SupervisorSpec, new: SupervisorSpec) -> tuple[list[Step], list[Step]]:
    """Return what is removed first, and what only when nobody who stays depends on it any more."""
    before, after = (_dependencies("", tree) for tree in (old, new))
    needed = {target for id, targets in before.items() if id in after for target in targets - after[id]}
    early: list[Step] = []
    late: list[Step] = []
    for step in _removed("", old, new):  # last started first: what one of them depends on comes behind it
        if step.note is not None or not _is_in(step.id, needed):  # what becomes something else has to go first
            early.append(step)
            continue
        late.append(step)
        needed |= {target for id, targets in before.items() if _is_in(step.id, {id}) for target in targets}
    return early, late


def is_another(old: ChildSpec, new: ChildSpec) -> bool:
    """Whether they have nothing in common but their id."""
    return (old.kind is Kind.SUPERVISOR) != (new.kind is Kind.SUPERVISOR)


def starts_anew(old: ChildSpec, new: ChildSpec) -> bool:
    """Whether a supervisor is stopped and started with all that is below it."""
    return old.supervisor is not None and new.supervisor is not None and old.supervisor.dynamic != new.supervisor.dynamic


def _removed(path: str, old: SupervisorSpec, new: SupervisorSpec) -> Iterator[Step]:
    wanted = {child.id: child for child in new.children}
    for child in reversed(old.children):
        id = full_id(path, child.id)
        other = wanted.get(child.id)
        if other is None:
            yield Step(id, Action.REMOVE, note=_becomes_a_group(id, new))
        elif is_another(child, other):
            yield Step(id, Action.REMOVE, note=f"a {child.kind} cannot become a {other.kind}")
        elif child.supervisor is not None and other.supervisor is not None and not starts_anew(child, other):
            yield from _removed(id, child.supervisor, other.supervisor)


def _becomes_a_group(id: str, new: SupervisorSpec) -> str | None:
    count = sum(child.replica is not None and child.replica.of == id for child in new.children)
    return f"it becomes {id}#0 ...: `dspex scale {id}={count}` first, and these have what it has learnt" if count else None


def _dependencies(path: str, tree: SupervisorSpec) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for child in tree.children:
        id = full_id(path, child.id)
        found[id] = set(child.depends_on)
        if child.supervisor is not None:
            found |= _dependencies(id, child.supervisor)
    return found


def _is_in(removed: str, needed: set[str]) -> bool:
    """Whether one of them is removed with this child: is it, is its group, or is below it."""
    return any(id in (removed, removed.partition("#")[0]) or id.startswith(f"{removed}/") for id in needed)
