"""What a swap looks like: its phases on a terminal as they come, what becomes of the module at Ctrl-C, and what it came to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import wording
from dspex_cli.output import Output, on_terminal, one_line

if TYPE_CHECKING:
    import dspex_runtime as dx

FACTS: Final = (
    *("id", "version", "old_version", "number", "pid", "incarnation", "seconds"),
    *("rehearsal_s", "drain_s", "pause_s", "migrated", "moved"),
)
PHASES: Final = {
    "rehearsing": "the new version starts beside the old one",
    "verified": "the new version is verified",
    "draining": "calls that run finish, new ones wait",
    "moving": "state, queue and pipes move",
    "done": "the new version serves",
}
NOUNS: Final = {"queued": "queued call", "channels": "open pipe", "timers": "timer"}


class Shown:
    """Prints the phases of a swap as they come, on the client's reader thread. Where nobody looks it only keeps the last one."""

    def __init__(self, output: Output, id: str) -> None:
        self._live = on_terminal() and not (output.structured or output.settings.quiet)
        self._output = output
        self._id = id
        self._phase: Any = None
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def event(self, event: dict[str, Any]) -> None:
        """Print one."""
        with self._lock:
            self._phase = event.get("phase")
            if self._live:
                told = one_line(PHASES.get(str(self._phase), self._phase))
                self._output.line(f"{wording.duration(time.monotonic() - self._began):>8}  {told}")

    def left(self) -> str:
        """Return what becomes of the module when nobody waits any more. Takes no lock, see `interruptible`."""
        if self._phase in ("moving", "done"):
            return f"`dspex versions {self._id}` shows which version serves"
        return f"{self._id} serves on as it was"


def show(output: Output, result: dx.SwapResult) -> None:
    """Print what a swap came to."""
    output.result({name: getattr(result, name) for name in FACTS}, lambda: output.say("\n".join(_lines(result))))


def _lines(result: dx.SwapResult) -> Iterator[str]:
    old, new = (version or "no version" for version in (result.old_version, result.version))
    became = f"{old} -> {new}" if old != new else new
    yield f"{result.id}: {became}, number {result.number}, pid {result.pid}  ({wording.duration(result.seconds)})"
    moved = [wording.count(number, noun) for key, noun in NOUNS.items() if (number := result.moved.get(key, 0))]
    times = [f"drain {wording.duration(result.drain_s)}", f"pause {wording.duration(result.pause_s)}"]
    yield "  " + ", ".join([*times, "migrated" if result.migrated else "state as it was", *moved])


def under_way(swap: dict[str, Any] | None) -> str | None:
    """Return a swap that is under way as one line; None for none."""
    if not swap:
        return None
    to = f", to {one_line(swap['to'])}" if swap.get("to") else ""
    return f"{swap.get('phase')} for {wording.uptime(max(0.0, time.time() - swap['since']))}{to}"
