"""The same thing done to several ids: every one is tried, the first failure decides the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dspex_cli import failures, link
from dspex_cli.options import Settings
from dspex_cli.output import Output

if TYPE_CHECKING:
    import dspex_runtime as dx


def for_each(settings: Settings, ids: Iterable[str], action: Callable[[dx.Runtime, str], Any], done: str) -> int:
    """Do something to each id and report each; returns the exit code.

    A single id fails as any command does. Of several, the failures are printed and the others are done all the same; with -o json
    the list has one object per id, with `error` where it failed.
    """
    from dspex_runtime.errors import DspexError, RuntimeUnreachableError

    output = Output(settings)
    wanted = list(dict.fromkeys(ids))
    results: list[dict[str, Any]] = []
    code = failures.OK
    with link.runtime(settings) as runtime:
        for id in wanted:
            try:
                action(runtime, id)
            except RuntimeUnreachableError:
                raise
            except DspexError as exc:
                if len(wanted) == 1:
                    raise
                code = code or failures.exit_code(exc)
                results.append({"id": id, "error": failures.describe(exc)})
                if not output.structured:
                    failures.report(exc, as_json=False, verbose=settings.verbose)
            else:
                results.append({"id": id, "done": done})
                output.say(f"{done} {id}")
    if output.structured:
        output.result(results, lambda: None)
    return code
