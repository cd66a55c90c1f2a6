"""What there is, what it is and what state it is in: nothing here changes the tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dspex_runtime.client.asking import QUICK_S, Client, ask, module_info
from dspex_runtime.client.ids import Child, looked_up
from dspex_runtime.client.itself import own_kind
from dspex_runtime.client.steps import Steps
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import ModuleInfo


def info(self: Client, id: Child) -> Steps[ModuleInfo]:
    """Return one child.

    Raises:
        NoProcessError: No child has that id; says which are near.
    """
    return module_info((yield from ask(self.session, "info", {"id": (yield from looked_up(self.session, id))}, QUICK_S)))


def modules(self: Client, /, **metadata: Any) -> Steps[list[ModuleInfo]]:
    """Return all children whose metadata has every given value."""
    return [module_info(data) for data in (yield from ask(self.session, "modules", {"metadata": metadata}, QUICK_S))]


def tree(self: Client) -> Steps[dict[str, Any]]:
    """Return the supervision tree as nested dicts."""
    facts: dict[str, Any] = yield from ask(self.session, "tree", {}, QUICK_S)
    return facts


def analyze(self: Client) -> Steps[dict[str, Any]]:
    """Return how the latest start of the tree went.

    `seconds` is all of it; `children` has of each, in the order of their starts, when it was asked for, started and ready (seconds
    since the root was), and what it `waited_for`, and `why`: a "dependency", the "sibling" before it, or its "supervisor".
    `chain` has those of them that made it take so long, first to last.
    """
    facts: dict[str, Any] = yield from ask(self.session, "analyze", {}, QUICK_S)
    return facts


def status(self: Client) -> Steps[dict[str, Any]]:
    """Return facts about the runtime itself: name, pid, version, state, started_at, socket, state_dir, modules, ready."""
    facts: dict[str, Any] = yield from ask(self.session, "status", {}, QUICK_S)
    return facts


def past_events(self: Client, n: int = 1000) -> Steps[list[dict[str, Any]]]:
    """Return the last `n` events as they were stored, oldest first: those of earlier runtimes of this state directory, too.

    `seq` counts anew in each runtime. Of a runtime that was killed the events of its last second may be missing.
    """
    found: list[dict[str, Any]] = yield from ask(self.session, "past_events", {"n": n})
    return found


def wait(self: Client, ids: Child | Iterable[Child], state: str = "ready", timeout: float | None = 30) -> Steps[dict[str, str]]:
    """Wait until all the children are in a state; returns the states.

    Raises:
        CallTimeoutError: They are not, after `timeout`.
        NoProcessError: One is down for good and will not become ready.
    """
    given = ids if isinstance(ids, Iterable) and not isinstance(ids, str) else [ids]
    wanted: list[str] = []
    for id in given:
        full_id = yield from looked_up(self.session, id)
        wanted.append(full_id)
    states: dict[str, str] = yield from ask(self.session, "wait", {"ids": wanted, "state": state, "timeout": timeout})
    return states


def log_path(self: Client, id: Child) -> Steps[str]:
    """Return the path of a child's log file."""
    path: str = yield from ask(self.session, "log_path", {"id": (yield from looked_up(self.session, id))}, QUICK_S)
    return path


def identify(self: Client, id: Child, *kinds: str) -> Steps[str]:
    """Return the full id of a child, after making sure that it is of one of the kinds."""
    found = yield from ask(self.session, "info", {"id": (yield from looked_up(self.session, id))}, QUICK_S)
    kind = own_kind(self.session.socket_path, found["id"]) or found["kind"]
    if kind not in kinds:
        right = {"server": "rt.server(id)", "module": "rt.module(id)"}.get(kind, "rt.which_children(id)")
        raise ConfigError(f"{found['id']!r} is a {kind}, not a {kinds[0]}", id=found["id"], hint=f"use {right}")
    return str(found["id"])
