"""A child spec as the dict a user could have written: the YAML's keys, defaults filled in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dspex_runtime.core.child_spec import Backoff, Checkpoint, ChildSpec, Readiness, Shutdown
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
            "children": [as_dict(child) for child in own.children],
        }
        if own.dynamic:
            data["supervisor"] |= {"max_children": own.max_children, "extra_arguments": list(own.extra_arguments)}
    if spec.launch is not None:
        data[spec.kind.value] = spec.launch.target
        data["args"] = dict(spec.launch.kwargs) or list(spec.launch.args)
        data["concurrency"] = spec.launch.concurrency
        data["trap_exit"] = spec.launch.trap_exit
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
    return data


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
