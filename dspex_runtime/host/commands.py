"""A command of the user's that says by its exit status whether a module is fit to serve: a readiness check, a verification.

Runs in the module's process: with its folder and environment, and in its process group, so that nothing of it outlives the module.
What is started here becomes another program at once (vfork and exec): nothing of ours, a language model's connection least of
all, is used in two processes.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final

from dspex_runtime.osproc import descendants

__all__ = ["CommandError", "in_background", "run", "shown"]

TAIL_BYTES: Final = 4096  # of its output: the end of it says what was wrong
READS_AT_ONCE: Final = 16  # what a pipe holds, when its writer has ended
_READ: Final = 65536


class CommandError(RuntimeError):
    """A command did not say that all is well; the text ends with the last of its output."""


def run(command: str | Sequence[str], timeout_s: float, *, env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end.

    Args:
        command: Text for /bin/sh, or a program and its arguments.
        timeout_s: After this it is killed, with what it has started.
        env: What it finds in its environment beside the module's own.

    Raises:
        CommandError: It ended otherwise than with status 0, not in time, or could not be started.
    """
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    deadline = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=None if env is None else {**os.environ, **env},
        )
    except (OSError, ValueError) as exc:
        raise CommandError(f"could not be started: {exc}") from None
    assert process.stdout is not None
    with process.stdout as output:
        tail, in_time = _follow(process, output, deadline)
    if not in_time:
        raise CommandError(f"did not end within {timeout_s:g} s{_told(tail)}")
    status = process.returncode
    if status:
        how = f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
        raise CommandError(f"{how}{_told(tail)}")


def in_background(command: str | Sequence[str], timeout_s: float, done: Callable[[Exception | None], None]) -> None:
    """Run it on a thread of its own, which tells `done` what came of it: calls and a stop go their way meanwhile."""

    def work() -> None:
        error: Exception | None = None
        try:
            run(command, timeout_s)
        except Exception as exc:
            error = exc
        done(error)

    threading.Thread(target=work, name="dspex-command", daemon=True).start()


def shown(command: Any) -> str:
    """Return a command as people write it, on one bounded line."""
    text = command if isinstance(command, str) else " ".join(map(str, command))
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."


def _follow(process: subprocess.Popen[bytes], output: IO[bytes], deadline: float) -> tuple[bytes, bool]:
    """Read until the process ends, whoever else may have its output by then; return the end of that, and whether it was in time."""
    tail, fd, ended = b"", output.fileno(), os.pidfd_open(process.pid)
    os.set_blocking(fd, False)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.register(ended, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = [each for each, _ in poller.poll(left * 1000)]
            for _ in range(READS_AT_ONCE if fd in ready else 0):
                data = _read(fd)
                if data == b"":
                    poller.unregister(fd)  # its end of the pipe is closed: only its own end is still to come
                if not data:
                    break
                tail = (tail + data)[-TAIL_BYTES:]
            if ended in ready:
                process.wait()
                return tail, True
        for pid in (process.pid, *descendants.descendants_of(process.pid)):
            descendants.kill(pid)
        process.wait()
        return tail, False
    finally:
        os.close(ended)


def _read(fd: int) -> bytes | None:
    try:
        return os.read(fd, _READ)
    except BlockingIOError:
        return None


def _told(tail: bytes) -> str:
    text = tail.decode(errors="replace").strip()
    return f":\n{text}" if text else ", and said nothing"
