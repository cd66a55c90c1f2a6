"""dspex compile: an optimizer run over a module that goes on serving; how it goes, and what it came to."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import click

from dspex_cli import completing, link, wording
from dspex_cli.group import command
from dspex_cli.options import DURATION, Settings, assignments
from dspex_cli.output import Output, interruptible, one_line

if TYPE_CHECKING:
    import dspex_runtime as dx

FACTS: Final = (
    *("id", "version", "before", "score", "changes", "seconds", "optimizer", "options"),
    *("lm_calls", "evaluations", "errors", "who"),
)
GONE: Final = ("STOPPED", "EXITED", "FAILED")  # it comes back when it is asked to, and not else
FILE: Final = click.Path(exists=True, dir_okay=False)


@command("compile")
@click.argument("id", shell_complete=completing.ids)
@click.argument("words", metavar="[OPTION=VALUE]...", nargs=-1)
@click.option("--optimizer", required=True, metavar="NAME", help="A class of dspy, or pkg.mod:Name, or file.py:Name.")
@click.option("--trainset", required=True, type=FILE, metavar="FILE.jsonl", help="Examples, one JSON object a line.")
@click.option("--valset", type=FILE, metavar="FILE.jsonl", help="More of them: the result is judged by these.")
@click.option("--metric", metavar="FILE.py:FN", help="A function of (example, prediction, trace).")
@click.option("--inputs", metavar="A,B", help="Which fields are inputs; else the arguments of the module's forward.")
@click.option("--timeout", type=DURATION, metavar="DURATION", help="End it after this; exit 8.")
@click.pass_obj
def command_object(
    settings: Settings,
    id: str,
    words: tuple[str, ...],
    optimizer: str,
    trainset: str,
    valset: str | None,
    metric: str | None,
    inputs: str | None,
    timeout: float | None,
) -> None:
    """Optimise a module in a process of its own, while it serves on.

    OPTION=VALUE are the optimizer's. The result is committed when it is there; what the module was before is a checkpoint: `dspex
    checkpoint restore` puts it back. Ctrl-C ends the compile. With -o json each line is an event, the last one the result.
    """
    output = Output(settings)
    options = assignments(words)
    names = None if inputs is None else [name.strip() for name in inputs.split(",") if name.strip()]
    shown = Shown(output, id)
    with link.runtime(settings) as runtime, interruptible(shown.left, quiet=settings.quiet):
        result = runtime.compile(
            id,
            optimizer,
            trainset=trainset,
            metric=metric,
            valset=valset,
            inputs=names,
            timeout=timeout,
            on_progress=shown.event,
            **options,
        )
    facts = {name: getattr(result, name) for name in FACTS}
    output.item({"type": "compiled", **facts}, lambda: _show(output, result))


class Shown:
    """Prints events of a compile as they come, on the client's reader thread."""

    def __init__(self, output: Output, id: str) -> None:
        self._output = output
        self._id = id
        self._last: dict[str, Any] = {}
        self._began = monotonic()
        self._lock = threading.Lock()

    def event(self, event: dict[str, Any]) -> None:
        """Print one."""
        with self._lock:
            self._last = event
            if self._output.structured:
                self._output.item(event, lambda: None)
            elif not self._output.settings.quiet:
                self._output.line(f"{wording.duration(monotonic() - self._began):>8}  {told(event, self._id)}")

    def left(self) -> str:
        """Return what becomes of the module when nobody waits any more. Takes no lock, see `interruptible`."""
        match self._last:
            case {"type": "committing"}:
                return f"{self._id} takes the result all the same: `dspex checkpoint list {self._id}` shows it"
            case {"type": "waiting", "state": str(state)}:
                return f"{self._id} is {state}, and has nothing of the result"
            case _:
                return f"{self._id} serves on as it was"


def told(event: dict[str, Any], id: str) -> str:
    """Return an event as a line for people."""
    match event:
        case {"type": "started", "optimizer": str(name)}:
            return f"{name} began"
        case {"type": "evaluating", "number": int(number), "examples": int(examples)}:
            return f"evaluation {number}  {examples} examples"
        case {"type": "evaluated", "number": int(number), "score": score}:
            return f"evaluation {number}  {'failed' if score is None else f'score {score:g}'}"
        case {"type": "calls", "lm_calls": int(calls)}:
            return f"{calls} LM calls"
        case {"type": "error", "message": str(message)}:
            return f"failed: {one_line(message.partition(chr(10))[0])}"
        case {"type": "waiting", "state": str(state)}:
            how = f": `dspex start {id}` brings it back" if state in GONE else ""
            return f"done; the module is {state}, the result waits for it{how}"
        case {"type": "committing"}:
            return "done; the module takes the result"
        case _:  # of a later version
            return one_line(event.get("type"))


def _show(output: Output, result: dx.CompileResult) -> None:
    score = "no score" if result.score is None else f"score {result.score:g}"
    calls = f"{result.lm_calls} LM calls" + (f", {result.errors} failed examples" if result.errors else "")
    output.line(f"{result.id}: {result.optimizer}, {score}  ({wording.duration(result.seconds)}, {calls})")
    if result.changes:
        output.table(("PARAMETER", "VERSION"), [[name, version] for name, version in result.changes.items()], styled=None)
    else:
        output.say("the optimizer changed no parameter")
    output.say(f"saved as checkpoint {result.version}; `dspex checkpoint restore {result.id} {result.before}` goes back")
