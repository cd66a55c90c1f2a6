"""Imports made once, in the zygote, so that every fork has them; and the proof that forking afterwards is safe.

A fork copies one thread. A preload that left another thread, a child process or an initialised CUDA behind would give every
module a copy that hangs or lies later, far from the cause: it is refused here, by name. Never forks, never sends.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from dspex_runtime.osproc.descendants import children_of

__all__ = ["PreloadError", "check_alone", "own_modules", "preload", "rehearse", "resolve", "set_environment"]

THREAD_GRACE_S: Final = 0.3  # an import may run a thread that ends by itself
REHEARSALS: Final = 10  # bytecode is specialised at its eighth run
_POLL_S: Final = 0.005
#: `dx.connect`; `dx.whereis`, `dx.lookup`; `dx.module`, and with it what sub-modules in processes of their own need
_ASKING: Final = ("dspex_runtime.client.runtime", "dspex_runtime.client.own_names", "dspex_runtime.client.own_refs")


class PreloadError(Exception):
    """The zygote cannot serve with this preload list; the message names the culprit."""

    def __init__(self, message: str, traceback_text: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.traceback_text = traceback_text


def set_environment() -> None:
    """Set what must be set before numpy or litellm is imported."""
    # litellm otherwise downloads a price list in a thread when imported, and dspy's own client at its first call.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # One BLAS pool per module would be modules x cores threads; also, a pool started by an import cannot be forked.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def preload(names: Iterable[str], *, known_children: Collection[int] = ()) -> list[str]:
    """Import each name, check after each, then freeze the heap so that no collection in a child touches shared pages.

    Args:
        names: Importable module names, in order.
        known_children: Child processes that are ours.

    Returns:
        The names imported, each once, in order.

    Raises:
        PreloadError: A name does not import, or left a thread, a child process or CUDA behind.
    """
    done: list[str] = []
    for name in dict.fromkeys(names):
        try:
            importlib.import_module(name)
        except BaseException as exc:  # SystemExit at import too: the culprit must be named, not the zygote end silently
            raise PreloadError(f"preload of {name!r} failed: {type(exc).__name__}: {exc}", traceback.format_exc()) from exc
        advice = f". Take {name!r} out of runtime.preload; modules that need it import it themselves"
        check_alone(f"preload of {name!r}", advice, known_children)
        done.append(name)
    gc.collect()
    gc.freeze()
    return done


def rehearse(name: str, *, known_children: Collection[int] = ()) -> None:
    """Run "package.module:function" as often as makes it fast, and freeze what that left for all forks.

    Raises:
        PreloadError: It failed, or left a thread or a child process behind.
    """
    try:
        function = resolve(name)
        for _ in range(REHEARSALS):
            function()
    except PreloadError:
        raise
    except Exception as exc:
        raise PreloadError(f"the rehearsal of a start failed: {type(exc).__name__}: {exc}", traceback.format_exc()) from exc
    check_alone("the rehearsal of a start", "", known_children)
    gc.collect()
    gc.freeze()


def own_modules(entry: str) -> list[str]:
    """Return what a child of `entry` would import first thing: the entry's module and, if it is ours, all of its package.

    With dspy preloaded, also our package that builds on it, and what a program reaches others through: imported after the fork
    it is 25 ms of the first question after each restart. A process of a server seldom asks, and its zygote is up in 150 ms.

    Args:
        entry: "package.module:function".
    """
    module = entry.partition(":")[0]
    package = module.rpartition(".")[0]
    packages = [package] if package.startswith("dspex_runtime.") else []
    for_programs = bool(packages) and "dspy" in sys.modules
    if for_programs:
        packages.append("dspex_runtime.modules")
    names = [module]
    for package in packages:
        path = importlib.import_module(package).__path__
        found = pkgutil.walk_packages(path, f"{package}.")
        names += [info.name for info in found if not info.name.rpartition(".")[2].startswith("__")]
    names += _ASKING if for_programs else ()
    return list(dict.fromkeys(names))


def resolve(entry: str) -> Callable[..., Any]:
    """Return the function that "package.module:function" names."""
    module, _, name = entry.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as exc:
        raise PreloadError(f"entry {entry!r} not found: {exc}", traceback.format_exc()) from exc
    return function


def check_alone(what: str, advice: str, known_children: Collection[int] = ()) -> None:
    """See that this process may be forked, by what `what` has left in it.

    Raises:
        PreloadError: A thread, a child process or CUDA; with `advice`.
    """
    if threads := _other_threads():
        listed = ", ".join(threads)
        left = f"{what} left {len(threads)} thread(s) running: {listed}"
        raise PreloadError(f"{left}; a fork would lose them and may copy a lock they hold{advice}")
    if children := [pid for pid in children_of(os.getpid()) if pid not in known_children]:
        listed = ", ".join(f"{pid} ({_command(pid)})" for pid in children)
        raise PreloadError(f"{what} left child process(es): {listed}{advice}")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise PreloadError(f"{what} initialised CUDA, which no fork survives{advice}")


def _other_threads() -> list[str]:
    """Return descriptions of threads besides the calling one that do not end by themselves within the grace."""
    deadline = time.monotonic() + THREAD_GRACE_S
    while len(tasks := os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if len(tasks) == 1:
        return []
    own = threading.get_native_id()
    python = {thread.native_id: thread for thread in threading.enumerate()}
    described = []
    for task in sorted(map(int, tasks)):
        if task == own:
            continue
        thread = python.get(task)
        if thread is not None:
            described.append(f"{thread.name!r} ({type(thread).__module__}.{type(thread).__qualname__})")
        elif (comm := _read(f"/proc/self/task/{task}/comm")) is not None:
            described.append(f"native thread {comm.strip()!r}")
    return described


def _command(pid: int) -> str:
    deadline = time.monotonic() + THREAD_GRACE_S
    # Empty for a moment within an exec, and for ever in a zombie.
    while not (text := _read(f"/proc/{pid}/cmdline")) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if not text:
        return "ended, not waited for"
    return "a fork" if text == _read("/proc/self/cmdline") else text.replace("\0", " ").strip()


def _read(path: str) -> str | None:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return None
