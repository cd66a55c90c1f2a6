"""Compiling the program of this process: an optimizer run over a copy of it, and what came out as data.

This process is there for nothing else: the program is a snapshot of the one that goes on serving. The job is pickled: the caller's
sys.path, and the pickle of a map:

    {"optimizer": class name | "pkg:Name" | "file.py:Name" | instance | {"class": class, "arguments": {...}},
     "options": {...}, "metric": function | "file.py:fn" | None, "inputs": [name, ...] | None,
     "trainset": [Example | map, ...], "valset": [...] | None, "settings": what `compiling.settings.of_caller` returned}

Owns the order of things. Never changes the program itself, never writes a parameter: who asked commits what is returned.
"""

from __future__ import annotations

import pickle
import sys
import time
import traceback
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import dspy

from dspex_runtime.errors import CompileError
from dspex_runtime.host.causes import error_text
from dspex_runtime.modules.compiling import data as compiling_data
from dspex_runtime.modules.compiling import optimizers as compiling_optimizers
from dspex_runtime.modules.compiling import result as compiling_result
from dspex_runtime.modules.compiling import settings as compiling_settings
from dspex_runtime.modules.compiling.progress import Progress, Tell

__all__ = ["Compiled", "compile_program"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What an optimizer came to.

    Attributes:
        states: Of the predictors that have another one now, by name.
        rest: What `rest.put_back` takes: flags, and configs that are others now.
        facts: optimizer, options, score, seconds, lm_calls, evaluations, trainset, valset, errors.
    """

    states: dict[str, dict[str, Any]]
    rest: dict[str, Any]
    facts: dict[str, Any]


def compile_program(root: dspy.Module, listed: Container[str], data: bytes, tell: Tell, *, id: str) -> Compiled:
    """Run an optimizer over a copy of the program.

    Args:
        root: The program. It is not changed.
        listed: Names of the predictors that are parameters.
        data: The job.
        tell: Told how it goes, from any thread.
        id: Whose program it is; for texts.

    Raises:
        CompileError: Something about the job is wrong, the optimizer failed, or what it made is no state of this program.
    """
    job = _attempt(f"what {id!r} is to be compiled with cannot be read", lambda: _read(data))
    metric = _attempt("the metric cannot be had", lambda: compiling_optimizers.metric_of(job["metric"]))
    trainset, valset = compiling_data.datasets(root, job["trainset"], job["valset"], job["inputs"])
    with compiling_settings.applied(job["settings"]), Progress(tell) as progress:
        run = compiling_optimizers.prepared(job["optimizer"], dict(job["options"]), metric, trainset=trainset, valset=valset)
        tell({"type": "started", "optimizer": run.label})
        began = time.monotonic()
        result = _attempt(f"{run.label} failed on {id!r}", lambda: run.compile(_student(root)), progress.last_error)
        seconds = time.monotonic() - began
        compiling_result.check(root, result, run.label, id)
        score = compiling_result.score_of(root, result, progress.best())
        if score is None and metric is not None and valset is not None:
            score = _attempt("its result could not be evaluated", lambda: _evaluated(result, metric, valset), progress.last_error)
    facts = {
        "optimizer": run.label,
        "options": run.shown,
        "score": score,
        "seconds": seconds,
        "lm_calls": progress.lm_calls,
        "evaluations": progress.evaluations,
        "trainset": len(trainset),
        "valset": None if valset is None else len(valset),
        "errors": progress.errors,
    }
    return Compiled(*compiling_result.difference(root, result, listed), facts)


def _read(data: bytes) -> dict[str, Any]:
    path, job = pickle.loads(data)
    sys.path.extend(entry for entry in path if entry not in sys.path)  # behind the module's own: its names go first
    read: dict[str, Any] = pickle.loads(job)
    return read


def _student(root: dspy.Module) -> dspy.Module:
    student = root.deepcopy()
    student._compiled = False  # it is what is compiled: some optimizers refuse what was before
    return student


def _evaluated(program: Any, metric: Any, valset: list[Any]) -> float:
    return float(dspy.Evaluate(devset=valset, metric=metric, display_progress=False)(program).score)


def _attempt(what: str, function: Callable[[], Any], logged: Callable[[], str] = lambda: "") -> Any:
    """Return what a function returns; whatever it raises, exit() included, is a CompileError with its traceback."""
    try:
        return function()
    except CompileError:
        raise
    except BaseException as exc:
        # dspy says that too many examples failed, and logs why.
        why = "\n\n".join(filter(None, ("".join(traceback.format_exception(exc)).rstrip(), logged())))
        raise CompileError(f"{what}: {error_text(exc)}", remote_traceback=why) from None
