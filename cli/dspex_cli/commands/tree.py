"""dspex tree: supervisors and what they supervise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from dspex_cli import link, wording
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import STATE_STYLES, Output, one_line, paint
from dspex_cli.replicas import grouped


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
    children = grouped(node.get("children") or [])
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
    if node.get("replicas"):
        parts.append(wording.count(len(node["replicas"]), "replica"))
    if node.get("pid"):
        parts.append(f"pid {node['pid']}")
    if node.get("restarts"):
        parts.append(wording.count(node["restarts"], "restart"))
    if supervisor and state == "READY":
        parts += _supervising(supervisor)
    parts += _depending(node)
    if node.get("last_exit") is not None and state not in ("READY", "STOPPED"):
        parts.append(f"({one_line(wording.reason(node['last_exit']))})")
    return "  ".join(part for part in parts if part)


def _depending(node: dict[str, Any]) -> Iterator[str]:
    """Yield what it needs, and what of that it waits for, or does without."""
    needs, down = node.get("depends_on") or {}, node.get("waiting_for") or ()
    up = [f"{one_line(id)} ({edge['on_down']})" for id, edge in needs.items() if id not in down]
    if up:
        yield f"needs {', '.join(up)}"
    for id in down:
        state = needs[id]["state"] or "not there"
        yield f"{_DOWN[needs[id]['on_down']]} {one_line(id)}, which is {paint(state, STATE_STYLES.get(state, ''))}"


_DOWN: Final = {
    "wait": "waits for", "restart": "waits for", "stop": "waits for", "fail": "takes no calls without", "degrade": "does without",
}  # fmt: skip


def _supervising(supervisor: dict[str, Any]) -> Iterator[str]:
    """Yield what is not as usual: who may be added, what ends it, how near it is to giving up."""
    if supervisor["dynamic"]:
        yield wording.population(supervisor)
    if supervisor["auto_shutdown"] != "never":
        yield f"ends with {supervisor['auto_shutdown']}"
    if supervisor["restarts_used"]:
        yield wording.budget(supervisor)
