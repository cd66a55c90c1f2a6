"""The second half: how long a start takes, and how long after a kill -9 the next call is answered.

Medians of a few rounds seen from the client, for a reader's feeling; bench/ measures properly, beside the alternatives.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import wording
from dspex_cli.demo.asking import LIMIT_S
from dspex_cli.demo.narrator import Narrator, StepFailed

if TYPE_CHECKING:
    import dspex_runtime as dx

STARTS: Final = 20
KILLS: Final = 10
SUPERVISOR: Final = "bench"


def measure(runtime: dx.Runtime, config: Path, tell: Narrator) -> dict[str, Any]:
    """Start and kill processes below a supervisor of their own, which is removed again."""
    folder = config.parent / config.stem
    specs: dict[str, dict[str, Any]] = {
        "GenServer": {"server": f"{folder / 'counter.py'}:Counter"},
        "module with a predictor": {"module": f"{folder / 'answering.py'}:Answerer"},
    }
    # Kills on purpose, ten in a row: OTP's budget of three in five seconds is meant for accidents.
    runtime.start_supervisor(SUPERVISOR, max_restarts=1000, max_seconds=60)
    figures: dict[str, Any] = {}
    try:
        for kind, spec in specs.items():
            started = [_start(runtime, f"{kind.split()[0].lower()}-{number}", spec) for number in range(STARTS)]
            tell.fact(wording.duration(median(started)), f"start of a {kind}, from asking to ready (median of {STARTS})")
            figures[f"{kind}: start_p50_s"] = median(started)
        calls: dict[str, Callable[[], Any]] = {
            "GenServer": lambda: runtime.server(f"{SUPERVISOR}/genserver-0").call("count"),
            "module with a predictor": _asking(runtime, f"{SUPERVISOR}/module-0"),
        }
        for kind, call in calls.items():
            id = f"{SUPERVISOR}/{kind.split()[0].lower()}-0"
            recovered = [_recover(runtime, id, call) for _ in range(KILLS)]
            tell.fact(wording.duration(median(recovered)), f"kill -9 of a {kind} to the next answer (median of {KILLS})")
            figures[f"{kind}: recovery_p50_s"] = median(recovered)
        restarts = runtime.info(f"{SUPERVISOR}/genserver-0").restarts
        tell.check(restarts == KILLS, f"{restarts} kills, {restarts} restarts, no call failed")
    finally:
        runtime.delete(SUPERVISOR)
    return figures


def _start(runtime: dx.Runtime, id: str, spec: dict[str, Any]) -> float:
    began = perf_counter()
    runtime.start_child(SUPERVISOR, {"id": id, "backoff": "none", **spec})
    return perf_counter() - began


def _asking(runtime: dx.Runtime, id: str) -> Callable[[], Any]:
    """Return a call whose answer passes through retriever and LM."""
    qa = runtime.module(id)
    return lambda: qa(question="walk a directory tree")


def _recover(runtime: dx.Runtime, id: str, call: Callable[[], Any]) -> float:
    """Kill and call at once; the call finds no process, waits for the next one and is answered by it."""
    from dspex_runtime.errors import ProcessDownError

    before = runtime.info(id)
    if before.pid is None:
        raise StepFailed(f"{id!r} has no process")
    os.kill(before.pid, signal.SIGKILL)
    began = perf_counter()
    deadline = monotonic() + LIMIT_S
    while True:
        try:
            call()
            break
        except ProcessDownError:
            # Sent to the dying process and read by it: such a call may have begun, so the client does not repeat it. We do.
            if monotonic() > deadline:
                raise
    seconds = perf_counter() - began
    if runtime.info(id).incarnation <= before.incarnation:
        raise StepFailed(f"{id!r} answered without having been restarted")
    return seconds
