"""The keys of children, supervisors and `defaults`."""

from __future__ import annotations

import functools
from typing import Final

from dspex_runtime.config import names
from dspex_runtime.config.collections_of import ListOf, MapOf
from dspex_runtime.config.dspy_schema import DSPY, LM_TYPE
from dspex_runtime.config.quantities import Duration, Integer, Number, Size
from dspex_runtime.config.registry_keys import RegistryKey
from dspex_runtime.config.section import Either, Key, Ref, Section
from dspex_runtime.config.targets import Target
from dspex_runtime.config.value_types import Boolean, Constant, Null, Opaque, Text, Word
from dspex_runtime.core import child_spec
from dspex_runtime.types import AutoShutdown, Durability, RestartType, Strategy

__all__ = ["CHILD", "ENV", "SUPERVISOR", "child_section", "policy_keys", "supervisor_section"]

PROCESS: Final = frozenset({"module", "server"})
MODULE: Final = frozenset({"module"})
INFINITY_WORD: Final = "infinity"

_DATA = MapOf(Opaque(), "a map")
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

PARAMS: Final = MapOf(Opaque(), "a map of parameter names to values")

# What combinations.py says to people, for editors.
_SIGNIFICANT_RULES: Final = {
    "if": {"properties": {"significant": {"const": True}}, "required": ["significant"]},
    "then": {"properties": {"restart": {"not": {"const": "permanent"}}}},
}
_DYNAMIC_RULES: Final = {
    "allOf": [
        {
            "if": {"properties": {"dynamic": {"const": True}}, "required": ["dynamic"]},
            "then": {
                "properties": {
                    "strategy": {"const": "one_for_one"},
                    "auto_shutdown": {"const": "never"},
                    "children": {"maxItems": 0},
                }
            },
        },
        {
            "if": {"properties": {"dynamic": {"const": False}}},  # or absent; a `${VAR}` may be either
            "then": {"properties": {"max_children": {"enum": [None, INFINITY_WORD]}, "extra_arguments": {"maxItems": 0}}},
        },
    ]
}


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


@functools.cache
def child_section() -> Section:
    """A child: a module, a server or a nested supervisor."""
    return Section(
        title="a child",
        keys=(
            Key(
                "id",
                Text(f"text of {names.ID_EXPECTED}", fits=names.is_id, pattern=names.ID_SCHEMA),
                "Unique among its siblings.",
                required=True,
            ),
            Key(
                "module", Target(directory=True), 'A dspy.Module: "file.py:Name", "pkg.mod:Name" or a saved program.', kinds=MODULE
            ),
            Key(
                "load",
                Text("text (a .json that module.save(...) wrote)", fits=lambda text: text.endswith(".json")),
                "The saved state that the program begins with; what was set since then wins.",
                kinds=MODULE,
            ),
            Key("server", Target(), 'A GenServer: "file.py:Name" or "pkg.mod:Name".', kinds=frozenset({"server"})),
            Key("supervisor", SUPERVISOR, "A nested supervisor.", kinds=frozenset({"supervisor"})),
            Key(
                "args",
                Either((_DATA, ListOf(Opaque(), "a list of positional arguments"))),
                "Arguments of the constructor, or of a server's init: a map of keywords or a list.",
                kinds=PROCESS,
            ),
            *policy_keys(),
            Key("version", Either((Text("text"), Null())), "Version of the module, shown by ps.", kinds=PROCESS),
            Key("metadata", _DATA, "Data of yours, to select children by."),
            Key("register", RegistryKey(), "Name in the registry, held by every incarnation from before its init until its end."),
            Key(
                "params",
                PARAMS,
                "Values of its parameters, by name; one that was changed here since the last `up` is set.",
                kinds=PROCESS,
            ),
            Key("depends_on", _DATA, "What must be up first.", later=True, kinds=PROCESS),
            Key("replicas", Integer(1), "Processes behind one id.", 1, only=1, kinds=PROCESS),
            Key("significant", Boolean(), "Its end counts for the supervisor's auto_shutdown; not for permanent children.", False),
            Key("type", Word(("worker", "supervisor")), "As get_childspec returns it.", internal=True),
            Key(
                "pickled",
                Opaque(),
                "The class or instance itself, from a client; module: or server: is its name.",
                internal=True,
                kinds=PROCESS,
            ),
            Key("pickled_args", Opaque(), "(args, kwargs) from a client.", internal=True, kinds=PROCESS),
            Key(
                "sys_path",
                ListOf(Text("text (a directory)", empty=True), "a list of directories"),
                "The client's.",
                internal=True,
                kinds=PROCESS,
            ),
        ),
        rules_json={"oneOf": [{"required": [kind]} for kind in ("module", "server", "supervisor")], **_SIGNIFICANT_RULES},
    )


@functools.cache
def supervisor_section() -> Section:
    """The root or a nested supervisor."""
    return Section(
        title="a supervisor",
        keys=(
            Key(
                "strategy",
                Word(tuple(Strategy), advice={"simple_one_for_one": "write dynamic: true"}),
                "Which siblings a restart takes along.",
                "one_for_one",
            ),
            Key("max_restarts", Integer(0), "More restarts than this within max_seconds, and the supervisor gives up.", 3),
            Key("max_seconds", _POSITIVE, "The window of max_restarts.", 5),
            Key(
                "auto_shutdown",
                Word(tuple(AutoShutdown)),
                "The supervisor ends when a significant child ended by itself, or when the last one did.",
                "never",
            ),
            Key("dynamic", Boolean(), "Children are added at run time only, each with a spec of its own (one_for_one).", False),
            Key(
                "max_children",
                Either((Integer(0), Null(), Constant(INFINITY_WORD, None))),
                "How many children a dynamic supervisor may have, those whose restart is due included. null: no limit.",
            ),
            Key(
                "extra_arguments",
                ListOf(Opaque(), "a list of positional arguments"),
                "Of a dynamic supervisor: put before each child's own positional arguments.",
            ),
            Key("children", ListOf(CHILD, "a list of children"), "In start order; stopped in reverse."),
        ),
        rules_json=_DYNAMIC_RULES,
    )


SUPERVISOR: Final = Ref("supervisor", supervisor_section)
CHILD: Final = Ref("child", child_section)
