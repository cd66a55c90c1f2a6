"""dspex tree: supervisors and what they supervise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dspex_cli import link, wording
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import STATE_STYLES, Output, one_line, paint


@command("tree")
@click.pass_obj
def command_object(settings: Settings) -> None:
    """Show the supervision tree with states."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        tree = runtime.tree()
    output.result(tree, lambda: show(output, tree))


def show(output: Output, tree: dict[str, Any]) -> None:
    """Print a tree as `rt.tree()` returns it."""
    for line in lines(tree):
        output.line(line)


def lines(node: dict[str, Any]) -> Iterator[str]:
    """Yield the tree line by line, children below their supervisor."""
    yield _label(node)
    yield from _below(node, "")


def _below(node: dict[str, Any], indent: str) -> Iterator[str]:
    children = node.get("children") or []
    for place, child in enumerate(children, 1):
        last = place == len(children)
        yield f"{indent}{'└─ ' if last else '├─ '}{_label(child)}"
        yield from _below(child, indent + ("   " if last else "│  "))


def _label(node: dict[str, Any]) -> str:
    state = str(node.get("state") or "")
    supervisor = node.get("supervisor")
    kind = "dynamic" if supervisor and supervisor["dynamic"] else node.get("strategy") or node.get("kind") or ""
    parts = [paint(one_line(node["id"]).rpartition("/")[2] or "root", "bold"), str(kind)]
    parts.append(paint(state, STATE_STYLES.get(state, "")))
    if node.get("pid"):
        parts.append(f"pid {node['pid']}")
    if node.get("restarts"):
        parts.append(wording.count(node["restarts"], "restart"))
    if supervisor and state == "READY":
        parts += _supervising(supervisor)
    if node.get("last_exit") is not None and state not in ("READY", "STOPPED"):
        parts.append(f"({one_line(wording.reason(node['last_exit']))})")
    return "  ".join(part for part in parts if part)


def _supervising(supervisor: dict[str, Any]) -> Iterator[str]:
    """Yield what is not as usual: who may be added, what ends it, how near it is to giving up."""
    if supervisor["dynamic"]:
        yield wording.population(supervisor)
    if supervisor["auto_shutdown"] != "never":
        yield f"ends with {supervisor['auto_shutdown']}"
    if supervisor["restarts_used"]:
        yield wording.budget(supervisor)
