"""A real process that does what a scenario's child does, and notes its starts and stops in a journal."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import dspex_runtime as dx

REASONS: dict[str, Any] = {"normal": "normal", "shutdown": "shutdown", "shutdown:x": ("shutdown", "x")}


class Scripted(dx.GenServer):
    """Starts as its script says for this start of its path; ends by itself for the reason it is sent."""

    def init(self, journal: str, path: str, starts: dict[str, str], stop: str) -> Any:
        self.journal = journal
        self.name = f"{path}#{Path(journal).read_text().count(f'start {path}#') + 1}"
        self.stubborn = stop == "stubborn"
        self.is_leaving = False
        self._note(f"start {self.name}")
        outcome = starts.get(self.name.rpartition("#")[2], "ok")
        if outcome == "ignore":
            return dx.Ignore()
        if outcome.startswith("fail"):
            raise RuntimeError(outcome)
        return None

    def handle_cast(self, reason: str, state: None) -> Any:
        self.is_leaving = True
        if reason == "boom":
            raise RuntimeError(reason)
        return dx.Stop(REASONS[reason], state)

    def terminate(self, reason: Any, state: None) -> None:
        if self.is_leaving:
            return
        self._note(f"stop {self.name} {reason}")
        if self.stubborn:
            threading.Event().wait()

    def _note(self, line: str) -> None:
        descriptor = os.open(self.journal, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)
