"""Every operation of a runtime, written once: generators that both the synchronous and the asyncio client drive.

An operation says what it asks and what its answer means; how to wait is `steps`' affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from dspex_runtime.client.ids import Child, Via, child_id, looked_up
from dspex_runtime.client.itself import own_kind
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.client.target import base_name, child_keys, child_spec, is_known_id, prepared
from dspex_runtime.core.keys import show
from dspex_runtime.core.links import KILL
from dspex_runtime.errors import ConfigError, NoProcessError, RuntimeUnreachableError, StartError, SupervisorError
from dspex_runtime.exit_reason import ExitReason, own_reason
from dspex_runtime.host.ids import id_of, is_named, of_proxy
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
        id: Unique under its supervisor; made from the target's name when left out. A dynamic supervisor makes one, too, when
            it is taken: "worker#1".
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
    known_as = target if isinstance(target, str) else (yield from _known(self, target))
    if id is None and is_known_id(known_as) and not arguments and not named:
        return (yield from _started(self, {"spec": {"id": known_as}}))
    if get_if_exists and id is None:
        raise ConfigError("get_if_exists needs the id to look for: rt.start(target, id=..., get_if_exists=True)")
    spec = child_spec(target, id=id, args=arguments, kwargs=passed, keys={"restart": restart, **keys})
    request = {"spec": spec, "supervisor": supervisor, "get_if_exists": get_if_exists, "unnamed": id is None}
    try:
        while True:
            spec["id"] = id if id is not None else self.session.new_id(base_name(target))
            try:
                return (yield from _started(self, request))
            except SupervisorError as exc:
                if id is not None or exc.code not in TAKEN:
                    raise
    except StartError as exc:
        exc.message += _meant(exc.message, passed, known)
        raise


def _meant(message: str, passed: Mapping[str, Any], known: Iterable[str]) -> str:
    """What to add to the message of a start that failed for a name the constructor does not know: it may be a child key's."""
    unknown = next((name for name in passed if f"unexpected keyword argument {name!r}" in message), None)
    if unknown is None:
        return ""
    from dspex_runtime.config.suggestions import suggest

    hint = suggest(unknown, known)
    return f"; {hint}" if hint else ""


def _known(self: Client, target: Any) -> Steps[Any]:
    """A reference, as the id of its child; any other target as it is."""
    from dspex_runtime.client.ref import Ref

    reference = of_proxy(target)
    return (yield from looked_up(self.session, target)) if isinstance(reference, Ref | Via) or is_named(reference) else target


def _started(self: Client, request: dict[str, Any]) -> Steps[Any]:
    return _reference(self, (yield from ask(self.session, "start", request)))


def _reference(self: Client, identity: Any) -> Any:
    return identity if identity is None or isinstance(identity, str) else self.reference(identity["id"], identity["kind"])


def stop(self: Client, id: Child, timeout: float | None = None) -> Steps[None]:
    """Stop a child in order; ends when it is reaped. Its state is kept, `start(id)` brings it back.

    Raises:
        CallTimeoutError: It is still stopping after `timeout`; it goes on stopping.
    """
    asked = {"id": (yield from looked_up(self.session, id)), "timeout": timeout}
    yield from ask(self.session, "stop", asked)


def restart(self: Client, id: Child) -> Steps[None]:
    """Stop a child in order and start it again; not counted as a crash. Ends when it is ready."""
    yield from ask(self.session, "restart", {"id": (yield from looked_up(self.session, id))})


def kill(self: Client, id: Child, signal: str | int = "KILL") -> Steps[None]:
    """Send a signal to a child's process; ends when it is sent. What the process makes of it counts as a crash."""
    asked = {"id": (yield from looked_up(self.session, id)), "signal": signal}
    yield from ask(self.session, "kill", asked, QUICK_S)


def delete(self: Client, id: Child) -> Steps[None]:
    """Stop a child and forget it: its state, its name and its log.

    The log of a child that is forgotten because it ended (a dynamic supervisor's, a temporary one) is kept among the last 1000.
    """
    yield from ask(self.session, "delete", {"id": (yield from looked_up(self.session, id))})


def shutdown(self: Client) -> Steps[None]:
    """Stop the whole tree in order and end the runtime, whoever started it."""
    try:
        yield from ask(self.session, "shutdown", {})
    except RuntimeUnreachableError:
        if self.session.connection.closed_here:
            raise
        # The runtime was gone before its answer was read: that is what was asked for.


# -- look ----------------------------------------------------------------------------------------------------------------


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


