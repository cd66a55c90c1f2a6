"""What a relayed call says on the pipe, and what each side needs of the mirror. Shared by `relay` (client) and `relayed` (host).

One method of the hosted module: `RELAY`, or `ARELAY` where the caller awaits (then `acall` runs, if the module has `aforward`).
Its positional arguments:

    args, kwargs     the call's own
    overlay          of the mirror, for `variants.module_for(root, overlay)`; None: the hosted program
    context          the caller's settings, as far as they are not dspy's defaults; None: they are
        {"set": {key: value},           by dspy.context: they go before the module's own config
         "configured": {key: value},    by dspy.configure: the module's own config goes before them
         "given": {name: token},        arguments of the call that are objects kept by token
         "objects": [[token, version, body | None, {attribute: items left}], ...]}
    want             what the caller keeps: TRACE | HISTORY | USAGE
    live             what is told while the call runs, as items of a stream; None: nothing, and it is a plain call
        {"call_id": dspy's id of the call that this is part of, or None,
         "kinds": [kind, ...], "everywhere": bool, "parts": [...], "lms": [...], "objects": [...],    see `relayed.events`
         "stream": None | {"listeners": [name | None, ...]},      None: nobody takes chunks
         "logs": None | int}                                      the level from which log records are told

A value in the context is plain, or `{"=": value}`, or `{"$": token}`: an object of the caller's (an LM, an adapter), kept by the
host. The body is a pickle without the object's calls and callbacks, sent once per version. A host that has it not any more answers
`[None, None, [token, ...]]` and has run nothing. Scripted answers (DummyLM's) are one cursor on both sides: whoever is behind
catches up.

The answer is `[value, record]`: bytes of `relay.codec`, or None where there is nothing to tell. Of a call that raises, the record
is in the map of its fault (`wire.faults.RECORD`).

    {"trace": [[part, inputs, prediction, signature], ...], "history": [[entry, lm, [part, ...]], ...], "usage": {lm: [entry, ...]},
     "left": {token: {attribute: items left}}, "whole": [predictor, ...], "same": int | None, "signature": part | None,
     "raised": int | None, "rebind": {attribute: part}}

An item of the stream is bytes of the same codec, an array that begins with one of the words below. `part` is the name that
`parts.named_parts` gives; a number is an object that is no part, in "whole" or told by an earlier item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

RELAY: Final = "$dspy"
ARELAY: Final = "$dspy.async"
METHODS: Final = (RELAY, ARELAY)

TRACE: Final = 1
HISTORY: Final = 2
USAGE: Final = 4

# The words that an item begins with, and what comes after each.
STARTED: Final = "start"  # kind, call id, id of the call around it, whether nothing is streamed there, instance, inputs
ENDED: Final = "end"  # the same four, outputs, None | [number, fault | None]
ENTRY: Final = "entry"  # as in "history"
CHUNK: Final = "chunk"  # part | None, whether it is to be put into the chunk, chunk
LOGGED: Final = "log"  # the attributes of a LogRecord
WARNED: Final = "warning"  # category, text, file, line

# How an instance is told: [word, what, body]
PART: Final = "part"  # its name
KEPT: Final = "kept"  # its token
PART_LM: Final = "lm"  # the LM that the part of this name has
OTHER: Final = "other"  # its number in this call, and where it is new its pickle

# What a dspy callback has handlers for: on_<kind>_start, on_<kind>_end.
KINDS: Final = (
    "module", "lm", "adapter_format", "adapter_parse", "tool", "evaluate", "compile",
    "interpreter_execute", "interpreter_tool_call", "interpreter_startup", "interpreter_shutdown",
)  # fmt: skip

# dspy's settings that are relayed, or are nobody else's: they never travel as they are.
OWN_SETTINGS: Final = frozenset(
    ("trace", "callbacks", "send_stream", "usage_tracker", "track_usage", "caller_predict", "caller_modules", "stream_listeners",
     "max_history_size", "dspex_relay", "relay_logs")
)  # fmt: skip
RELAYED: Final = "dspex_relay"  # in the settings of a relayed call: what is noted of it
LOGS: Final = "relay_logs"  # a setting of the caller's: True, or the level from which dspy's log records are relayed


class Mirror(Protocol):
    """What a relayed call needs of the mirror of the hosted tree."""

    @property
    def root(self) -> Any:
        """The proxy itself."""
        ...

    def part(self, name: str) -> Any | None:
        """Return the mirror's object of a name ("" is the root), or None; fetches the mirror if that was not done yet."""
        ...

    def name_of(self, part: Any) -> str | None:
        """Return the name of one of the mirror's objects, by identity."""
        ...

    def parts(self) -> Iterable[tuple[str, Any, Mapping[str, Any]]]:
        """Return name, object and attributes of what is there without asking the process, the root left out.

        Called once per call, when edits are pushed: it need not look again whether a part is another.
        """
        ...

    def overlay(self) -> dict[str, Any] | None:
        """Return what the call must run with, None where the process has it all. Called once per call: edits are pushed first."""
        ...


class Ref(Protocol):
    """What a relayed call needs of the reference to the hosted module."""

    def call(self, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a method and wait."""
        ...

    def stream(self, method: str | None = None, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a method and return an iterator over what it tells; `value` is its value at the end."""
        ...

    async def acall(self, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a method and await."""
        ...

    def astream(self, method: str | None = None, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """`stream`, as an async iterator."""
        ...
