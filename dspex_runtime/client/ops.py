"""Every operation of a runtime, written once: generators that both the synchronous and the asyncio client drive.

An operation says what it asks and what its answer means; how to wait is `steps`' affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.client.target import base_name, child_keys, child_spec, is_known_id, prepared
from dspex_runtime.errors import ConfigError, NoProcessError, RuntimeUnreachableError, SupervisorError
from dspex_runtime.types import Down, ModuleInfo

QUICK_S: Final = 30.0  # for questions the runtime answers from memory; what waits for a process has no limit of ours
TAKEN: Final = frozenset({"already_started", "already_present"})


class Client(Protocol):
    """What an operation needs of the object it is a method of."""

    @property
    def session(self) -> Session:
        """The connection."""
        ...

    def reference(self, id: str, kind: str) -> Any:
        """Return a reference of this client's kind."""
        ...


def ask(session: Session, op: str, args: dict[str, Any], timeout_s: float | None = None) -> Steps[Any]:
    """One control request."""
    answer = session.connection.request(op, args)
    try:
        return (yield Await(answer, timeout_s))
    except TimeoutError as exc:
        if type(exc) is not TimeoutError:
            raise  # the runtime's own answer, CallTimeoutError
        raise RuntimeUnreachableError(f"the runtime has not answered {op!r} for {timeout_s:g} s") from None


def module_info(data: dict[str, Any]) -> ModuleInfo:
    """Return a child as the runtime describes it; facts that a newer runtime adds are left out."""
    return ModuleInfo(**{name: data[name] for name in ModuleInfo.__slots__ if name in data})


# -- start and stop ------------------------------------------------------------------------------------------------------


def start(
    self: Client,
    target: Any,
    /,
    *positional: Any,
    id: str | None = None,
    supervisor: str | None = None,
    restart: str = "permanent",
    get_if_exists: bool = False,
    args: Iterable[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **named: Any,
) -> Steps[Any]:
    """Start a child and return its reference when it is ready.

    Args:
        self: The runtime.
        target: A class, an instance, "pkg.mod:Name", "file.py:Name", a saved program's directory; or the id of a child
            that was stopped, exited or failed.
        *positional: Constructor arguments (a server's: `init`'s).
        id: Unique under its supervisor; made from the target's name when left out.
        supervisor: Full id of the supervisor; without one the child gets one of its own.
        restart: "permanent", "transient" or "temporary".
        get_if_exists: Return the one that has this id already.
        args: More constructor arguments.
        kwargs: Constructor arguments whose names are ours.
        **named: The YAML's child keys; every other name is a constructor argument.

    Returns:
        ModuleProxy, or ServerRef for a GenServer; "undefined" where the child's init said Ignore.

    Raises:
        StartError: It did not become ready; carries the child's own traceback. Nothing of it is left.
        SupervisorError: The id is taken ("already_started", "already_present"), or the supervisor refused.
        ConfigError: The target or a child key is wrong.
    """
    known = child_keys()
    keys = {name: value for name, value in named.items() if name in known}
    passed = {**{name: value for name, value in named.items() if name not in known}, **(kwargs or {})}
    arguments = (*positional, *args)
    if id is None and is_known_id(target) and not arguments and not named:
        return (yield from _started(self, {"spec": {"id": target}}))
    if get_if_exists and id is None:
        raise ConfigError("get_if_exists needs the id to look for: rt.start(target, id=..., get_if_exists=True)")
    spec = child_spec(target, id=id, args=arguments, kwargs=passed, keys={"restart": restart, **keys})
    request = {"spec": spec, "supervisor": supervisor, "get_if_exists": get_if_exists}
    if id is not None:
        return (yield from _started(self, request))
    while True:
        spec["id"] = self.session.new_id(base_name(target))
        try:
            return (yield from _started(self, request))
        except SupervisorError as exc:
            if exc.code not in TAKEN:
                raise


def _started(self: Client, request: dict[str, Any]) -> Steps[Any]:
    return _reference(self, (yield from ask(self.session, "start", request)))


def _reference(self: Client, identity: Any) -> Any:
    return identity if identity is None or isinstance(identity, str) else self.reference(identity["id"], identity["kind"])


def stop(self: Client, id: str, timeout: float | None = None) -> Steps[None]:
    """Stop a child in order; ends when it is reaped. Its state is kept, `start(id)` brings it back.

    Raises:
        CallTimeoutError: It is still stopping after `timeout`; it goes on stopping.
    """
    yield from ask(self.session, "stop", {"id": id, "timeout": timeout})


def restart(self: Client, id: str) -> Steps[None]:
    """Stop a child in order and start it again; not counted as a crash. Ends when it is ready."""
    yield from ask(self.session, "restart", {"id": id})


def kill(self: Client, id: str, signal: str | int = "KILL") -> Steps[None]:
    """Send a signal to a child's process; ends when it is sent. What the process makes of it counts as a crash."""
    yield from ask(self.session, "kill", {"id": id, "signal": signal}, QUICK_S)


def delete(self: Client, id: str) -> Steps[None]:
    """Stop a child and forget it: state, logs and its name."""
    yield from ask(self.session, "delete", {"id": id})


def shutdown(self: Client) -> Steps[None]:
    """Stop the whole tree in order and end the runtime, whoever started it."""
    try:
        yield from ask(self.session, "shutdown", {})
    except RuntimeUnreachableError:
        if self.session.connection.closed_here:
            raise
        # The runtime was gone before its answer was read: that is what was asked for.


# -- look ----------------------------------------------------------------------------------------------------------------


def info(self: Client, id: str) -> Steps[ModuleInfo]:
    """Return one child.

    Raises:
        NoProcessError: No child has that id; says which are near.
    """
    return module_info((yield from ask(self.session, "info", {"id": id}, QUICK_S)))


def modules(self: Client, /, **metadata: Any) -> Steps[list[ModuleInfo]]:
    """Return all children whose metadata has every given value."""
    return [module_info(data) for data in (yield from ask(self.session, "modules", {"metadata": metadata}, QUICK_S))]


def tree(self: Client) -> Steps[dict[str, Any]]:
    """Return the supervision tree as nested dicts."""
    facts: dict[str, Any] = yield from ask(self.session, "tree", {}, QUICK_S)
    return facts


def status(self: Client) -> Steps[dict[str, Any]]:
    """Return facts about the runtime itself: name, pid, version, state, started_at, socket, state_dir, modules, ready."""
    facts: dict[str, Any] = yield from ask(self.session, "status", {}, QUICK_S)
    return facts


def wait(self: Client, ids: str | Sequence[str], state: str = "ready", timeout: float | None = 30) -> Steps[dict[str, str]]:
    """Wait until all the children are in a state; returns the states.

    Raises:
        CallTimeoutError: They are not, after `timeout`.
        NoProcessError: One is down for good and will not become ready.
    """
    wanted = [ids] if isinstance(ids, str) else list(ids)
    states: dict[str, str] = yield from ask(self.session, "wait", {"ids": wanted, "state": state, "timeout": timeout})
    return states


def log_path(self: Client, id: str) -> Steps[str]:
    """Return the path of a child's log file."""
    path: str = yield from ask(self.session, "log_path", {"id": id}, QUICK_S)
    return path


# -- supervisors -----------------------------------------------------------------------------------------------------------


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
) -> Steps[str]:
    """Start a supervisor under a supervisor; returns its full id."""
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
    identity = yield from ask(self.session, "start_supervisor", asked)
    return str(identity["id"])


