"""Rules that concern several keys: one kind per child, unique ids, targets that exist, combinations that cannot work.

Those of OTP's supervisor flags are in combinations.py, those of one process in process_rules.py. Works on data that the schema has
checked; wrong keys are reported already, and absent. Makes targets absolute in place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dspex_runtime.config.combinations import check_dynamic, check_significant
from dspex_runtime.config.dspy_rules import check_dspy, check_lm
from dspex_runtime.config.merging import KINDS, Inherited, effective, kind_of
from dspex_runtime.config.problems import INVALID, Path, Problems
from dspex_runtime.config.process_rules import check_keys_of, check_process, check_times
from dspex_runtime.config.suggestions import suggest
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
    check_times(defaults, defaults, ("defaults",), problems)
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
    check_keys_of(child, kind, path, problems)
    merged = effective(child, kind, inherited)
    check_times(child, merged, path, problems)
    check_significant(child, kind, path, inherited, under, under_path, problems)
    if kind == "supervisor":
        if isinstance(child.get("shutdown"), Mapping) and child["shutdown"].get("drain"):
            problems.add((*path, "shutdown", "drain"), "found on a supervisor; allowed: on a module or server only", at_key=True)
        _check_supervisor(child["supervisor"], (*path, "supervisor"), inherited, base_dir, problems)
        return
    if child.get("register") is not None and "replicas" in child:
        problems.add(
            (*path, "register"), "found with replicas; allowed: without, as a key names one process of the whole tree", at_key=True
        )
    check_process(child, kind, merged, path, inherited, base_dir, problems)


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


def _meant_a_kind(path: Path, problems: Problems) -> bool:
    """Whether a reported key of this child was to say its kind."""
    steps = [reported[len(path)] for reported in problems.under(path) if len(reported) > len(path)]
    return any(suggest(str(step), KINDS) for step in steps)
