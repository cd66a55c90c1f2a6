"""What a boot looks like: a line for each child that is ready, and on a terminal which ones are still starting."""

from __future__ import annotations

import sys
import threading
from time import monotonic
from types import TracebackType
from typing import Any

from dspex_cli import wording
from dspex_cli.output import Output, on_terminal, one_line, paint

SETTLED = frozenset({"READY", "EXITED", "STOPPED"})


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
        self.seconds = 0.0

    def __enter__(self) -> Progress:
        self._status()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self.seconds = monotonic() - self._began
            self._ended = True
            self._erase()
            if isinstance(error, KeyboardInterrupt) and not self._quiet:
                print("interrupted; what was started has been stopped", file=sys.stderr)

    def event(self, event: dict[str, Any]) -> None:
        """Show one event of the boot."""
        id, state = event.get("id"), str(event.get("state") or "")
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
                mark = (
                    paint("✓", "green") if state == "READY" else paint("·", "dim") if state in SETTLED else paint("✗", "bold red")
                )
                self._output.line(f"{mark} {one_line(id)}  {state.lower()}{took}")
            self._status()

    def _status(self) -> None:
        if self._live:
            waiting = ", ".join(list(self._since)[:5]) or "the runtime"
            print(f"\r\x1b[2Kstarting {waiting} …", end="", flush=True)

    def _erase(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", flush=True)
