"""Starts the runtime process and sees to its end. It gets a session of its own: a terminal's Ctrl-C is for its owner only.

Owns the process from fork to wait status. A start that fails or is interrupted leaves no process and no socket behind.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import sysconfig
import weakref
from pathlib import Path
from time import monotonic
from typing import Any, Final

from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Pause, Steps
from dspex_runtime.client.target import caller_path
from dspex_runtime.errors import RuntimeUnreachableError, StartError
from dspex_runtime.exit_reason import ExitReason, describe, from_wait_status
from dspex_runtime.osproc.channel import pair
from dspex_runtime.osproc.rendezvous import sweep
from dspex_runtime.version import VERSION

STOP_LIMIT_S: Final = 30.0  # for a runtime whose start failed; then it is killed, and its lifeline ends what it had started
EXIT_LIMIT_S: Final = 10.0  # at this interpreter's exit
OUTPUT_BYTES: Final = 16_000  # of a runtime's last words, shown when it ends before it is up

_owned: weakref.WeakKeyDictionary[Session, RuntimeProcess] = weakref.WeakKeyDictionary()
_forgotten: list[RuntimeProcess] = []  # their owners were collected without a close: they are stopping


def booting(
    config: dict[str, Any], *, detach: bool, fresh: bool = False, on_progress: OnProgress | None = None
) -> Steps[tuple[Session, RuntimeProcess]]:
    """Start a runtime and wait until its tree is ready.

    Raises:
        StartError: A child did not become ready, with its own traceback; or the runtime process ended.
        ConfigError: The configuration is wrong, or the name is taken.
    """
    ours, theirs = pair()
    output = os.memfd_create("dspex-boot-output")
    try:
        process = RuntimeProcess(_popen(theirs.fileno(), output), str(config.get("name") or ""))
    except BaseException:
        ours.close()
        os.close(output)
        raise
    finally:
        theirs.close()
    session = Session(ControlConnection(ours, role="owner", version=VERSION, on_progress=on_progress))
    try:
        asked = {"config": config, "detach": detach, "fresh": fresh, "sys_path": caller_path()}
        boot = session.connection.request("boot", asked)
        facts = yield Await(boot)
    except BaseException as exc:
        try:
            session.close()
            yield from process.collected()
        except BaseException:
            process.kill()  # a second Ctrl-C: at once, and nothing may be left
            raise
        if isinstance(exc, RuntimeUnreachableError):
            raise _ended_early(process, output) from None
        raise
    finally:
        os.close(output)
    session.publish(facts["socket"])
    if detach:
        process.abandon()
    else:
        _owned[session] = process
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)  # not at import: a module process forgets what its zygote registered
        # Not at exit: `_at_exit` closes and waits, in that order. Collecting the session hangs up by itself.
        weakref.finalize(session, process.forget).atexit = False
    return session, process


class RuntimeProcess:
    """A runtime started by this process."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str = "") -> None:
        self._popen = popen
        self._name = name
        self.pid = popen.pid
        self._parent = os.getpid()

    def ended(self, limit_s: float | None = None) -> Steps[bool]:
        """Wait until the process is gone and reaped; False when it is not after `limit_s`."""
        deadline = None if limit_s is None else monotonic() + limit_s
        pause_s = 0.0005
        while self._popen.poll() is None:
            if deadline is not None and monotonic() > deadline:
                return False
            yield Pause(pause_s)
            pause_s = min(pause_s * 1.5, 0.02)
        self._sweep()
        return True

    def collected(self) -> Steps[None]:
        """See to the end of a runtime that has lost its owner: it stops by itself, or is killed."""
        if not (yield from self.ended(STOP_LIMIT_S)):
            self.kill()

    def kill(self) -> None:
        """End it now; its lifeline ends every process it started."""
        self._popen.kill()
        self._popen.wait()
        self._sweep()

    def _sweep(self) -> None:
        """Clear away the socket of a runtime that was killed; one that ends by itself does so itself."""
        if self._name and self._popen.returncode < 0:
            sweep(self._name)

    @property
    def reason(self) -> ExitReason | None:
        """Why it ended, or None while it runs."""
        code = self._popen.returncode
        if code is None:
            return None
        return from_wait_status(-code if code < 0 else code << 8)

    def abandon(self) -> None:
        """It outlives us (detached): do not wait, do not complain that nobody waited."""
        self._popen.returncode = 0

    def forget(self) -> None:
        """The owner was collected without a close: the runtime is stopping, its wait status is fetched at exit."""
        if self._popen.returncode is None and self._parent == os.getpid():
            _forgotten.append(self)

    def collect(self, limit_s: float) -> None:
        """Wait for its end, blocking; kill it when the time is over."""
        try:
            self._popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()


def _popen(boot_fd: int, output: int) -> subprocess.Popen[bytes]:
    # -P: a types.py in the current directory must not shadow the standard library of the runtime.
    command = [sys.executable, "-P", "-m", "dspex_runtime.node", "--boot", str(boot_fd)]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(boot_fd,),
        start_new_session=True,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """The caller's environment, in which this package can be imported as it was here."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    return environment


def _ended_early(process: RuntimeProcess, output: int) -> StartError:
    size = os.fstat(output).st_size
    text = os.pread(output, OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).decode(errors="replace").strip()
    reason = process.reason or "noproc"
    message = f"the runtime process ended before it was up: {describe(reason)}"
    return StartError(message, reason=reason, remote_traceback=text or None)


def _at_exit() -> None:
    owned = list(_owned.items())
    for session, _ in owned:
        session.close()  # all of them first: they stop at the same time
    for process in [*_forgotten, *(process for _, process in owned)]:
        process.collect(EXIT_LIMIT_S)


def _forked() -> None:
    for process in [*_forgotten, *_owned.values()]:
        process.abandon()  # not this process's child
    _forgotten.clear()
    _owned.clear()


os.register_at_fork(after_in_child=_forked)
