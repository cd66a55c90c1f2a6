"""OTP's supervisor functions, with OTP's results and error atoms. Owns their arguments; never decides what a supervisor does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dspex_runtime.client.asking import Client, ask, referred
from dspex_runtime.client.ids import Child, child_id
from dspex_runtime.client.steps import Steps
from dspex_runtime.client.target import prepared
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError


def start_supervisor(
    self: Client,
    id: str,
    strategy: str = "one_for_one",
    max_restarts: int = 3,
    max_seconds: float = 5,
    supervisor: str = "root",
    dynamic: bool = False,
    max_children: int | None = None,
    auto_shutdown: str = "never",
    restart: str = "permanent",
    extra_arguments: Sequence[Any] = (),
) -> Steps[str]:
    """Start a supervisor under a supervisor; returns its full id.

    Args:
        self: The runtime.
        id: Unique under its supervisor.
        strategy: "one_for_one", "one_for_all" or "rest_for_one".
        max_restarts: It gives up at one restart more than this within `max_seconds`.
        max_seconds: The window of `max_restarts`.
        supervisor: Full id of the one it comes under.
        dynamic: Elixir's DynamicSupervisor: children need no id, start and stop at the same time, and are forgotten when
            they end for good.
        max_children: Of a dynamic one; None is no limit.
        auto_shutdown: "never", "any_significant" or "all_significant".
        restart: "permanent", "transient" or "temporary".
        extra_arguments: Of a dynamic one: put before each child's own positional arguments; plain data.

    Raises:
        ConfigError: Options that do not go together.
        SupervisorError: The id is taken.
    """
    asked: dict[str, Any] = {
        "id": id,
        "strategy": strategy,
        "max_restarts": max_restarts,
        "max_seconds": max_seconds,
        "supervisor": supervisor,
        "dynamic": dynamic,
        "auto_shutdown": auto_shutdown,
        "restart": restart,
    }
    if max_children is not None:
        asked["max_children"] = max_children
    if extra_arguments:
        asked["extra_arguments"] = list(extra_arguments)
    identity = yield from ask(self.session, "start_supervisor", asked)
    return str(identity["id"])


def start_child(self: Client, supervisor: str, spec: Mapping[str, Any]) -> Steps[Any]:
    """OTP start_child: a spec is a dict with the YAML's child keys; classes and instances are welcome as targets.

    Under a dynamic supervisor the id may be left out or taken: the child is then called `class_name#1`, `id#1` and so on.

    Returns:
        A reference, or "undefined" where the child's init said Ignore. A nested supervisor: its full id.

    Raises:
        StartError: It did not become ready; the spec is forgotten.
        SupervisorError: `code` is OTP's atom ("already_started", "already_present", "max_children", ...).
    """
    if not isinstance(spec, Mapping):
        hint = 'rt.start_child("sup", {"id": "w", "server": "pkg.mod:Worker"}), or rt.start(target, supervisor="sup")'
        raise ConfigError(f"a child's spec is a dict with the YAML's keys of a child; got {show(spec)}", hint=hint)
    identity = yield from ask(self.session, "start_child", {"supervisor": supervisor, "spec": prepared(dict(spec))})
    return referred(self, identity)


def _of(self: Client, supervisor: str, id: Child) -> Steps[dict[str, Any]]:
    return {"supervisor": supervisor, "id": (yield from child_id(self.session, supervisor, id))}


def terminate_child(self: Client, supervisor: str, id: Child) -> Steps[None]:
    """OTP terminate_child: stop a child and keep its spec; a temporary or a dynamic supervisor's child is forgotten.

    A child whose restart is due is not restarted.
    """
    yield from ask(self.session, "terminate_child", (yield from _of(self, supervisor, id)))


def restart_child(self: Client, supervisor: str, id: Child) -> Steps[Any]:
    """OTP restart_child: start a child whose process is not running; returns its reference.

    Raises:
        SupervisorError: "running", "restarting", "not_found"; "dynamic": a dynamic supervisor keeps no spec to start again.
        StartError: It did not become ready; the spec is kept.
    """
    return referred(self, (yield from ask(self.session, "restart_child", (yield from _of(self, supervisor, id)))))


def delete_child(self: Client, supervisor: str, id: Child) -> Steps[None]:
    """OTP delete_child: forget a child that is not running, and remove its log.

    Raises:
        SupervisorError: "running", "restarting", "not_found"; "dynamic": a dynamic supervisor keeps no spec to delete.
    """
    yield from ask(self.session, "delete_child", (yield from _of(self, supervisor, id)))


def which_children(self: Client, supervisor: str) -> Steps[list[tuple[str, int | str, str]]]:
    """OTP which_children: (id, pid or "undefined" or "restarting", type), last started first.

    A supervisor has no process of its own: its pid is the runtime's, where it runs.
    """
    rows = yield from ask(self.session, "which_children", {"supervisor": supervisor})
    return [tuple(row) for row in rows]


def which_child(self: Client, supervisor: str, id: Child) -> Steps[tuple[str, int | str, str]]:
    """OTP which_child: what `which_children` has of one child.

    Raises:
        SupervisorError: `code` "not_found".
    """
    row = yield from ask(self.session, "which_child", (yield from _of(self, supervisor, id)))
    return tuple(row)


def count_children(self: Client, supervisor: str) -> Steps[dict[str, int]]:
    """OTP count_children: specs, active, supervisors, workers."""
    counts: dict[str, int] = yield from ask(self.session, "count_children", {"supervisor": supervisor})
    return counts


def get_childspec(self: Client, supervisor: str, id: Child) -> Steps[dict[str, Any]]:
    """OTP get_childspec: the spec with its defaults filled in."""
    facts: dict[str, Any] = yield from ask(self.session, "get_childspec", (yield from _of(self, supervisor, id)))
    return facts
