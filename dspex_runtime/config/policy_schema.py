"""The keys that a child may have and that `defaults` may give: how a process is kept running, and in what surroundings."""

from __future__ import annotations

from typing import Final

from dspex_runtime.config.collections_of import ListOf, MapOf
from dspex_runtime.config.dspy_schema import DSPY, LM_TYPE
from dspex_runtime.config.quantities import Duration, Integer, Number, Size
from dspex_runtime.config.section import Either, Key, Section
from dspex_runtime.config.value_types import Boolean, Constant, Null, Text, Word
from dspex_runtime.core import child_spec
from dspex_runtime.types import Durability, RestartType

__all__ = ["ENV", "INFINITY_WORD", "MODULE", "PROCESS", "policy_keys"]

PROCESS: Final = frozenset({"module", "server"})
MODULE: Final = frozenset({"module"})
INFINITY_WORD: Final = "infinity"

_POSITIVE = Duration(positive=True)
ENV: Final = MapOf(
    Text("text", fits=lambda text: "\0" not in text, empty=True),
    "a map of variable names to text",
    key_fits=lambda name: "=" not in name and "\0" not in name,
)

_BACKOFF = Section(
    title="backoff",
    keys=(
        Key("initial", _POSITIVE, "Delay before the second restart in a row; the first is at once.", "100ms"),
        Key("factor", Number(1, 1000), "Each further delay is so many times the one before.", 2),
        Key("max", _POSITIVE, "No delay is longer.", "30s"),
        Key("jitter", Number(0, 1), "Share of a delay that is random.", 0.25),
        Key("stable_after", Duration(), "A child that stayed up so long starts counting anew.", "10s"),
    ),
)

_SHUTDOWN = Section(
    title="shutdown",
    keys=(
        Key("drain", Duration(), "How long running calls may finish, within the time-out.", "5s"),
        Key(
            "timeout",
            Either((Constant(INFINITY_WORD, INFINITY_WORD), Duration())),
            "From the request to stop until the kill.",
            "5s",
        ),
    ),
)

_LIMITS = Section(
    title="limits",
    keys=(
        Key("memory", Either((Size(2**20), Null())), "Resident memory; above it the process is restarted. null: no limit."),
        Key(
            "mailbox",
            Integer(1, 1_000_000),
            "Requests accepted and not begun; more are refused as overloaded.",
            child_spec.DEFAULT_MAILBOX,
        ),
        Key("call_timeout", _POSITIVE, "Time-out of calls that name none.", "60s"),
        Key("max_calls", Either((Integer(1), Null())), "The process is replaced after so many calls. null: never."),
        Key("nice", Integer(-20, 19), "Scheduling priority of the process; below 0 needs a privilege.", 0),
    ),
)

_LIVENESS = Section(
    title="liveness", keys=(Key("grace", _POSITIVE, "A process busy so long past its call's deadline is hung and killed.", "10s"),)
)

_READINESS = Section(
    title="readiness",
    keys=(
        Key(
            "call",
            Text("the name of a method", fits=str.isidentifier),
            "A method that must return, and not False, before the module is ready.",
        ),
        Key(
            "command",
            Either((Text("text for /bin/sh"), ListOf(Text("text", empty=True), "a list of a program and its arguments", least=1))),
            "A command that must end with status 0 before the module is ready; it has the module's folder and environment.",
        ),
        Key("timeout", _POSITIVE, "How long it may take.", "10s"),
    ),
    one_of=("call", "command"),
)

_CHECKPOINT = Section(
    title="checkpoint",
    keys=(
        Key("every", _POSITIVE, "The time from one to the next. Without it: none are made unasked."),
        Key("keep", Integer(1, 10_000), "So many of each kind are kept; the oldest goes first.", child_spec.DEFAULT_CHECKPOINTS),
    ),
)


def policy_keys() -> tuple[Key, ...]:
    """Keys that a child may have and that `defaults` may give."""
    infinite = (Constant(INFINITY_WORD, INFINITY_WORD), _POSITIVE, Null())
    return (
        Key("restart", Word(tuple(RestartType)), "Started again: always, after a crash only, or never.", "permanent"),
        Key("backoff", Either((_BACKOFF, Constant("none", None), Null())), "Delays between restarts; none: at once, as OTP."),
        Key(
            "shutdown",
            Either((Word(("brutal_kill", INFINITY_WORD)), Duration(), _SHUTDOWN)),
            "How it is stopped: asked, given time, killed. Supervisors: infinity unless they say otherwise themselves.",
            "5s",
        ),
        Key("start_timeout", Either(infinite), "From the start until ready; supervisors: infinity.", "30s"),
        Key("limits", _LIMITS, "What one process may use.", kinds=PROCESS),
        Key("liveness", Either((_LIVENESS, Null())), "When a busy process counts as hung; null: never.", kinds=PROCESS),
        Key(
            "readiness",
            Either((_READINESS, Null())),
            "What must work before it is ready; otherwise ready is when it is built.",
            kinds=MODULE,
        ),
        Key(
            "trap_exit",
            Boolean(),
            "Stop gracefully: drain, terminate(), exit; false: die at the request, as OTP's default.",
            True,
            kinds=PROCESS,
        ),
        Key("env", ENV, "Environment variables of the process.", kinds=PROCESS),
        Key("concurrency", Integer(1, 10_000), "Calls that run at the same time; a server runs one.", 1, kinds=PROCESS),
        Key(
            "template",
            Boolean(),
            "Build it once, in a process that the others are forked from: its file and its constructor then run once for all.",
            False,
            kinds=PROCESS,
        ),
        Key("lm", LM_TYPE, "The module's language model: its keys over the runtime's.", kinds=MODULE),
        Key("dspy", DSPY, "The module's settings: its keys over the runtime's.", kinds=MODULE),
        Key(
            "checkpoint",
            Either((_CHECKPOINT, Null())),
            "When the whole state is saved by itself; null: only when asked for, before swaps and compiles.",
            kinds=PROCESS,
        ),
        Key(
            "durability",
            Word(tuple(Durability)),
            "What a write of a parameter survives: any crash of the module, the kill of every process, or a loss of power.",
            Durability.JOURNAL.value,
            kinds=PROCESS,
        ),
    )
