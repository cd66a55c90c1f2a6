"""Signals as the runtime and the zygote want them: as bytes on a descriptor, and undone in a forked child.

Never decides what a signal means; main thread only, as Python demands.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["Wakeup", "ignore", "non_default", "now", "reset_in_child", "unblock_all"]

# Plain numbers: _signal.signal takes no enums.
_DEFAULT: Final = int(signal.SIG_DFL)
_IGNORE: Final = int(signal.SIG_IGN)
# What a fresh Python interpreter has; everything else is SIG_DFL there.
_PYTHON_DEFAULTS: Final[dict[signal.Signals, Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: _IGNORE,
    signal.SIGXFSZ: _IGNORE,
}

# signal.signal without its conversion to and from enums, which in a fresh child faults in 25 us of pages a call.
_set: Final = _signal.signal


class Wakeup:
    """A descriptor that becomes readable when one of some signals arrives; survives any number of coalesced arrivals."""

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)  # full means readable, which is all we need
        for signo in signals:
            # A handler must exist: with SIG_DFL CPython's C handler, which writes to the descriptor, is not installed.
            signal.signal(signo, _nothing)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._read_fd

    def drain(self) -> set[int]:
        """Return the numbers of the signals that arrived since; empty when there was none."""
        try:
            return set(os.read(self._read_fd, 65536))
        except BlockingIOError:
            return set()

    def close(self) -> None:
        """Stop writing and close both ends. Idempotent; handlers stay as they are."""
        if self._read_fd < 0:
            return
        signal.set_wakeup_fd(-1)
        os.close(self._read_fd)
        os.close(self._write_fd)
        self._read_fd = self._write_fd = -1


def ignore(signals: Iterable[signal.Signals]) -> None:
    """Ignore these signals, in this process and in what it execs."""
    for signo in signals:
        signal.signal(signo, signal.SIG_IGN)


def unblock_all() -> None:
    """Empty the signal mask, which forks and execs inherit."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def non_default() -> dict[signal.Signals, Any]:
    """Return what a fresh interpreter has for each signal that has something else now: what `reset_in_child` has to undo."""
    return {
        signo: fresh
        for signo in signal.Signals
        if signo not in (signal.SIGKILL, signal.SIGSTOP)
        and signal.getsignal(signo) != (fresh := _PYTHON_DEFAULTS.get(signo, _DEFAULT))
    }


def now(signals: Iterable[signal.Signals]) -> dict[signal.Signals, Any]:
    """Return the dispositions of some signals, for children that are to have them whatever this process makes of them later."""
    return {signo: _plain(signal.getsignal(signo)) for signo in signals}


def reset_in_child(dispositions: Mapping[signal.Signals, Any]) -> None:
    """Give a forked child these dispositions, and no wakeup descriptor.

    Args:
        dispositions: From `non_default` or `now`, taken before the fork: asking all 64 here would cost more than the rest of the
            child.
    """
    signal.set_wakeup_fd(-1)
    for signo, disposition in dispositions.items():
        _set(signo, disposition)


def _plain(disposition: Any) -> Any:
    if disposition is None:  # of C code, which cannot be put back
        return _DEFAULT
    return int(disposition) if isinstance(disposition, signal.Handlers) else disposition


def _nothing(_signo: int, _frame: object) -> None:
    pass
