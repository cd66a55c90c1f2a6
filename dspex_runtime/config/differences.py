"""What differs between two specs of one child or supervisor, field by field, and the least that changes it. Pure.

live      only the runtime reads it, or a running process can be told
swap      a new process takes it over, state and calls with it
restart   it is of the process from its first moment, or must not be there twice: the environment (a GPU, a port), the journal's
          durability, the name that it is registered under, and what kind of thing it is
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from dspex_runtime.config.composition_differences import composition_changes
from dspex_runtime.config.durations import show_duration
from dspex_runtime.config.sizes import show_size
from dspex_runtime.config.steps import Action, Change
from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec, SupervisorSpec
from dspex_runtime.core.keys import show

__all__ = ["child_changes", "flat", "mapping_changes", "supervisor_changes"]

LONGEST_SHOWN: Final = 200  # characters of a value
_ABSENT: Final[Any] = object()
_SECRET: Final = re.compile("key|token|secret|passw|credential|auth", re.IGNORECASE)
_PLAIN_WORDS: Final = frozenset(
    {"model", "class", "adapter", "model_type"}
)  # of an LM or of dspy's settings: text that is no secret

# What a new process is needed for. Everything else of a launch spec is in `_launch`; a test looks that nothing is left out.
SWAPPED: Final = ("sys_path", "load", "concurrency", "trap_exit")
RESTARTED: Final = ("durability",)
WATCHED: Final = ("liveness", "readiness", "checkpoint")
POLICY: Final = ("restart", "shutdown", "significant", "start_timeout_s", "backoff", "template")
# What it is, is seen in the child's own kind; `shared` follows the runtime; `inline` is for copies that compile.
OF_THE_RUNTIME: Final = ("kind", "label", "shared", "inline")


def child_changes(old: ChildSpec, new: ChildSpec) -> list[Change]:
    """Return what differs between two specs of one child; what is below a supervisor is not looked at."""
    found: list[Change] = []
    if old.kind is not new.kind:
        found.append(Change("kind", Action.RESTART, old.kind.value, new.kind.value))
    if old.launch is not None and new.launch is not None:
        found += _launch(old, new, old.launch, new.launch)
    if old.version != new.version:
        found.append(Change("version", Action.SWAP, old.version, new.version))
    if any(getattr(old, name) != getattr(new, name) for name in POLICY):
        found += _mapped("", _policy(old), _policy(new), Action.LIVE)
    found += mapping_changes("metadata", old.metadata, new.metadata, Action.LIVE)
    if _typed(old.register) != _typed(new.register):
        found.append(Change("register", Action.RESTART, _shown(old.register), _shown(new.register)))
    found += composition_changes(old, new)
    return found


def supervisor_changes(old: SupervisorSpec, new: SupervisorSpec) -> list[Change]:
    """Return what differs between two specs of one supervisor; its children only in their order."""
    found: list[Change] = []
    if old.dynamic != new.dynamic:
        found.append(Change("dynamic", Action.RESTART, old.dynamic, new.dynamic))
    found += _mapped("", _supervision(old), _supervision(new), Action.LIVE)
    both = {child.id for child in old.children} & {child.id for child in new.children}
    before, after = ([str(child.id) for child in spec.children if child.id in both] for spec in (old, new))
    if before != after:
        found.append(Change("children", Action.LIVE, ", ".join(before), ", ".join(after)))
    return found


def mapping_changes(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], action: Action, *, wary: bool = False
) -> list[Change]:
    """Return what differs between two maps of the user's; `wary`: text in them may be a secret, whatever its name."""
    if old == new and repr(old) == repr(new):  # 1, 1.0 and True are equal, and are not the same
        return []
    return list(_mapped(name, old, new, action, wary=wary))