def status(self: Client) -> Steps[dict[str, Any]]:
    """Return facts about the runtime itself: name, pid, version, state, started_at, socket, state_dir, modules, ready."""
    facts: dict[str, Any] = yield from ask(self.session, "status", {}, QUICK_S)
    return facts


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
    return _reference(self, identity)


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
    return _reference(self, (yield from ask(self.session, "restart_child", (yield from _of(self, supervisor, id)))))


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


# -- references and monitors -----------------------------------------------------------------------------------------------


def identify(self: Client, id: Child, *kinds: str) -> Steps[str]:
    """Return the full id of a child, after making sure that it is of one of the kinds."""
    found = yield from ask(self.session, "info", {"id": (yield from looked_up(self.session, id))}, QUICK_S)
    kind = own_kind(self.session.socket_path, found["id"]) or found["kind"]
    if kind not in kinds:
        right = {"server": "rt.server(id)", "module": "rt.module(id)"}.get(kind, "rt.which_children(id)")
        raise ConfigError(f"{found['id']!r} is a {kind}, not a {kinds[0]}", id=found["id"], hint=f"use {right}")
    return str(found["id"])


def callee(self: Client, target: Any, kinds: dict[str, str]) -> Steps[Any]:
    """Return a reference to what is to be called; of ids that are not in `kinds` yet the runtime is asked what they are."""
    from dspex_runtime.client.ref import ModuleRef, Ref, ServerRef

    reference = of_proxy(target)
    if isinstance(reference, Ref):
        id_of(reference, self.session.socket_path)
        return reference
    id = yield from looked_up(self.session, target)
    if id not in kinds:
        try:
            kinds[id] = (yield from ask(self.session, "info", {"id": id}, QUICK_S))["kind"]
        except NoProcessError:
            kinds[id] = "module"  # the call says it, under its label
    return (ServerRef if kinds[id] == "server" else ModuleRef)(self.session, id)


def monitored(self: Client, id: Child) -> Steps[tuple[str, int]]:
    """Watch a child's running incarnation; where there is none its notice, "noproc", comes at once. Returns id and number."""
    wanted = yield from looked_up(self.session, id)
    return wanted, int((yield from ask(self.session, "monitor", {"id": wanted}, QUICK_S))["ref"])


def linked(self: Client, a: Child, b: Child | None) -> Steps[tuple[str, int] | None]:
    """Link two children, or (b None) a child with this client; then its id and the number under which its end will be told."""
    asked = yield from _pair(self, a, b)
    answer = yield from ask(self.session, "link", asked, QUICK_S)
    return (asked["id"], int(answer["ref"])) if b is None else None


def _pair(self: Client, a: Child, b: Child | None) -> Steps[dict[str, Any]]:
    other = None if b is None else (yield from looked_up(self.session, b))
    return {"id": (yield from looked_up(self.session, a)), "with": other}


def unlink(self: Client, a: Child, b: Child | None = None) -> Steps[bool]:
    """Remove the link of two children, or (b None) of a child with this client; no signal comes through it any more.

    Returns:
        Whether there was one.
    """
    answer = yield from ask(self.session, "unlink", (yield from _pair(self, a, b)), QUICK_S)
    return bool(answer["linked"])


def exit(self: Client, id: Child, reason: ExitReason = "normal") -> Steps[None]:
    """Send an exit signal to a child, as erlang:exit/2; ends when it is sent. One that is not there: nothing happens.

    Args:
        self: The runtime.
        id: The child; a supervisor ignores everything but "kill", which ends it and all that is below it. The root supervisor is
            not to be killed: `rt.shutdown()` ends it.
        reason: A server that traps exits (the default) gets `dx.Exit`; a dspy module ends in order, unless it is "normal"; with
            `trap_exit: false` either ends at once. "kill" cannot be trapped, its victim ends "killed". What is no reason that
            code may give (`dx.Stop`) is sent as ("error", "Exit", the term or its repr, "").
    """
    asked = {"id": (yield from looked_up(self.session, id)), "reason": own_reason(reason, "Exit", KILL)}
    yield from ask(self.session, "exit", asked, QUICK_S)


def awaited_down(session: Session, ref: int, timeout: float | None) -> Steps[Down | None]:
    """Wait for a monitor's notice; None when it has not come in time."""
    try:
        down: Down | None = yield Await(session.connection.down(ref), timeout, keep=True)
    except TimeoutError:
        return None
    return down


def demonitored(session: Session, ref: int) -> Steps[bool]:
    """End a monitor; after this no notice comes. Returns whether it was still active."""
    answer = session.connection.demonitor(ref)
    return answer is not None and bool((yield Await(answer, QUICK_S)))
