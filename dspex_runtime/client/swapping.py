"""`rt.swap`, `rt.versions`, `rt.rollback`: asked, waited for, and what came of it.

Each is written once, for the clients of threads and of tasks. What travels is made in `swap_job`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar, overload

from dspex_runtime.client.asking import QUICK_S, Client, ask
from dspex_runtime.client.deadline import FOREVER_S
from dspex_runtime.client.ids import Child, looked_up
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.client.swap_job import Migrate, Verify, member, seconds
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import SwapResult, VersionInfo

__all__ = ["abort_swap", "rollback", "swap", "versions"]

R = TypeVar("R", SwapResult, VersionInfo)

TIMEOUT_S: Final = 30.0
OF_ONE: Final = ("to", "args", "kwargs", "version", "migrate", "verify", "extra")


@overload
def swap(
    self: Client,
    /,
    id: Mapping[Any, Any],
    *,
    drain: float | str | None = None,
    timeout: float | str | None = TIMEOUT_S,
    on_progress: OnProgress | None = None,
    why: str | None = None,
) -> Steps[dict[str, SwapResult]]: ...


@overload
def swap(
    self: Client,
    /,
    id: Child,
    to: Any = None,
    args: Iterable[Any] | Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    version: str | None = None,
    migrate: Migrate | None = None,
    verify: Verify | None = None,
    drain: float | str | None = None,
    timeout: float | str | None = TIMEOUT_S,
    *,
    extra: Any = None,
    on_progress: OnProgress | None = None,
    why: str | None = None,
) -> Steps[SwapResult]: ...


def swap(
    self: Client,
    /,
    id: Child | Mapping[Any, Any],
    to: Any = None,
    args: Iterable[Any] | Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    version: str | None = None,
    migrate: Migrate | None = None,
    verify: Verify | None = None,
    drain: float | str | None = None,
    timeout: float | str | None = TIMEOUT_S,
    *,
    extra: Any = None,
    on_progress: OnProgress | None = None,
    why: str | None = None,
) -> Steps[Any]:
    """Have another version take the place of a running module or server: no call is lost, none runs twice, no write falls between.

    The new version starts beside the old one, takes over a copy of its state, and is verified. Then new calls wait, those that run
    finish within `drain`, and all of it moves: parameters, state, queue, timers, open pipes. Names, monitors, links and references
    stay valid; it is no restart. Any failure before that leaves the old version serving as if nothing had happened; so does Ctrl-C,
    a cancelled task, and a client that closes.

    Several at once, all or none: `rt.swap({"a": {"to": NewA}, "b": {"args": {"k": 3}}}, drain="5s")` returns a map of results. The
    map of each has its `to`, `args`, `kwargs`, `version`, `migrate`, `verify` and `extra`; callers come before those they call.

    Args:
        self: The runtime.
        id: The child; or a map of several.
        to: A class, an instance, "pkg.mod:Name", "file.py:Name", a saved program's directory; None: the same target, with the code
            that is on the disk now.
        args: Positional constructor arguments (a server's: `init`'s), or a map of named ones.
        kwargs: Named ones. With neither, the arguments are as they were; else these are all there are.
        version: Of the new one, as `ps` shows it; else its class says.
        migrate: Makes the state of the new version; gets as many as it takes of (old_version, state, extra), the state if it takes
            one. Without it the class's `code_change` does; without that a server's state and parameters of the same name stay what
            they are. Of a module the state is `{"params": {name: value}, "state": what get_state returned}`.
        verify: Called with the new module, or a server's state; or the name of a method; or a command as a list of words. False, an
            exception, or another exit status than 0 refuses the swap.
        drain: Seconds, or "5s", that what runs has to finish; None: the child's `shutdown.drain`.
        timeout: Seconds, or "30s", for all of it.
        extra: What `migrate` and `code_change` get.
        on_progress: Called, in another thread, with maps: type "swap", id, phase ("rehearsing", "verified", "draining", "moving",
            "done").
        why: What `rt.versions` says; "swap".

    Raises:
        SwapError: It was not swapped; `code` says which step refused, `remote_traceback` what the new version's code raised.
        NoProcessError: There is no such child.
        ConfigError: An argument is wrong.
        UnserialisableError: Something cannot leave this process.
    """
    session = self.session
    several = isinstance(id, Mapping)
    if not isinstance(why, str | None):
        raise ConfigError(f"why is text; got {show(why)}")
    one = {"to": to, "args": args, "kwargs": kwargs, "version": version, "migrate": migrate, "verify": verify, "extra": extra}
    if several and (said := [name for name, value in one.items() if value is not None]):
        raise ConfigError(f"of several, each has its own {said[0]}: rt.swap({{id: {{{said[0]!r}: ...}}}})")
    wanted: list[dict[str, Any]] = []
    for child, its in id.items() if isinstance(id, Mapping) else [(id, one)]:
        full_id = yield from looked_up(session, child)
        wanted.append(member(full_id, **_checked(full_id, its)))
    if not wanted:
        raise ConfigError("no module is named to be swapped: rt.swap({id: {'to': ...}})")
    asked = {"members": wanted, **_limits(drain, timeout), "why": why}
    results = yield from _swapped(session, "swap", asked, [each["id"] for each in wanted], on_progress)
    return results if several else results[wanted[0]["id"]]


def abort_swap(self: Client, id: Child) -> Steps[bool]:
    """Give up the swap of a child that is under way, whoever asked for it; False when there is none, or it is done already."""
    aborted: bool = yield from ask(self.session, "abort_swap", {"id": (yield from looked_up(self.session, id))}, QUICK_S)
    return aborted


def versions(self: Client, id: Child) -> Steps[list[VersionInfo]]:
    """Return the versions of a child that have served, newest first; also of one that is stopped."""
    found = yield from ask(self.session, "versions", {"id": (yield from looked_up(self.session, id))}, QUICK_S)
    return sorted((_made(VersionInfo, facts) for facts in found), key=lambda info: -info.number)


def rollback(
    self: Client,
    /,
    id: Child,
    version: int | str | VersionInfo | None = None,
    *,
    drain: float | str | None = None,
    timeout: float | str | None = TIMEOUT_S,
    on_progress: OnProgress | None = None,
) -> Steps[SwapResult]:
    """Swap a child back to a version that has served: its code, also where the file has changed since, and its arguments.

    The state is migrated down: by `code_change(("down", version), state, extra)` of the version that serves, where it has one.

    Args:
        self: The runtime.
        id: The child.
        version: One of `rt.versions(id)`, its number, or the text of its version; None: the one before this one.
        drain: As of `swap`.
        timeout: As of `swap`.
        on_progress: As of `swap`.

    Raises:
        SwapError: As `swap`.
        ConfigError: An argument is wrong.
    """
    session = self.session
    if isinstance(version, VersionInfo):
        version = version.number
    if type(version) not in (int, str, type(None)):
        raise ConfigError(f"a version is one of rt.versions(id), its number or its text; got {show(version)}")
    full_id = yield from looked_up(session, id)
    asked = {"id": full_id, "version": version, **_limits(drain, timeout)}
    return (yield from _swapped(session, "rollback", asked, [full_id], on_progress))[full_id]


def _swapped(
    session: Session, op: str, asked: dict[str, Any], ids: list[str], on_progress: OnProgress | None
) -> Steps[dict[str, SwapResult]]:
    for id in ids:
        yield from session.edits.pushed(id)
    answer = session.connection.request(op, asked, on_progress)
    try:
        told = yield Await(answer)
    finally:
        answer.cancel()  # an interrupt may come before the wait begins, too; no more than a word to one that is done
    results = [_made(SwapResult, facts) for facts in told["members"]]
    for result in results:
        session.edits.outdated(result.id)
    return dict(zip(ids, results, strict=True))


def _checked(id: str, its: Any) -> dict[str, Any]:
    """Return what is said of one of several; what is no map is its target."""
    if not isinstance(its, Mapping):
        return {"to": its}
    for name in its:
        if name not in OF_ONE:
            raise ConfigError(f"{name!r} is nothing to say of one module of a swap; allowed: {', '.join(OF_ONE)}", id=id)
    return dict(its)


def _limits(drain: Any, timeout: Any) -> dict[str, float | None]:
    drain_s = seconds("drain", drain)
    return {
        "drain": FOREVER_S if drain is not None and drain_s is None else drain_s,
        "timeout": seconds("timeout", timeout, least=", above 0"),
    }


def _made(kind: type[R], facts: Mapping[str, Any]) -> R:
    """Return what the runtime tells as one of these; what a newer runtime adds is left out."""
    return kind(**{each.name: facts[each.name] for each in fields(kind) if each.name in facts})
