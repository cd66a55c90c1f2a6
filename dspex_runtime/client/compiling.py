"""`rt.compile` and `proxy.dx.compile`: asked, waited for, and what came of it.

Each is written once, for runtimes and references of threads and of tasks. What travels is made in `compile_job`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from dspex_runtime.client.asking import Client
from dspex_runtime.client.checkpoints import compared, put_back
from dspex_runtime.client.compile_job import Data, job_of
from dspex_runtime.client.ids import Child, looked_up
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.ref_ops import Reference
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps, awaitable, blocking
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import CheckpointInfo

__all__ = ["AsyncCompileResult", "CompileResult", "compile", "compile_async", "of_async_ref", "of_ref"]

P = ParamSpec("P")
R = TypeVar("R", bound="_Result")


@dataclass(frozen=True, slots=True)
class _Result:
    """What a compile came to.

    Attributes:
        id: Full id of the module.
        version: Number of the checkpoint that holds the result ("compiled"): what `rt.restore` takes.
        before: Number of the checkpoint that holds what was there before.
        score: What the optimizer says that it is worth, on its own scale; else dspy.Evaluate's over the valset; None: nobody says.
        changes: The parameters that are others now: name to version.
        seconds: That the optimizer took.
        optimizer: Name of its class.
        options: As they were given, as plain data.
        lm_calls: Of all LMs.
        evaluations: Of whole sets.
        errors: Examples that failed; the compile process's log, and `on_progress`, said how.
        who: Who asked for it.
    """

    id: str
    version: int
    before: int
    score: float | None
    changes: dict[str, int]
    seconds: float
    optimizer: str
    options: dict[str, Any]
    lm_calls: int
    evaluations: int
    errors: int
    who: str
    session: Session = field(repr=False, compare=False)

    def reverting(self) -> Steps[CheckpointInfo]:
        """Put the module back to what it was before; what it is now is saved first. Returns the checkpoint it is put back to."""
        return (yield from put_back(self.session, self.id, self.before))

    def comparing(self) -> Steps[list[dict[str, Any]]]:
        """Return the parameters that differ before and after, see `rt.diff_checkpoints`."""
        return (yield from compared(self.session, self.id, self.before, self.version))


class CompileResult(_Result):
    """What `rt.compile` returns, see `_Result` for its attributes."""

    __slots__ = ()

    revert = blocking(_Result.reverting)
    diff = blocking(_Result.comparing)


class AsyncCompileResult(_Result):
    """What the asyncio client's `compile` returns."""

    __slots__ = ()

    revert = awaitable(_Result.reverting)
    diff = awaitable(_Result.comparing)


def compile(
    self: Client | Reference,
    /,
    id: Child,
    optimizer: Any,
    *,
    trainset: Data,
    metric: Callable[..., Any] | str | None = None,
    valset: Data | None = None,
    inputs: Sequence[str] | None = None,
    timeout: float | None = None,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Steps[CompileResult]:
    """Optimise a running program in a process of its own, on a snapshot; it serves on meanwhile, and has the result at once.

    What the optimizer changed is committed in one step, as new versions of the predictors; what was set meanwhile stays. The LM is
    the one of `dspy.context` here, else the module's own, else the one of `dspy.configure` here. The compile is `<id>$compile` in
    `rt.modules()`; it has the module's memory limit, and yields to what serves. While the module does not run, the result waits.

    Args:
        self: The runtime.
        id: The module.
        optimizer: A dspy teleprompter, or the name of its class, "pkg.mod:Name" or "file.py:Name".
        trainset: Examples or maps of their fields, or a JSONL file.
        metric: A function, or "file.py:fn"; of an instance, where it has none.
        valset: As trainset. An optimizer that takes none is not given it; the result is then evaluated on it.
        inputs: Which fields are inputs; by default what Examples say, else the arguments of forward, else the signature's.
        timeout: Seconds for all of it.
        on_progress: Called, in another thread, with maps: type "started", "evaluating", "evaluated", "calls", "error", "waiting",
            "committing".
        **options: Of a class its constructor's and its compile's; of an instance its compile's.

    Raises:
        CompileError: It failed; with the traceback of the process. The module is as it was.
        BusyError: It is being compiled already.
        CallTimeoutError: It is not done in time; it was ended.
        ConfigError: An argument is wrong.
    """
    job = job_of(optimizer, trainset, metric, valset, inputs, options)
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ConfigError(f"timeout is seconds, more than 0, or None; got {show(timeout)}")
    session = self.session
    full_id = yield from looked_up(session, id)
    yield from session.edits.pushed(full_id)
    facts = yield Await(session.connection.request("compile", {"id": full_id, "job": job, "timeout": timeout}, on_progress))
    return CompileResult(session=session, **{each.name: facts[each.name] for each in fields(_Result) if each.name in facts})


def _with_async_result(steps: Callable[P, Steps[CompileResult]]) -> Callable[P, Steps[AsyncCompileResult]]:
    """Return the same operation for the asyncio client: its result is awaited, too; cancelling the task ends the compile."""

    @wraps(steps)
    def twin(*args: P.args, **kwargs: P.kwargs) -> Steps[AsyncCompileResult]:
        found = yield from steps(*args, **kwargs)
        return AsyncCompileResult(**{each.name: getattr(found, each.name) for each in fields(_Result)})

    return twin


def _of(steps: Callable[Concatenate[Reference, Child, P], Steps[R]]) -> Callable[Concatenate[Reference, P], Steps[R]]:
    """Return the same operation as a method of a reference, which knows its id."""

    def compile(self: Reference, /, *args: P.args, **kwargs: P.kwargs) -> Steps[R]:
        return steps(self, self.id, *args, **kwargs)

    compile.__doc__ = steps.__doc__
    return compile


compile_async = _with_async_result(compile)
of_ref = _of(compile)  # type: ignore[arg-type]  # whose `id` may be given by name, too
of_async_ref = _of(compile_async)  # type: ignore[arg-type]
