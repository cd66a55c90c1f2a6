"""Where a runtime is, and a session with it: by name, by socket path, from inside a module, or the only one that runs."""

from __future__ import annotations

import os
import socket
from typing import Final

from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps, run
from dspex_runtime.errors import RuntimeUnreachableError
from dspex_runtime.osproc import rendezvous
from dspex_runtime.version import VERSION

CONNECT_TIMEOUT_S: Final = 5.0
HELLO_TIMEOUT_S: Final = 10.0  # the runtime answers in microseconds, also while a tree boots


def find(name_or_path: str | os.PathLike[str] | None) -> str:
    """Return the socket path of a runtime.

    Without a name: the one this process is a module of, else the only one that runs.

    Raises:
        RuntimeUnreachableError: None runs, or several do; lists them.
    """
    if name_or_path is not None:
        text = os.fspath(name_or_path)
        return os.path.abspath(text) if os.sep in text else rendezvous.socket_path(text)
    inside = os.environ.get("DSPEX_SOCKET")
    if inside:
        return inside
    running = rendezvous.list_running()
    if len(running) == 1:
        return running[0][1]
    if not running:
        raise RuntimeUnreachableError("no runtime is running", hint="start one with `dspex up FILE`, or dx.Runtime(...)")
    names = ", ".join(sorted(name for name, _ in running))
    raise RuntimeUnreachableError(f"several runtimes are running: {names}", hint="say which: dx.connect(name)")


def opening(path: str, *, plain: bool = False) -> Steps[Session]:
    """Connect and say hello; the session is findable by its path from then on."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_TIMEOUT_S)
        sock.connect(path)
    except OSError as exc:
        sock.close()
        raise _nobody(path, exc) from exc
    session = Session(ControlConnection(sock, version=VERSION), plain=plain)
    try:
        yield Await(session.connection.open(), HELLO_TIMEOUT_S)
    except BaseException as exc:
        session.close()
        if type(exc) is TimeoutError:
            raise RuntimeUnreachableError(f"the runtime at {path} does not answer; is it stopped?") from None
        raise
    session.publish(path)
    return session


def open_session(path: str) -> Session:
    """Connect in this thread."""
    return run(opening(path))


def _nobody(path: str, exc: OSError) -> RuntimeUnreachableError:
    running = sorted(name for name, _ in rendezvous.list_running())
    hint = f"running: {', '.join(running)}" if running else "no runtime is running; start one with `dspex up FILE`"
    return RuntimeUnreachableError(f"no runtime answers at {path}: {exc.strerror or exc}", hint=hint)