def flat(name: str, value: Any) -> dict[str, Any]:
    """Return a map of maps as one map, with dots in its keys."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {
        key: item for inner, each in value.items() for key, item in flat(f"{name}.{inner}" if name else str(inner), each).items()
    }


def _launch(old_child: ChildSpec, new_child: ChildSpec, old: LaunchSpec, new: LaunchSpec) -> Iterator[Change]:
    name = new_child.kind.value
    if old_child.kind is new_child.kind and old.initial_call != new.initial_call:
        yield Change(name, Action.SWAP, old.initial_call, new.initial_call)
    elif old_child.kind is not new_child.kind or old.pickled != new.pickled:
        yield (
            Change(name, Action.SWAP, hidden=True)
            if old.initial_call == new.initial_call
            else Change(name, Action.SWAP, old.initial_call, new.initial_call)
        )
    yield from _arguments(old, new)
    if old.pickled_args != new.pickled_args:
        yield Change("args", Action.SWAP, hidden=True)
    if _pinned(old) != _pinned(new):
        before, after = ("as of a version before" if _pinned(spec) else "as on the disk" for spec in (old, new))
        yield Change("source", Action.SWAP, before, after)
    yield from mapping_changes("lm", old.lm or {}, new.lm or {}, Action.SWAP, wary=True)
    yield from mapping_changes("dspy", old.dspy or {}, new.dspy or {}, Action.SWAP, wary=True)
    for names, action in ((SWAPPED, Action.SWAP), (RESTARTED, Action.RESTART)):
        for field in names:
            if getattr(old, field) != getattr(new, field):
                yield Change(field, action, _shown(getattr(old, field)), _shown(getattr(new, field)))
    for change in mapping_changes("env", old.env, new.env, Action.RESTART):
        yield Change(change.field, Action.RESTART, hidden=True)
    if old.limits != new.limits:
        yield from _mapped("", _limits(old), _limits(new), Action.LIVE)
    if old.limits.nice != new.limits.nice:
        # Anybody may yield more; to get back what was yielded needs a privilege, or a process that never did.
        lower = new.limits.nice < old.limits.nice
        yield Change("limits.nice", Action.SWAP if lower else Action.LIVE, old.limits.nice, new.limits.nice)
    if any(getattr(old, name) != getattr(new, name) for name in WATCHED):
        yield from _mapped("", _watched(old), _watched(new), Action.LIVE)
    yield from mapping_changes("params", old.params, new.params, Action.LIVE)


def _arguments(old: LaunchSpec, new: LaunchSpec) -> Iterator[Change]:
    if old.args != new.args:
        yield Change("args", Action.SWAP, _shown(list(old.args)), _shown(list(new.args)))
    yield from mapping_changes("args", old.kwargs, new.kwargs, Action.SWAP)


def _pinned(launch: LaunchSpec) -> bool:
    """Whether it runs texts that are not the disk's: a rollback does."""
    return bool(getattr(launch, "sources", None))


def _policy(spec: ChildSpec) -> dict[str, Any]:
    shutdown, backoff = spec.shutdown, spec.backoff
    told: dict[str, Any] = {"restart": spec.restart.value, "significant": spec.significant, "template": spec.template}
    if shutdown.brutal:
        told["shutdown"] = "brutal_kill"
    else:
        told["shutdown.drain"], told["shutdown.timeout"] = _seconds(shutdown.drain_s), _seconds(shutdown.timeout_s, "infinity")
    told["start_timeout"] = _seconds(spec.start_timeout_s, "infinity")
    if backoff is None:
        told["backoff"] = "none"
    else:
        told |= {f"backoff.{name}": _seconds(getattr(backoff, f"{name}_s")) for name in ("initial", "max", "stable_after")}
        told |= {"backoff.factor": backoff.factor, "backoff.jitter": backoff.jitter}
    return told


def _supervision(spec: SupervisorSpec) -> dict[str, Any]:
    return {
        "strategy": spec.strategy.value,
        "max_restarts": spec.max_restarts,
        "max_seconds": _seconds(spec.max_seconds),
        "auto_shutdown": spec.auto_shutdown.value,
        "max_children": spec.max_children,
        "extra_arguments": list(spec.extra_arguments),
    }


def _limits(launch: LaunchSpec) -> dict[str, Any]:
    limits = launch.limits
    return {
        "limits.memory": None if limits.memory_bytes is None else show_size(limits.memory_bytes),
        "limits.mailbox": limits.mailbox,
        "limits.call_timeout": _seconds(limits.call_timeout_s),
        "limits.max_calls": limits.max_calls,
    }


def _watched(launch: LaunchSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"liveness.grace": None if launch.liveness is None else _seconds(launch.liveness.grace_s)}
    for name in ("readiness", "checkpoint"):
        value = getattr(launch, name)
        for field in fields(value) if value is not None else ():
            each = getattr(value, field.name)
            is_time = field.name.endswith("_s") and each is not None
            told[f"{name}.{field.name.removesuffix('_s')}"] = _seconds(each) if is_time else each
    return told


def _mapped(name: str, old: Mapping[str, Any], new: Mapping[str, Any], action: Action, *, wary: bool = False) -> Iterator[Change]:
    before, after = (flat(name, value) if name and value else dict(value) for value in (old, new))
    for key in dict.fromkeys((*before, *after)):
        left, right = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if _typed(left) == _typed(right):
            continue
        if _is_secret(key, (left, right), wary=wary):
            yield Change(key, action, hidden=True)
        else:
            yield Change(key, action, _shown(left), _shown(right))


def _is_secret(key: str, values: tuple[Any, Any], *, wary: bool) -> bool:
    last = key.rpartition(".")[2]
    if _SECRET.search(last):
        return True
    told = all(value is _ABSENT or value is None or isinstance(value, bool | int | float) for value in values)
    return wary and not told and last not in _PLAIN_WORDS


def _typed(value: Any) -> Any:
    """Return what tells 1, True and 1.0 apart, at the top: below it a user's own maps are compared as Python does."""
    return (type(value), value) if isinstance(value, bool | int | float) else value


def _shown(value: Any) -> Any:
    if value is _ABSENT or value is None or isinstance(value, bool | int | float):
        return None if value is _ABSENT else value
    if isinstance(value, str) and len(value) <= LONGEST_SHOWN:
        return str(value)
    return show(value, LONGEST_SHOWN)


def _seconds(value: float | None, none: str | None = None) -> str | None:
    return none if value is None else show_duration(value)
