"""Rules of one process that concern several of its keys, and of what an owner's `parts` says of its sub-modules.

Works on data that the schema has checked; wrong keys are reported already, and absent. Makes paths absolute in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dspex_runtime.config.child_schema import child_section
from dspex_runtime.config.dspy_rules import check_dspy, check_lm
from dspex_runtime.config.durations import show_duration
from dspex_runtime.config.merging import Inherited, effective
from dspex_runtime.config.parts_schema import SUPERVISION
from dspex_runtime.config.problems import Path, Problems
from dspex_runtime.config.targets import resolve_state, resolve_target
from dspex_runtime.core.child_spec import Backoff, Shutdown

__all__ = ["check_keys_of", "check_process", "check_times"]


def check_keys_of(child: Mapping[str, Any], kind: str, path: Path, problems: Problems) -> None:
    """Refuse keys that children of this kind do not have."""
    for key in child_section().keys:
        if key.name in child and kind not in key.kinds and child[key.name] is not None:
            what = " and ".join(sorted(key.kinds))
            problems.add((*path, key.name), f"found on a {kind}; allowed: on a {what} only", at_key=True)


def check_process(
    child: dict[str, Any],
    kind: str,
    merged: Mapping[str, Any],
    path: Path,
    inherited: Inherited,
    base_dir: str,
    problems: Problems,
) -> None:
    """Check a module or a server.

    Args:
        child: What is written.
        kind: "module" or "server".
        merged: The same over what it inherits.
        path: Where it is written.
        inherited: What every child inherits.
        base_dir: Folder of relative paths.
        problems: Where problems go.
    """
    folders = [*child.get("sys_path", ()), base_dir]
    if kind in child and "pickled" not in child:
        _resolve(child, kind, (*path, kind), folders, problems)
    if "load" in child and kind == "module":
        try:
            child["load"] = resolve_state(child["load"], folders)
        except ValueError as exc:
            problems.add((*path, "load"), str(exc))
    if kind == "server" and child.get("concurrency", 1) != 1:
        text = f"found {child['concurrency']}; allowed: 1, as a GenServer handles one request at a time"
        problems.add((*path, "concurrency"), text)
    if kind == "module":
        check_lm(child.get("lm"), merged.get("lm"), (*path, "lm"), folders, problems)
        check_dspy(child.get("dspy", {}), merged["dspy"], (*path, "dspy"), folders, base_dir, problems)
        if merged.get("template") and child.get("parts"):
            key, other = ("template", "parts") if "template" in child else ("parts", "template")
            text = f"found with {other}; allowed: one of them, as what is built once for all has no sub-modules for each"
            problems.add((*path, key), text)
        _check_parts(child.get("parts", {}), (*path, "parts"), inherited, base_dir, problems)


def _check_parts(parts: Mapping[str, Any], path: Path, inherited: Inherited, base_dir: str, problems: Problems) -> None:
    """Check what is said of parts. What their owner's class says of them is not known here, nor therefore what lacks."""
    for name, part in parts.items():
        if name in SUPERVISION:
            continue
        here = (*path, name)
        if "module" in part and "server" in part:
            problems.add(here, "found module: and server:; allowed: one of them, or neither: what the class says")
            continue
        kind = "server" if "server" in part else "module"
        check_keys_of(part, kind, here, problems)
        merged = effective(part, kind, inherited)
        if isinstance(part.get("lm"), Mapping):
            merged["lm"] = {"model": None, **(merged["lm"] or {})}
        check_times(part, merged, here, problems)
        check_process(part, kind, merged, here, inherited, base_dir, problems)


def check_times(own: Mapping[str, Any], merged: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """Refuse combinations in which a key that was written has no effect."""
    shutdown = own.get("shutdown")
    if isinstance(shutdown, Mapping) and "drain" in shutdown:
        timeout = merged["shutdown"].get("timeout", Shutdown().timeout_s)
        if isinstance(timeout, float) and shutdown["drain"] > timeout:
            found = f"found {show_duration(shutdown['drain'])}, longer than the time-out of {show_duration(timeout)}"
            problems.add((*path, "shutdown", "drain"), f"{found}; allowed: a drain within shutdown.timeout")
    backoff = own.get("backoff")
    if not isinstance(backoff, Mapping):
        return
    defaults = Backoff()
    merged_backoff = merged["backoff"] or {}
    initial, longest = merged_backoff.get("initial", defaults.initial_s), merged_backoff.get("max", defaults.max_s)
    if initial > longest:
        key = "initial" if "initial" in backoff else "max"
        problems.add(
            (*path, "backoff", key),
            f"found initial {show_duration(initial)} above max {show_duration(longest)}; allowed: initial <= max",
        )
    if not problems.source:  # a program may write every key out, as get_childspec does
        return
    if own.get("restart") == "temporary":
        problems.add(
            (*path, "backoff"),
            "found on a temporary child; allowed: with permanent and transient, as a temporary child is not restarted",
        )
    if backoff.get("factor") == 1 and "max" in backoff and backoff["max"] > initial:
        problems.add(
            (*path, "backoff", "max"), "found max with factor 1, which never reaches it; allowed: a factor above 1, or no max"
        )


def _resolve(section: dict[str, Any], key: str, path: Path, folders: Sequence[str], problems: Problems) -> None:
    try:
        section[key] = resolve_target(section[key], folders)
    except ValueError as exc:
        problems.add(path, str(exc))
