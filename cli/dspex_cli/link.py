"""The one door to the client library: which runtime is meant, and a connection to it that is always closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import dspex_runtime as dx

from dspex_cli.options import Settings
from dspex_cli.output import visible

SHARED = "$shared"  # as the runtime calls its own parameters


@contextmanager
def runtime(settings: Settings) -> Iterator[dx.Runtime]:
    """Connect to the runtime that is meant; leaving only disconnects.

    Raises:
        RuntimeUnreachableError: None is running there.
        click.UsageError: Several are running and none was named.
    """
    connection = connect(address(settings))
    try:
        yield connection
    finally:
        connection.close()


def connect(where: str) -> dx.Runtime:
    """Connect to a name or socket path. Results are plain data here: no dspy is loaded to print a Prediction."""
    from dspex_runtime.client.runtime import connect

    return connect(where, plain=True)


def address(settings: Settings) -> str:
    """Return the socket path or name that is meant: the option, else the environment, else the only one that runs."""
    if settings.socket or settings.runtime:
        return settings.socket or settings.runtime or ""
    if os.environ.get("DSPEX_SOCKET"):
        return os.environ["DSPEX_SOCKET"]
    running = list_running()
    if len(running) == 1:
        return running[0][1]
    if running:
        names = ", ".join(name for name, _ in running)
        raise click.UsageError(f"several runtimes are running: {names}; say which with --runtime NAME")
    from dspex_runtime.errors import RuntimeUnreachableError
    from dspex_runtime.osproc.rendezvous import runtime_dir

    runtime_dir()  # a folder that cannot be used is the better answer
    raise RuntimeUnreachableError(
        "no runtime is running", hint="`dspex up FILE -d` starts one; --socket PATH reaches one elsewhere"
    )


def list_running() -> list[tuple[str, str]]:
    """Return (name, socket path) of every runtime of this user."""
    from dspex_runtime.osproc.rendezvous import list_running

    return [(name, str(path)) for name, path in list_running()]


def modules(runtime: dx.Runtime, version: str | None = None, metadata: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return what `ps -o json` prints: one map per child with the keys of ModuleInfo, in the order of the tree."""
    found = runtime.select(version=version, **(metadata or {})) if version or metadata else runtime.modules()
    first_seen = {info.id: place for place, info in enumerate(found)}

    def place(id: str) -> list[int]:
        parts = id.split("/")
        return [first_seen.get("/".join(parts[:depth]), -1) for depth in range(1, len(parts) + 1)]

    # A child that was added later is known later; people look for it below its supervisor.
    return [info.as_dict() for info in sorted(found, key=lambda info: place(info.id))]


def params(runtime: dx.Runtime, id: str) -> Any:
    """Return the parameters of a module or server; of the runtime itself for "$shared" and for nothing.

    Raises:
        click.UsageError: It is a supervisor.
    """
    if id in ("", SHARED):
        return runtime.params
    match runtime.info(id).kind:
        case "supervisor":
            raise click.UsageError(f"{id!r} is a supervisor and has no parameters; its children do")
        case "server":
            return runtime.server(id).params
        case _:
            return runtime.ref(id).params


@contextmanager
def notes() -> Iterator[None]:
    """Print on stderr, as notes, what the client library warns of meanwhile."""
    import logging

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(visible(f"note: {record.getMessage()}"), file=sys.stderr, flush=True)

    handler = Notes(logging.WARNING)
    logger = logging.getLogger("dspex_runtime")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def boot(
    file: str,
    *,
    detach: bool,
    name: str | None = None,
    state_dir: str | None = None,
    fresh: bool = False,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> dx.Runtime:
    """Start a runtime with a YAML file; returns when the tree is ready.

    Raises:
        StartError: A child did not become ready; everything that was started is stopped again.
        ConfigError: The file is wrong, the name is taken, or a directory cannot be written.
    """
    from dspex_runtime.client.runtime import Runtime

    return Runtime(file, name=name, state_dir=state_dir, fresh=fresh, detach=detach, on_progress=on_progress)
