"""Which signals of the operating system a module process handles, and how. Never decides what a stop does: that is `control`."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
from collections.abc import Callable
from typing import Final

# signal.signal without its conversion to and from enums, which in a fresh process faults in 20 pages a call.
_set_handler: Final = _signal.signal


def ignore_interrupts() -> None:
    """Leave ^C and hang-ups to the runtime. A handler, not SIG_IGN: that would be inherited by every program the module starts."""
    _set_handler(signal.SIGINT, _nothing)
    # When the zygote dies, our process group is orphaned: if we are stopped (SIGSTOP) at that moment the kernel sends SIGHUP
    # and SIGCONT (POSIX, _exit). A module has to outlive its zygote also then.
    _set_handler(signal.SIGHUP, _nothing)


def stop_on_sigterm(handler: Callable[[int, object], None]) -> None:
    """SIGTERM stops in order; without this it ends the process at once."""
    _set_handler(signal.SIGTERM, handler)


def _nothing(signum: int, frame: object) -> None:
    """Let it pass."""
