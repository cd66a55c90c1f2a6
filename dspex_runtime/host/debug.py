"""OTP's sys debug functions of one server: trace, log, statistics, log to a file, hooks (otp-semantics §2.10).

While nothing is switched on there is no `Debug` at all and a call costs nothing more; see `ServerHost.debugging`.

An event is a tuple, values as they are (a state that is changed in place shows as it is when somebody looks):

    ("in", kind, message, client)     kind: "call", "cast" or "info"; client: who sent it, "" for the server's own messages
    ("out", reply, client, state)     an answer went out, and the state after it
    ("noreply", state)                a callback returned and answered nothing
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

from dspex_runtime.errors import ConfigError
from dspex_runtime.host.status import text_of

LOG_EVENTS: Final = 10  # as OTP's sys:log
NO_STATISTICS: Final = "no_statistics"
DONE: Final = "done"  # what a hook returns to be removed

_FLAGS: Final = {
    "trace": "True or False",
    "log": "True, False, 'get' or 'print'",
    "statistics": "True, False or 'get'",
    "log_to_file": "a path or None",
}

Event = tuple[Any, ...]
Hook = Callable[[Any, Event, Any], Any]  # (its own state, the event, the server's state) -> its next state, or "done"


class Debug:
    """What is switched on for one server. Runs on the main thread, but for an answer that another thread gives."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._file: TextIO | None = None
        self._switch_off()

    def _switch_off(self) -> None:
        self._close_file()
        self._tracing = False
        self._log: deque[Event] | None = None
        self._statistics: dict[str, Any] | None = None
        self._hooks: dict[str, tuple[Hook, Any]] = {}

    def __bool__(self) -> bool:
        """Whether anything wants events."""
        return bool(self._tracing or self._file or self._log is not None or self._statistics is not None or self._hooks)

    @property
    def log(self) -> list[Event]:
        """The events kept, oldest first."""
        return list(self._log or ())

    def contents(self) -> dict[str, Any]:
        """Return what is switched on and what it has found so far, values as they are."""
        return {
            "trace": self._tracing,
            "log": None if self._log is None else [self._log.maxlen, self.log],
            "statistics": self._statistics,
            "file": None if self._file is None else self._file.name,
            "hooks": [[name, *hook] for name, hook in self._hooks.items()],
        }

    def adopt(self, contents: Mapping[str, Any]) -> None:
        """Go on with the contents of another one, of the same server in another process."""
        self._tracing, self._statistics = contents["trace"], contents["statistics"]
        if contents["log"] is not None:
            kept, events = contents["log"]
            self._log = deque(events, maxlen=kept)
        self._hooks = {name: (function, own) for name, function, own in contents["hooks"]}
        if contents["file"] is not None:
            try:
                self._file = open(contents["file"], "a", encoding="utf-8")  # noqa: SIM115 (it stays open)
            except OSError:
                pass  # as when it cannot be written: it is switched off in silence

    def event(self, event: Event, state: Any) -> None:
        """Tell everything that is switched on. Never raises: what fails is switched off in silence, as OTP does."""
        if self._statistics is not None and event[0] in ("in", "out"):
            self._statistics[f"messages_{event[0]}"] += 1
        if self._log is not None:
            self._log.append(event)
        if self._tracing:
            self._print(event)
        if self._file is not None:
            try:
                self._file.write(line(self._id, event) + "\n")
                self._file.flush()
            except (OSError, ValueError):  # the disk is full, or user code closed it
                self._close_file()
        for name, (hook, own) in list(self._hooks.items()):
            try:
                after = hook(own, event, state)
            except BaseException:  # also one that calls exit(): the process is not the hook's to end
                after = DONE
            if isinstance(after, str) and after == DONE:
                self._hooks.pop(name, None)
            else:
                self._hooks[name] = (hook, after)

    def command(self, command: str, args: dict[str, Any]) -> Any:
        """Carry out one of the commands; the answer is the caller's.

        Raises:
            ConfigError: It makes no sense.
            OSError: The file cannot be written to.
        """
        match command, args.get("flag"):
            case "trace", bool(on):
                self._tracing = on
            case "log", bool(on):
                kept = args.get("n", LOG_EVENTS)
                if type(kept) is not int or kept < 1:
                    raise ConfigError(f"log keeps n events, a whole number from 1 on; got {kept!r}")
                self._log = deque(self._log or (), maxlen=kept) if on else None
            case "log", "get":
                return self.log
            case "log", "print":
                for event in self.log:
                    self._print(event)
            case "statistics", bool(on):
                self._statistics = {"start_time": time.time(), "messages_in": 0, "messages_out": 0} if on else None
            case "statistics", "get":
                return NO_STATISTICS if self._statistics is None else {**self._statistics, "current_time": time.time()}
            case "log_to_file", (str() | False) as path:
                self._close_file()
                self._file = open(path, "w", encoding="utf-8") if path else None  # noqa: SIM115 (it stays open)
            case "install", None:
                self._hooks.setdefault(str(args["name"]), (args["function"], args.get("state")))
            case "remove", None:
                self._hooks.pop(str(args["name"]), None)
            case "no_debug", None:
                self._switch_off()
            case _ if command in _FLAGS:
                raise ConfigError(f"{command} takes {_FLAGS[command]}, got {args.get('flag')!r}")
            case _:
                known = ", ".join((*_FLAGS, "install", "remove", "no_debug"))
                raise ConfigError(f"a server has no debug command {command!r}; it has {known}")
        return None

    def _print(self, event: Event) -> None:
        sys.stdout.write(line(self._id, event) + "\n")  # into the log

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # what it could not write is lost, as it would have been a line before


def line(id: str, event: Event) -> str:
    """Return an event as people read it."""
    match event:
        case ("in", kind, message, client):
            return f"*DBG* {id} got {kind} {text_of(message)}" + (f" from {client}" if client else "")
        case ("out", reply, client, state):
            return f"*DBG* {id} sent {text_of(reply)} to {client}, new state {text_of(state)}"
        case _:
            return f"*DBG* {id} new state {text_of(event[-1])}"
