"""A child spec as the dict a user could have written: the YAML's keys, defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from dspex_runtime.core.child_spec import Backoff, Checkpoint, ChildSpec, Dependency, PartsSpec, Readiness, Shutdown
from dspex_runtime.types import Kind


def as_dict(spec: ChildSpec) -> dict[str, Any]:
    """Return the spec with every default filled in.

    Left out: pickled parts, of no use to read; `env` and `lm`, which hold secrets; what every child inherits.
    """
    data: dict[str, Any] = {
        "id": spec.id,
        "type": "supervisor" if spec.kind is Kind.SUPERVISOR else "worker",
        "restart": spec.restart.value,
        "shutdown": _shutdown(spec.shutdown),
        "significant": spec.significant,
        "start_timeout": spec.start_timeout_s,
        "backoff": _backoff(spec.backoff),
        "version": spec.version,
        "metadata": dict(spec.metadata),
        "register": spec.register,
    }
    if spec.supervisor is not None:
        own = spec.supervisor
        data["supervisor"] = {
            "strategy": own.strategy.value,
            "max_restarts": own.max_restarts,
            "max_seconds": own.max_seconds,
            "auto_shutdown": own.auto_shutdown.value,
            "dynamic": own.dynamic,
            "children": list(_children(own.children)),
        }
        if own.dynamic:
            data["supervisor"] |= {"max_children": own.max_children, "extra_arguments": list(own.extra_arguments)}
    if spec.launch is not None:
        data[spec.kind.value] = spec.launch.target
        data["args"] = dict(spec.launch.kwargs) or list(spec.launch.args)
        data["concurrency"] = spec.launch.concurrency
        data["trap_exit"] = spec.launch.trap_exit
        data["template"] = spec.template
        limits = spec.launch.limits
        data["limits"] = {
            "memory": limits.memory_bytes,
            "mailbox": limits.mailbox,
            "call_timeout": limits.call_timeout_s,
            "max_calls": limits.max_calls,
            "nice": limits.nice,
        }
        data["liveness"] = {"grace": spec.launch.liveness.grace_s} if spec.launch.liveness else None
        if (readiness := spec.launch.readiness) is not None:
            data["readiness"] = _readiness(readiness)
        if spec.launch.load is not None:
            data["load"] = spec.launch.load
        data["params"] = dict(spec.launch.params)
        data["durability"] = spec.launch.durability.value
        data["checkpoint"] = _checkpoint(spec.launch.checkpoint)
        data["depends_on"] = {id: _dependency(edge) for id, edge in spec.depends_on.items()}
        if spec.parts is not None:
            data["parts"] = _parts(spec.parts)
    return data


def _children(children: tuple[ChildSpec, ...]) -> Iterator[dict[str, Any]]:
    """Yield them as they are written: the replicas of a group as one child, in the place of the first."""
    groups: dict[str, list[ChildSpec]] = {}
    for child in children:
        if child.replica is not None:
            groups.setdefault(child.replica.of, []).append(child)
    for child in children:
        if child.replica is None:
            yield as_dict(child)
            continue
        group = groups.pop(child.replica.of, None)
        if group is not None:
            params = "shared" if child.replica.shares else "own"
            id = child.replica.of.rpartition("/")[2]
            yield as_dict(child) | {"id": id, "replicas": {"count": len(group), "params": params}}


def _dependency(edge: Dependency) -> dict[str, Any]:
    return {"on_down": edge.on_down.value} | ({} if edge.fallback is None else {"fallback": edge.fallback})


def _parts(parts: PartsSpec) -> dict[str, Any]:
    strategy = None if parts.strategy is None else parts.strategy.value
    own = {"strategy": strategy, "max_restarts": parts.max_restarts, "max_seconds": parts.max_seconds}
    return {name: value for name, value in own.items() if value is not None} | _overrides(parts.overrides)


def _overrides(parts: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in parts.items():
        found[name] = part
        if isinstance(part, Mapping):  # else how they are supervised
            found[name] = {key: value for key, value in part.items() if key not in ("env", "lm")}
            if "parts" in part:
                found[name]["parts"] = _overrides(part["parts"])
    return found


def _shutdown(shutdown: Shutdown) -> Any:
    if shutdown.brutal:
        return "brutal_kill"
    return {"drain": shutdown.drain_s, "timeout": "infinity" if shutdown.timeout_s is None else shutdown.timeout_s}


def _readiness(readiness: Readiness) -> dict[str, Any]:
    command = readiness.command
    if command is None:
        return {"call": readiness.call, "timeout": readiness.timeout_s}
    return {"command": command if isinstance(command, str) else list(command), "timeout": readiness.timeout_s}


def _checkpoint(checkpoint: Checkpoint | None) -> Any:
    if checkpoint is None:
        return None
    return {"keep": checkpoint.keep} | ({} if checkpoint.every_s is None else {"every": checkpoint.every_s})


def _backoff(backoff: Backoff | None) -> Any:
    return "none" if backoff is None else {key.removesuffix("_s"): value for key, value in asdict(backoff).items()}
