"""Start, stop, restart, kill, delete; and the end of the runtime. Owns what a start's arguments mean; never waits itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from dspex_runtime.client.asking import QUICK_S, Client, ask, referred
from dspex_runtime.client.ids import Child, Via, looked_up
from dspex_runtime.client.proxies import keep_callbacks
from dspex_runtime.client.steps import Steps
from dspex_runtime.client.target import base_name, child_keys, child_spec, is_known_id
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, RuntimeUnreachableError, StartError, SupervisorError
from dspex_runtime.host.ids import is_named, of_proxy

TAKEN: Final = frozenset({"already_started", "already_present"})


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
        **named: The YAML's child keys (`load="qa.json"` begins with a saved state); every other name is a constructor argument.

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
        reference = yield from (_started(self, request) if id is not None else _under_a_free_name(self, request, base_name(target)))
    except StartError as exc:
        exc.message += _meant(exc.message, passed, known)
        raise
    if not get_if_exists:
        keep_callbacks(reference, target)
    return reference


def _under_a_free_name(self: Client, request: dict[str, Any], base: str) -> Steps[Any]:
    """Start what was given no id: the first name of its own that nobody has."""
    while True:
        request["spec"]["id"] = self.session.new_id(base)
        try:
            return (yield from _started(self, request))
        except SupervisorError as exc:
            if exc.code not in TAKEN:
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
    return referred(self, (yield from ask(self.session, "start", request)))


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


def scale(self: Client, id: Child, n: int) -> Steps[list[str]]:
    """Have a group be `n` replicas; returns their full ids when those that are new may be called and the others are gone.

    The next numbers are added; the highest are drained, stopped and forgotten, with their state. A child that is alone becomes a
    group: what refers to it goes on, and each replica begins with its parameters and its state.

    Raises:
        StartError: A replica did not become ready; those before it stay.
        ConfigError: That is no number of replicas.
    """
    if type(n) is not int:
        raise ConfigError(f"a group has a whole number of replicas; got {show(n)}")
    asked = {"id": (yield from looked_up(self.session, id)), "n": n}
    replicas: list[str] = (yield from ask(self.session, "scale", asked))["replicas"]
    return replicas


def shutdown(self: Client) -> Steps[None]:
    """Stop the whole tree in order and end the runtime, whoever started it."""
    try:
        yield from ask(self.session, "shutdown", {})
    except RuntimeUnreachableError:
        if self.session.connection.closed_here:
            raise
        # The runtime was gone before its answer was read: that is what was asked for.
