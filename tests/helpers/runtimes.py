"""Real runtimes that outlive a test or follow one another, and what kills them and their modules."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

import dspex_runtime as dx
from helpers.leaks import Footprint
from helpers.waiting import wait_until

Standing: TypeAlias = Callable[..., dx.Runtime]


@contextmanager
def standing_runtime(folder: Path, name: str, **config: Any) -> Iterator[dx.Runtime]:
    """A runtime for many tests, with a rendezvous folder of its own; what it leaves behind is looked for at its end."""
    before = Footprint.take()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSPEX_RUNTIME_DIR", str(folder / "run"))
        patch.delenv("DSPEX_SOCKET", raising=False)
        with dx.Runtime({"version": 1, "name": name, **config}, state_dir=str(folder / "state")) as rt:
            yield rt
    leaks = before.leaks_since(timeout_s=20.0)
    assert not leaks, "left behind:\n  " + "\n  ".join(leaks)


@contextmanager
def following() -> Iterator[Callable[..., dx.Runtime]]:
    """Start runtimes one after the other, as `dx.Runtime` does; those that the test has not killed are closed at the end."""
    started: list[dx.Runtime] = []

    def start(config: dict[str, Any], **options: Any) -> dx.Runtime:
        started.append(dx.Runtime(config, **options))
        return started[-1]

    try:
        yield start
    finally:
        for rt in started:
            with suppress(dx.RuntimeUnreachableError):
                rt.close()


def kill_module(rt: dx.Runtime, id: str) -> None:
    """Kill a module with nothing to say about it; returns when the next incarnation serves."""
    before = rt.info(id)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: rt.info(id).incarnation > before.incarnation and rt.info(id).state == "READY", what="the next incarnation")


def kill_known(rt: dx.Runtime, id: str) -> None:
    """Kill a module; returns when the runtime knows of its end: what is waited for from then on is not the one that was killed."""
    down = rt.monitor(id)
    rt.kill(id)
    assert down.wait(20) is not None


def kill_runtime(rt: dx.Runtime) -> None:
    """Kill a runtime; returns when nothing of it is alive."""
    assert rt.pid is not None
    processes = [psutil.Process(rt.pid), *psutil.Process(rt.pid).children(recursive=True)]
    os.kill(rt.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive
