"""Checked plain data -> specs. Applies every default; cannot fail on data that passed schema.py and rules.py."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dspex_runtime.config.composition_schema import SHARED_PARAMS
from dspex_runtime.config.merging import Inherited, effective, kind_of
from dspex_runtime.config.parts_schema import SUPERVISION
from dspex_runtime.config.replicas import expanded
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.schema import DEFAULT_SPARES
from dspex_runtime.config.spec_tree import child_at
from dspex_runtime.core.child_spec import (
    BRUTAL_KILL,
    DEFAULT_START_TIMEOUT_S,
    Backoff,
    Checkpoint,
    ChildSpec,
    Dependency,
    LaunchSpec,
    Limits,
    Liveness,
    PartsSpec,
    Readiness,
    Shutdown,
    SupervisorSpec,
)
from dspex_runtime.core.dependency_order import arranged, walk
from dspex_runtime.core.names import full_id
from dspex_runtime.types import AutoShutdown, ChildId, Durability, Kind, OnDown, RestartType, Strategy

__all__ = ["arranged_below", "build_child", "build_children", "build_runtime", "default_preload"]


def build_runtime(config: Mapping[str, Any]) -> RuntimeSpec:
    """Return the spec of a checked configuration whose `base_dir` is set."""
    runtime = config.get("runtime", {})
    base_dir, file = config["base_dir"], config.get("file")
    name = config.get("name", "runtime")
    inherited = Inherited.of(config)
    tree = build_supervisor(config.get("tree", {}), inherited, base_dir, "")
    if any(child.depends_on for _, child in walk(tree)):
        tree = arranged(tree)
    preload = runtime.get("preload")
    return RuntimeSpec(
        name=name,
        state_dir=runtime.get("state_dir", os.path.join(base_dir, ".dspex", name) if file else None),
        preload=default_preload(tree) if preload is None else tuple(preload),
        env=inherited.env,
        spares=runtime.get("spares", DEFAULT_SPARES),
        lm=inherited.lm or None,
        dspy=inherited.dspy,
        defaults=inherited.defaults,
        shared=config.get("shared", {}),
        tree=tree,
        base_dir=base_dir,
        file=file,
        given=tuple(config.get("given", ())),
    )


def build_supervisor(data: Mapping[str, Any], inherited: Inherited, base_dir: str, path: str) -> SupervisorSpec:
    """Return the spec of a checked supervisor, whose full id is `path`."""
    default = SupervisorSpec()
    return SupervisorSpec(
        strategy=Strategy(data.get("strategy", default.strategy)),
        max_restarts=data.get("max_restarts", default.max_restarts),
        max_seconds=data.get("max_seconds", default.max_seconds),
        children=tuple(spec for child in data.get("children", ()) for spec in build_children(child, inherited, base_dir, path)),
        auto_shutdown=AutoShutdown(data.get("auto_shutdown", default.auto_shutdown)),
        dynamic=data.get("dynamic", default.dynamic),
        max_children=data.get("max_children"),
        extra_arguments=tuple(data.get("extra_arguments", ())),
    )


def build_children(child: Mapping[str, Any], inherited: Inherited, base_dir: str, path: str) -> Iterator[ChildSpec]:
    """Yield the spec of a checked child of the supervisor whose full id is `path`: with `replicas`, that of each of them."""
    spec = build_child(child, inherited, base_dir, path)
    replicas = child.get("replicas")
    if replicas is None:
        yield spec
        return
    yield from expanded(spec, replicas["count"], replicas["params"] == SHARED_PARAMS, path)


def arranged_below(child: ChildSpec, path: str) -> ChildSpec:
    """Return a supervisor under the one whose full id is `path`, with all below it in start order."""
    tree = SupervisorSpec(children=(child,))
    for id in reversed(path.split("/") if path else []):
        tree = SupervisorSpec(children=(ChildSpec(ChildId(id), Kind.SUPERVISOR, supervisor=tree),))
    found = child_at(arranged(tree), full_id(path, child.id))
    assert found is not None
    return found


def build_child(child: Mapping[str, Any], inherited: Inherited, base_dir: str, path: str) -> ChildSpec:
    """Return the spec of a checked child, as if it were the only one behind its id."""
    word = kind_of(child)
    assert word is not None
    kind = Kind(word)
    data = effective(child, word, inherited)
    is_supervisor = kind is Kind.SUPERVISOR
    start_timeout = data.get("start_timeout", None if is_supervisor else DEFAULT_START_TIMEOUT_S)
    below = full_id(path, data["id"])
    return ChildSpec(
        id=ChildId(data["id"]),
        kind=kind,
        restart=RestartType(data.get("restart", RestartType.PERMANENT)),
        shutdown=_shutdown(data.get("shutdown"), is_supervisor),
        significant=data.get("significant", False),
        start_timeout_s=None if start_timeout == "infinity" else start_timeout,
        backoff=_backoff(data.get("backoff", {})),
        launch=None if is_supervisor else _launch(kind, data, inherited.shared, base_dir),
        supervisor=build_supervisor(data["supervisor"], inherited, base_dir, below) if is_supervisor else None,
        version=data.get("version"),
        metadata=data.get("metadata", {}),
        register=data.get("register"),
        depends_on={
            id: Dependency(OnDown(edge["on_down"]), edge.get("fallback")) for id, edge in data.get("depends_on", {}).items()
        },
        parts=_parts(data["parts"]) if "parts" in data else None,
        template=data.get("template", False),
    )


def _parts(data: Mapping[str, Any]) -> PartsSpec:
    return PartsSpec(
        strategy=Strategy(data["strategy"]) if "strategy" in data else None,
        max_restarts=data.get("max_restarts"),
        max_seconds=data.get("max_seconds"),
        overrides={name: part for name, part in data.items() if name not in SUPERVISION},
    )


def _launch(kind: Kind, data: Mapping[str, Any], shared: bool, base_dir: str) -> LaunchSpec:
    args = data.get("args", {})
    pickled = data.get("pickled")
    liveness = data.get("liveness", {})
    readiness, checkpoint = data.get("readiness"), data.get("checkpoint")
    return LaunchSpec(
        kind=kind,
        target=None if pickled is not None else data[kind.value],
        label=data[kind.value] if pickled is not None else None,
        pickled=pickled,
        args=() if isinstance(args, Mapping) else tuple(args),
        kwargs=args if isinstance(args, Mapping) else {},
        pickled_args=data.get("pickled_args"),
        sys_path=tuple(dict.fromkeys((*data.get("sys_path", ()), base_dir))),
        env=data.get("env", {}),
        lm=data.get("lm") or None,
        dspy=data.get("dspy") or None,
        concurrency=data.get("concurrency", 1),
        trap_exit=data.get("trap_exit", True),
        limits=_limits(data.get("limits", {})),
        liveness=None if liveness is None else Liveness(**_seconds(liveness, ("grace",))),
        readiness=None if readiness is None else _readiness(readiness),
        load=data.get("load"),
        params=data.get("params", {}),
        durability=Durability(data.get("durability", Durability.JOURNAL)),
        checkpoint=None if checkpoint is None else Checkpoint(**_seconds(checkpoint, ("every",))),
        shared=shared,
    )


def default_preload(tree: SupervisorSpec) -> tuple[str, ...]:
    """Return [dspy] where modules are or may come; a tree of servers alone must not pay 0.5 s and 60 MB for it."""
    kinds = {launch.kind for launch in _launches(tree)}
    return () if kinds == {Kind.SERVER} else ("dspy",)


def _launches(tree: SupervisorSpec) -> Iterable[LaunchSpec]:
    for child in tree.children:
        if child.launch is not None:
            yield child.launch
        if child.supervisor is not None:
            yield from _launches(child.supervisor)


def _shutdown(value: Any, is_supervisor: bool) -> Shutdown:
    default = Shutdown(timeout_s=None) if is_supervisor else Shutdown()
    timeout_s: Any
    match value:
        case None:
            timeout_s, drain_s = default.timeout_s, default.drain_s
        case "brutal_kill":
            return BRUTAL_KILL
        case Mapping():
            timeout_s, drain_s = value.get("timeout", default.timeout_s), value.get("drain", default.drain_s)
        case _:
            timeout_s, drain_s = value, default.drain_s
    timeout_s = None if timeout_s == "infinity" else timeout_s
    if is_supervisor:
        return Shutdown(timeout_s=timeout_s, drain_s=0.0)
    return Shutdown(timeout_s=timeout_s, drain_s=drain_s if timeout_s is None else min(drain_s, timeout_s))


def _backoff(value: Mapping[str, Any] | None) -> Backoff | None:
    return None if value is None else Backoff(**_seconds(value, ("initial", "max", "stable_after")))


def _limits(value: Mapping[str, Any]) -> Limits:
    names = {"memory": "memory_bytes", "call_timeout": "call_timeout_s"}
    return Limits(**{names.get(key, key): item for key, item in value.items()})


def _readiness(value: Mapping[str, Any]) -> Readiness:
    command = value.get("command")
    return Readiness(**_seconds(value, ("timeout",)) | ({"command": tuple(command)} if isinstance(command, list) else {}))


def _seconds(value: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the map with the unit in the names of durations: what the specs call them."""
    return {f"{key}_s" if key in keys else key: item for key, item in value.items()}