def start_child(self: Client, supervisor: str, spec: Mapping[str, Any]) -> Steps[Any]:
    """OTP start_child: a spec is a dict with the YAML's child keys; classes and instances are welcome as targets.

    Returns:
        A reference, or "undefined" where the child's init said Ignore. A nested supervisor: its full id.

    Raises:
        StartError: It did not become ready; the spec is forgotten.
        SupervisorError: `code` is OTP's atom ("already_started", "already_present", ...).
    """
    identity = yield from ask(self.session, "start_child", {"supervisor": supervisor, "spec": prepared(dict(spec))})
    return _reference(self, identity)


def terminate_child(self: Client, supervisor: str, id: str) -> Steps[None]:
    """OTP terminate_child: stop a child and keep its spec."""
    yield from ask(self.session, "terminate_child", {"supervisor": supervisor, "id": id})


def restart_child(self: Client, supervisor: str, id: str) -> Steps[Any]:
    """OTP restart_child: start a child whose process is not running; returns its reference."""
    return _reference(self, (yield from ask(self.session, "restart_child", {"supervisor": supervisor, "id": id})))


def delete_child(self: Client, supervisor: str, id: str) -> Steps[None]:
    """OTP delete_child: forget a child that is not running."""
    yield from ask(self.session, "delete_child", {"supervisor": supervisor, "id": id})


def which_children(self: Client, supervisor: str) -> Steps[list[tuple[str, int | str, str]]]:
    """OTP which_children: (id, pid or "undefined" or "restarting", type), last started first."""
    rows = yield from ask(self.session, "which_children", {"supervisor": supervisor})
    return [tuple(row) for row in rows]


def count_children(self: Client, supervisor: str) -> Steps[dict[str, int]]:
    """OTP count_children: specs, active, supervisors, workers."""
    counts: dict[str, int] = yield from ask(self.session, "count_children", {"supervisor": supervisor})
    return counts


def get_childspec(self: Client, supervisor: str, id: str) -> Steps[dict[str, Any]]:
    """OTP get_childspec: the spec with its defaults filled in."""
    facts: dict[str, Any] = yield from ask(self.session, "get_childspec", {"supervisor": supervisor, "id": id})
    return facts


# -- references and monitors -----------------------------------------------------------------------------------------------


def identify(self: Client, id: str, *kinds: str) -> Steps[str]:
    """Return the full id of a child, after making sure that it is of one of the kinds."""
    found = yield from ask(self.session, "info", {"id": id}, QUICK_S)
    if found["kind"] not in kinds:
        right = {"server": "rt.server(id)", "module": "rt.module(id)"}.get(found["kind"], "rt.which_children(id)")
        raise ConfigError(f"{found['id']!r} is a {found['kind']}, not a {kinds[0]}", id=found["id"], hint=f"use {right}")
    return str(found["id"])


def monitored(self: Client, id: str) -> Steps[tuple[int | None, Down | None]]:
    """Watch a child's running incarnation: (number, None), or (None, Down) where there is no such child, as OTP."""
    try:
        monitor = yield from ask(self.session, "monitor", {"id": id}, QUICK_S)
    except NoProcessError:
        return None, Down(id, 0, "noproc")
    return int(monitor["ref"]), None


def awaited_down(session: Session, ref: int, timeout: float | None) -> Steps[Down | None]:
    """Wait for a monitor's notice; None when it has not come in time."""
    try:
        down: Down = yield Await(session.connection.down(ref), timeout, keep=True)
    except TimeoutError:
        return None
    return down


def demonitored(session: Session, ref: int) -> Steps[None]:
    """End a monitor; after this no notice comes."""
    answer = session.connection.demonitor(ref)
    if answer is not None:
        yield Await(answer, QUICK_S)
