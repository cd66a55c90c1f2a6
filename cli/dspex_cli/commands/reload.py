"""dspex reload: what runs is brought to what the file says now."""

from __future__ import annotations

from dataclasses import asdict

import click

from dspex_cli import failures, link, reloads, trees
from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output, interruptible


@command("reload")
@click.argument("file", type=click.Path(), required=False)
@click.option("--plan", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--why", metavar="TEXT", help="What `dspex versions` says of swaps.")
@click.pass_obj
def command_object(settings: Settings, file: str | None, plan: bool, why: str | None) -> int:
    """Bring what runs to what the file says now, with the least that does it.

    FILE is by default the one that the runtime was started from. The plan is printed first, with each field that differs: live
    (nothing stops: parameters, limits, back-off), swap (another process takes over without losing a call: code, version,
    arguments), restart, add and remove. Then it is done in start order, to the first step that fails: exit 1, and the next reload
    does the rest. A second reload has nothing to do. What is taken out of the file is stopped and its state kept; what was started
    by hand stays, and what was stopped by hand stays stopped. Exit 2 when the file is wrong, or wants what only `dspex down` and
    `dspex up` can do.
    """
    output = Output(settings)
    shown = reloads.Shown(output)
    with link.runtime(settings) as runtime:
        file = file or runtime.status().get("file")
        if file is None:
            raise click.UsageError("this runtime was not started from a file: say which one, `dspex reload FILE`")
        for warning in trees.check(file).warnings:
            output.say(f"warning: {warning}")
        if plan:
            return _plan(output, runtime.reload(file, plan=True), file)
        try:
            with interruptible(lambda: f"{shown.left()}; the next reload does the rest", quiet=settings.quiet):
                result = runtime.reload(file, why=why, on_progress=shown.event)
        except Exception as exc:
            if output.structured and getattr(exc, "result", None) is not None:
                facts = {**reloads.as_data(exc.result), "error": failures.describe(exc)}  # type: ignore[attr-defined]
                output.result(facts, lambda: None)
                return failures.exit_code(exc)
            raise
    done = f"reloaded: {reloads.summary(result)}" if result.steps else f"nothing to do: what runs is what {file} says"
    output.result(reloads.as_data(result), lambda: output.say(done))
    return failures.OK


def _plan(output: Output, result: object, file: str) -> int:
    from dspex_runtime.types import ReloadResult

    assert isinstance(result, ReloadResult)

    def show() -> None:
        reloads.show_plan(output, [asdict(step) for step in (*result.steps, *result.refused)], result.left)
        if not result:
            output.say(f"nothing to do: what runs is what {file} says")
        elif result.refused:
            output.say("a reload cannot make all of these changes, and would make none of them")

    output.result(reloads.as_data(result), show)
    return failures.USAGE if result.refused else failures.OK
