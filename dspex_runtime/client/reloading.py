"""`rt.reload`: what the file says now, read where the file is, made true where the tree is.

Written once, for the clients of threads and of tasks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.client.asking import QUICK_S, Client, ask
from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, DspexError, ReloadError
from dspex_runtime.types import ReloadResult, ReloadStep
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault

__all__ = ["changed_sources", "reload"]

ANEW: Final = ("swap", "restart", "add", "remove")  # after these a mirror's program may be another one


def reload(
    self: Client,
    /,
    path: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    plan: bool = False,
    *,
    why: str | None = None,
    on_progress: OnProgress | None = None,
) -> Steps[ReloadResult]:
    """Bring what runs to what a file says, with the least that does it, step by step; a second reload finds nothing to do.

    What differs is changed live where that can be (parameters, limits, back-off, supervision), by a swap where a new process takes
    over (target, version, args, lm, and code that is another one on the disk), by a restart else (env, durability, register, kind).
    Removals come first, then all else in start order. It stops at the first step that fails: what was done is done, and the next
    reload does the rest; so also when it is interrupted, or this client ends.

    Compared is what runs, swaps and rollbacks included. What is taken out of the file is stopped; what it has learnt is kept for
    when it comes back. Children that were started or added at run time are not the file's and stay. What somebody stopped stays
    stopped; what failed is started again.

    Args:
        self: The runtime.
        path: A YAML file, or a dict with its keys; None: the file that the runtime was started from.
        plan: Only say what would be done.
        why: What `rt.versions` says of swaps; "reload".
        on_progress: Called, in another thread, with maps: type "reload" with the plan, then with number, of, id, action, state; and
            those of swaps.

    Raises:
        ReloadError: A step failed; its `result` says which, its `__cause__` why.
        ConfigError: The file is wrong (`problems` has all of it, with lines), or says what only another `up` can do.
        BusyError: It is being reloaded already.
    """
    session = self.session
    if path is not None and not isinstance(path, str | os.PathLike | Mapping):
        raise ConfigError(f"a reload takes the path of a YAML file or a dict; got {show(path)}")
    if why is not None and not isinstance(why, str):
        raise ConfigError(f"why is text; got {show(why)}")
    if path is None:
        path = (yield from ask(session, "status", {}, QUICK_S)).get("file")
        if path is None:
            raise ConfigError("this runtime was not started from a file", hint="say which: rt.reload(path)")
    config = boot_config(path, name=None, state_dir=None, preload=None)
    if not plan:
        for id in session.edits.ids():
            yield from session.edits.pushed(id)
    facts = yield Await(session.connection.request("reload", {"config": config, "plan": plan, "why": why}, on_progress))
    result = _result(facts, applied=not plan)
    for step in result.steps if not plan else ():
        if step.action in ANEW:
            session.edits.outdated(step.id)
    if facts.get("fault") is not None:
        raise _failed(result, facts["fault"])
    return result


def changed_sources(self: Client) -> Steps[dict[str, list[list[Any]]]]:
    """Return which running modules were made of files that are others on the disk now: by full id [path, mtime_ns, size] each.

    Of a file that is gone the last two are None.
    """
    found: dict[str, list[list[Any]]] = yield from ask(self.session, "changed_sources", {}, QUICK_S)
    return found


def _result(facts: Mapping[str, Any], *, applied: bool) -> ReloadResult:
    steps, refused = (
        tuple(_step(each, default) for each in facts[key]) for key, default in (("steps", "planned"), ("refused", "refused"))
    )
    return ReloadResult(steps, refused, tuple(facts["left"]), applied)


def _step(facts: Mapping[str, Any], state: str) -> ReloadStep:
    return ReloadStep(
        id=facts["id"],
        action=facts["action"],
        changes=tuple(facts["changes"]),
        note=facts.get("note"),
        state=facts.get("state", state),
        seconds=facts.get("seconds"),
        message=facts.get("message"),
    )


def _failed(result: ReloadResult, fault: dict[str, Any]) -> ReloadError:
    cause = from_fault(fault, codec=Codec())
    failed = next((step for step in result.steps if step.state == "failed"), None)
    rest = [step.id for step in result.steps if step.state == "not_done"]
    said = cause.message if isinstance(cause, DspexError) else str(cause)
    where = f"{failed.action} of {failed.id!r} failed: " if failed is not None else ""
    done = sum(step.state == "done" for step in result.steps)
    left = f"; not done: {', '.join(rest)}" if rest else ""
    text = f"{where}{said}; {done} of {len(result.steps)} steps done{left}"
    error = ReloadError(
        text,
        result=result,
        remote_traceback=getattr(cause, "remote_traceback", None) or None,
        id=None if failed is None else failed.id,
        hint=getattr(cause, "hint", None),
    )
    error.__cause__ = cause
    return error
