"""What a reload looks like: its plan, each step as it is done, and what is left at Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import wording
from dspex_cli.output import Output, one_line, paint

if TYPE_CHECKING:
    import dspex_runtime as dx

STYLES: Final = {"remove": "red", "restart": "yellow", "swap": "cyan", "add": "green", "down/up": "bold red"}
DONE: Final = {"remove": "removed", "live": "changed", "swap": "swapped", "restart": "restarted", "add": "added"}
_MARKS: Final = {"done": ("✓", "green"), "failed": ("✗", "bold red")}


def as_data(result: dx.ReloadResult) -> dict[str, Any]:
    """Return it for programs."""
    return {**asdict(result), "changes": len(result.steps)}


def show_plan(output: Output, steps: Sequence[dict[str, Any]], left: Sequence[str]) -> None:
    """Print what is to be done, a line for each field."""
    from dspex_runtime.config.steps import Step

    rows = [line for step in steps for line in Step.from_map(step).lines()]
    if rows:
        texts = [[one_line(cell) for cell in row] for row in rows]
        widths = [max(len(row[place]) for row in texts) for place in (0, 1)]
        for action, id, change in texts:
            painted = paint(action.ljust(widths[0]), STYLES.get(action, ""))
            output.line(f"{painted}  {id.ljust(widths[1])}  {change}".rstrip())
    if left:
        output.say(f"not in the file and left alone, as they were added at run time: {', '.join(map(one_line, left))}")


class Shown:
    """Prints the plan and the steps as they come, on the client's reader thread."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._quiet = output.structured or output.settings.quiet
        self._steps: list[dict[str, Any]] = []
        self._ended = 0
        self._lock = threading.Lock()

    def event(self, event: dict[str, Any]) -> None:
        """Print one."""
        if event.get("type") != "reload":
            return
        with self._lock:
            plan = event.get("plan")
            if plan is not None:
                self._steps = plan["steps"]
                if not self._quiet:
                    show_plan(self._output, plan["steps"], plan["left"])
            elif event.get("state") in _MARKS:
                self._ended = event["number"]
                if not self._quiet:
                    self._output.line(told(event))

    def left(self) -> str:
        """Return what is not done when nobody waits any more. Takes no lock, see `interruptible`."""
        rest = [step["id"] for step in self._steps[self._ended :]]
        if not rest:
            return "nothing was changed" if not self._steps else "all of it was done"
        one, others = rest[0], rest[1:]
        text = f"{self._ended} of {len(self._steps)} steps done; {one_line(one)} may be done in a moment"
        return text + (f", not done: {', '.join(map(one_line, others))}" if others else "")


def told(event: dict[str, Any]) -> str:
    """Return the end of a step as a line."""
    mark, style = _MARKS[event["state"]]
    word = DONE.get(event["action"], event["action"]) if event["state"] == "done" else f"{event['action']} failed"
    why = f"  {one_line(str(event['message']).partition(chr(10))[0])}" if event.get("message") else ""
    return f"{paint(mark, style)} {one_line(event['id'])}  {word}  {wording.duration(event.get('seconds'))}{why}"


def summary(result: dx.ReloadResult) -> str:
    """Return "2 changed, 1 swapped" for what was done."""
    counts: dict[str, int] = {}
    for step in result.steps:
        if step.state == "done":
            counts[step.action] = counts.get(step.action, 0) + 1
    return ", ".join(f"{number} {DONE.get(action, action)}" for action, number in counts.items())
