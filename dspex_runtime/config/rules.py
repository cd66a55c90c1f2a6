"""Rules that concern several keys: one kind per child, unique ids, targets that exist, combinations that cannot work.

Those of OTP's supervisor flags are in combinations.py. Works on data that the schema has checked; wrong keys are reported
already, and absent. Makes targets absolute in place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dspex_runtime.config.child_schema import child_section
from dspex_runtime.config.combinations import check_dynamic, check_significant
from dspex_runtime.config.dspy_rules import check_dspy, check_lm
from dspex_runtime.config.durations import show_duration
from dspex_runtime.config.merging import KINDS, Inherited, effective, kind_of
from dspex_runtime.config.problems import INVALID, Path, Problems
from dspex_runtime.config.suggestions import suggest
from dspex_runtime.config.targets import resolve_state, resolve_target
from dspex_runtime.core.child_spec import Backoff, Shutdown
from dspex_runtime.core.keys import TypedKey, show, typed

__all__ = ["check_child", "check_runtime"]


def check_runtime(config: dict[str, Any], base_dir: str, problems: Problems) -> None:
    """Check a whole configuration."""
    runtime = config.get("runtime", {})
    if isinstance(runtime.get("state_dir"), str):
        runtime["state_dir"] = os.path.abspath(os.path.join(base_dir, os.path.expanduser(runtime["state_dir"])))
    inherited = Inherited.of(config)
    defaults = inherited.defaults
    merged = effective({}, "module", inherited)
    check_lm(config.get("lm"), config.get("lm"), ("lm",), [base_dir], problems)
    check_dspy(config.get("dspy", {}), config.get("dspy", {}), ("dspy",), [base_dir], base_dir, problems)
    if "lm" in defaults:
        check_lm(defaults["lm"], merged["lm"], ("defaults", "lm"), [base_dir], problems)
    check_dspy(defaults.get("dspy", {}), merged["dspy"], ("defaults", "dspy"), [base_dir], base_dir, problems)
    _check_times(defaults, defaults, ("defaults",), problems)
    _check_supervisor(config.get("tree", {}), ("tree",), Inherited.of(config), base_dir, problems)
    _check_register(config.get("tree", {}), ("tree",), {}, problems)


def check_child(
    child: dict[str, Any],
    path: Path,
    inherited: Inherited,
    base_dir: str,
    problems: Problems,
    *,
    under: Mapping[str, Any],
    under_path: Path = (),
) -> None:
    """Check one child of the supervisor `under` and, when it is a supervisor itself, everything below it."""
    kind = kind_of(child)
    if kind is None:
        given = [kind for kind in KINDS if kind in child]
        if given or not _meant_a_kind(path, problems):
            found = f"found {' and '.join(f'{name}:' for name in given)}" if given else "found no kind"
            problems.add(path, f"{found}; allowed: exactly one of module:, server: and supervisor: in a child")
        return
    for key in child_section().keys:
        if key.name in child and kind not in key.kinds and child[key.name] is not None and not key.later:
            what = " and ".join(sorted(key.kinds))
            problems.add((*path, key.name), f"found on a {kind}; allowed: on a {what} only", at_key=True)
    merged = effective(child, kind, inherited)
    _check_times(child, merged, path, problems)
    check_significant(child, kind, path, inherited, under, under_path, problems)
    if kind == "supervisor":
        if isinstance(child.get("shutdown"), Mapping) and child["shutdown"].get("drain"):
            problems.add((*path, "shutdown", "drain"), "found on a supervisor; allowed: on a module or server only", at_key=True)
        _check_supervisor(child["supervisor"], (*path, "supervisor"), inherited, base_dir, problems)
        return
    folders = [*child.get("sys_path", ()), base_dir]
    if "pickled" not in child:
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


def _check_supervisor(supervisor: dict[str, Any], path: Path, inherited: Inherited, base_dir: str, problems: Problems) -> None:
    check_dynamic(supervisor, path, problems)
    first: dict[str, Path] = {}
    for index, child in enumerate(supervisor.get("children", ())):
        if child is INVALID:
            continue
        here = (*path, "children", index)
        name = child.get("id")
        if name is not None and name in first:
            problems.add(
                (*here, "id"),
                f"found {name!r}, which is taken by {problems.line_of(first[name])}; ids are unique within a supervisor",
            )
        elif name is not None:
            first[name] = here
        check_child(child, here, inherited, base_dir, problems, under=supervisor, under_path=path)


def _check_register(supervisor: Mapping[str, Any], path: Path, first: dict[TypedKey, Path], problems: Problems) -> None:
    """Refuse a key for two children: it is unique in the whole tree, and the second could never start."""
    for index, child in enumerate(supervisor.get("children", ())):
        if child is INVALID:
            continue
        here = (*path, "children", index, "register")
        key = child.get("register")
        if key is not None and key is not INVALID:
            before = first.setdefault(typed(key), here)
            if before is not here:
                where = problems.line_of(before)
                problems.add(here, f"found {show(key)}, which is taken by {where}; a key names one process of the whole tree")
        nested = child.get("supervisor")
        if isinstance(nested, Mapping):
            _check_register(nested, (*path, "children", index, "supervisor"), first, problems)


def _check_times(own: Mapping[str, Any], merged: Mapping[str, Any], path: Path, problems: Problems) -> None:
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


def _meant_a_kind(path: Path, problems: Problems) -> bool:
    """Whether a reported key of this child was to say its kind."""
    steps = [reported[len(path)] for reported in problems.under(path) if len(reported) > len(path)]
    return any(suggest(str(step), KINDS) for step in steps)
