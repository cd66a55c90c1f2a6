"""OTP's bad combinations of what makes supervisors end or grow: significant children, auto_shutdown, dynamic. Pure.

Works on data that the schema has checked. Never looks at one child alone otherwise (rules.py).

Source: supervisor.erl check_childspec, supervisor_data; DynamicSupervisor.init/1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspex_runtime.config.merging import Inherited, effective
from dspex_runtime.config.problems import Path, Problems
from dspex_runtime.types import AutoShutdown, RestartType, Strategy

__all__ = ["check_dynamic", "check_significant"]


def check_dynamic(supervisor: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """Refuse what a dynamic supervisor cannot have, and what only a dynamic one can."""
    if not supervisor.get("dynamic"):
        for key in ("max_children", "extra_arguments"):
            if supervisor.get(key) not in (None, []):
                problems.add((*path, key), "found without dynamic: true; allowed: on a dynamic supervisor only", at_key=True)
        return
    strategy = supervisor.get("strategy", Strategy.ONE_FOR_ONE)
    if strategy != Strategy.ONE_FOR_ONE:
        problems.add((*path, "strategy"), f"found {strategy} with dynamic: true; allowed: one_for_one")
    auto_shutdown = supervisor.get("auto_shutdown", AutoShutdown.NEVER)
    if auto_shutdown != AutoShutdown.NEVER:
        why = "as a dynamic supervisor has no significant children"
        problems.add((*path, "auto_shutdown"), f"found {auto_shutdown} with dynamic: true; allowed: never, {why}")
    if supervisor.get("children"):
        what = "found children with dynamic: true; allowed: none here, they are added at run time (rt.start_child)"
        problems.add((*path, "children"), what, at_key=True)


def check_significant(
    child: Mapping[str, Any],
    kind: str,
    path: Path,
    inherited: Inherited,
    under: Mapping[str, Any],
    under_path: Path,
    problems: Problems,
) -> None:
    """Refuse a significant child whose end can never count.

    Args:
        child: The child, of this kind.
        kind: "module", "server" or "supervisor".
        path: Where the child is written.
        inherited: What the configuration gives it.
        under: Its supervisor.
        under_path: Where that is written; () when it is not in this text.
        problems: Where problems go.
    """
    if not child.get("significant"):
        return
    here = (*path, "significant")
    restart_is_known = not problems.under((*path, "restart"))
    if restart_is_known and effective(child, kind, inherited).get("restart", RestartType.PERMANENT) == RestartType.PERMANENT:
        hint = "" if "restart" in child else "; write restart: transient here"
        why = "with transient and temporary, as a permanent child never ends for good"
        problems.add(here, f"found true on a permanent child; allowed: {why}{hint}")
    if under.get("dynamic"):
        problems.add(here, "found true under a dynamic supervisor; allowed: false, as it does not shut itself down")
    elif under.get("auto_shutdown", AutoShutdown.NEVER) == AutoShutdown.NEVER and not _is_reported(under_path, problems):
        where = f" ({problems.line_of(under_path)})" if under_path else ""
        allowed = "under auto_shutdown: any_significant or all_significant"
        problems.add(here, f"found true under a supervisor{where} with auto_shutdown: never; allowed: {allowed}")


def _is_reported(under_path: Path, problems: Problems) -> bool:
    """Whether the supervisor's auto_shutdown is wrong rather than absent."""
    return bool(under_path) and bool(problems.under((*under_path, "auto_shutdown")))
