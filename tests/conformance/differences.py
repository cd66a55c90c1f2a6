"""Where the core differs from OTP on purpose, and how the comparison sees past it. Everything else has to be the same.

Two answers are made the same here:

- A supervisor that is on its way out refuses requests at once; OTP's callers learn it when it has ended (`is_early`).
- A request that lies in the mailbox when the supervisor ends fails with its reason in OTP, a later one with noproc. The
  machine may be told of both only after its end, and answers noproc to both (`same`).

These are not generated, or switched off:

- OTP counts restarts in whole seconds, we in floats: scenarios that wait keep 1.5 s of margin.
- Back-off and start time-outs, which OTP has not: none.
- A shutdown waits its turn in OTP's mailbox; here it overtakes requests and cuts short a start that is under way.
  No scenario shuts a supervisor down that is busy.
- Killing a supervisor leaves its children to the exit signals of its links; here it ends everything below, and is then dead.
  No scenario kills a supervisor, and those that are children have OTP's default shutdown, infinity.
- count_children asks in OTP who is alive at that moment; here it tells what the supervisor was told.
  No scenario counts between a death and its report.

With dynamic supervisors, in addition:

- All children are stopped at the same time: the lines of those that end together are sorted (`together`).
- Elixir makes no progress reports of dynamic children, gives which_children no order and no ids: not compared.
- A child that ended with shutdown just before it was to be stopped is a shutdown_error in Elixir; neither in OTP's supervisor nor
  here: such lines are left out (`together`).
- Elixir starts, stops and tries again one after the other; here children do not wait for each other. See `generator_dynamic`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final

from dspex_runtime.core.instructions import Err, Ok

ENDING: Final = ("stop ", "end ", "report shutdown_error ")


def is_early(result: Ok | Err, *, ended: bool) -> bool:
    """Return whether OTP's caller would not know this yet."""
    return isinstance(result, Err) and result.code == "shutdown" and not ended


def same(result: Ok | Err) -> Ok | Err:
    """Return the answer to a request that reached a living supervisor in OTP's words."""
    if isinstance(result, Err) and result.code == "noproc":
        return Err("shutdown", result.message)
    return result


def together(log: list[str]) -> list[str]:
    """Return the log of a scenario with dynamic supervisors so that it can be compared."""
    ordered: list[str] = []
    kept = (line for line in log if not (line.startswith("report shutdown_error ") and line.endswith((" shutdown", " shutdown:x"))))
    for is_ending, run in groupby(kept, key=lambda line: line.startswith(ENDING)):
        lines = list(run)
        ordered.extend(sorted(lines) if is_ending else lines)
    return ordered
