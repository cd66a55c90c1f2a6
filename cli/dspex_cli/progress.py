"""What a boot looks like: a line for each child that is ready, and on a terminal which ones are still starting."""

from __future__ import annotations

import os
import signal
import sys
import threading
from time import monotonic
from types import FrameType, TracebackType
from typing import Any

from dspex_cli import wording
from dspex_cli.foreground import Terminated
from dspex_cli.output import Output, on_terminal, one_line, paint

SETTLED = frozenset({"READY", "DEGRADED", "EXITED", "STOPPED"})


class Progress:
    """Shows boot events. They arrive on the client's reader thread, so everything here is behind one lock."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._quiet = output.settings.quiet or output.structured
        self._live = not self._quiet and on_terminal()
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._began = monotonic()
        self._ended = False
        self._interrupts = 0
        self._before: dict[int, Any] = {}  #: handlers of signals, to be put back
        self.seconds = 0.0

    def __enter__(self) -> Progress:
        self._status()
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupted)
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._terminated)
        return self

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """Say at once what Ctrl-C does: a stop may take long. Takes no lock: the thread it interrupts may hold it."""
        self._interrupts += 1
        if not self._quiet:
            os.write(2, "\nkilling …\n".encode() if self._interrupts > 1 else "\nstopping …  (Ctrl-C again kills)\n".encode())
        raise KeyboardInterrupt

    def _terminated(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """Stop in order what was started. Only once: the group may get the signal, too."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signo, handler in self._before.items():
            signal.signal(signo, handler)
        with self._lock:
            self.seconds = monotonic() - self._began
            self._ended = True
            self._erase()
            if isinstance(error, KeyboardInterrupt | Terminated) and not self._quiet:
                print(f"interrupted; what was started has been {'killed' if self._interrupts > 1 else 'stopped'}", file=sys.stderr)

    def event(self, event: dict[str, Any]) -> None:
        """Show one event of the boot."""
        id, state = event.get("id"), str(event.get("state") or "")
        if event.get("type") in ("state_report", "alarm_set"):
            self._warn(str(event.get("message") or event.get("description") or ""))
            return
        if self._quiet or event.get("type") != "state" or not id:
            return
        with self._lock:
            if self._ended:
                return
            if state == "STARTING":
                self._since.setdefault(id, monotonic())
            elif state in SETTLED or state in ("BACKOFF", "FAILED"):
                began = self._since.pop(id, None)
                took = "" if began is None else f"  {wording.duration(monotonic() - began)}"
                self._erase()
                up = state in ("READY", "DEGRADED")
                mark = paint("✓", "green") if up else paint("·", "dim") if state in SETTLED else paint("✗", "bold red")
                self._output.line(f"{mark} {one_line(id)}  {state.lower()}{took}")
            self._status()

    def _warn(self, text: str) -> None:
        """Say what is wrong with the state of earlier runs, also to those who asked for nothing else."""
        with self._lock:
            if not self._ended:
                self._erase()
                print(f"{paint('!', 'yellow')} {one_line(text)}", file=sys.stderr)
                self._status()

    def _status(self) -> None:
        if self._live and not self._interrupts:
            waiting = ", ".join(list(self._since)[:5]) or "the runtime"
            print(f"\r\x1b[2Kstarting {waiting} …", end="", flush=True)

    def _erase(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", flush=True)
