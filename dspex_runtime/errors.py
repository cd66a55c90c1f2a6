"""The error tree: one class per decision a caller can take.

DspexError
├── ConfigError (ValueError)             fix the file or the argument; `.problems` lists every one
├── StartError                           a child did not become ready; carries the child's own traceback
├── CallError                            one call failed; the process may be fine
│   ├── CallTimeoutError (TimeoutError)  the deadline passed; a late reply is dropped
│   ├── RemoteError                      the module raised; remote type, message and traceback
│   ├── ProcessDownError                 the process ended with the call in flight; `.reason` says why
│   │   ├── NoProcessError               nothing is running under that id (OTP: noproc)
│   │   └── DependencyDownError          what the module depends on is down, and the call did not begin; `.dependency` is which
│   ├── OverloadedError                  the mailbox is full; nothing was queued
│   ├── DeadlockError                    the call waits for one that waits for it; `.cycle` names the circle
│   └── BusyError                        the module holds the GIL and answers nobody
├── SupervisorError                      a supervisor refused; `.code` is OTP's atom
├── ParameterError                       a parameter cannot be read or written
│   ├── ParameterNotFoundError (KeyError)  there is none of that name
│   ├── ConstraintViolationError (ValueError)  the value was refused and nothing changed; constraint, limit and value
│   └── GradientNotRequiredError         it was declared without requires_grad
├── CheckpointError                      a checkpoint cannot be made, found or restored
├── CompileError                         an optimizer failed, or its result cannot be committed; carries its traceback
├── SwapError                            a module was not swapped, the old version serves on; `.code` says which step refused
├── ReloadError                          a step of a reload failed; what was done is done, `.result` says what was not
├── RegistryError                        a key or lock is not to be had; `.code` says why, `.holder` who has it
├── RuntimeUnreachableError (ConnectionError)  no runtime answers at that name or socket
├── ProtocolError                        the peer sent something illegal, or speaks another version
└── UnserialisableError (TypeError)      a value cannot cross the pipe; names the path inside it

Errors are data first: attributes hold the facts, the text is made from them. Every class pickles and
crosses the wire through `to_wire`/`from_wire` without calling a constructor of a foreign class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dspex_runtime.exit_reason import ExitReason, describe

__all__ = [
    "BusyError",
    "CallError",
    "CallTimeoutError",
    "CheckpointError",
    "CompileError",
    "ConfigError",
    "ConstraintViolationError",
    "DeadlockError",
    "DependencyDownError",
    "DspexError",
    "GradientNotRequiredError",
    "NoProcessError",
    "OverloadedError",
    "ParameterError",
    "ParameterNotFoundError",
    "ProcessDownError",
    "ProtocolError",
    "RegistryError",
    "ReloadError",
    "RemoteError",
    "RuntimeUnreachableError",
    "StartError",
    "SupervisorError",
    "SwapError",
    "UnserialisableError",
]


class DspexError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        code: Stable word for programs (`-o json`, the wire); keys and codes are added, never renamed.
        id: Full id of the child or object concerned, or None.
        hint: What to try next, or None.
    """

    code: str = "error"
    hint: str | None = None

    def __init__(self, message: str, *, id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.id = id
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    @property
    def __notes__(self) -> list[str]:
        """What Python prints below the message: the notes that were added, and the hint, once."""
        notes: list[str] = self.__dict__.get("__notes__", [])
        hint = f"hint: {self.hint}"
        # An error that came as data has the hint twice: as its attribute, and among the notes that came.
        return [*notes, hint] if self.hint and hint not in notes else list(notes)

    @__notes__.setter
    def __notes__(self, notes: list[str]) -> None:
        self.__dict__["__notes__"] = notes

    def add_note(self, note: str, /) -> None:
        """Add a line for tracebacks, as `BaseException.add_note` does."""
        if not isinstance(note, str):
            raise TypeError(f"note must be a str, not '{type(note).__name__}'")
        self.__dict__.setdefault("__notes__", []).append(note)

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have keyword-only facts; rebuilding from __dict__ keeps them all.
        return (_rebuild, (type(self), self.args, self.__dict__))

    def to_wire(self) -> dict[str, Any]:
        """Return the error as plain data; `from_wire` is its inverse."""
        facts = {key: value for key, value in self.__dict__.items() if not key.startswith("_")}
        return {"class": type(self).__name__, "code": self.code, **facts}

    @staticmethod
    def from_wire(data: dict[str, Any]) -> DspexError:
        """Rebuild what `to_wire` wrote; an unknown class (a newer peer's) becomes `DspexError` itself."""
        facts = {key: value for key, value in data.items() if key != "class"}
        cls = _CLASSES.get(str(data.get("class")), DspexError)
        return _rebuild(cls, (facts.get("message", ""),), facts)


def _rebuild(cls: type[DspexError], args: tuple[Any, ...], facts: dict[str, Any]) -> DspexError:
    error = cls.__new__(cls, *args)
    error.args = args  # OSError and its kin leave that to their constructor
    error.__dict__.update(facts)
    return error


class ConfigError(DspexError, ValueError):
    """A file, spec or argument is wrong; `problems` lists all that was found, one text each."""

    code = "config"

    def __init__(self, message: str, *, problems: Sequence[str] = (), id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, id=id, hint=hint)
        self.problems = list(problems)


class _ProcessFailedError(DspexError):
    """What a process of the user's code was started for did not come about; says why as that process saw it.

    Attributes:
        reason: Exit reason of the process, where it ended.
        remote_traceback: Its own traceback text, shown below the message; None when it had none to give (killed, timed out).
    """

    def __init__(
        self,
        message: str,
        *,
        reason: ExitReason | None = None,
        remote_traceback: str | None = None,
        id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, id=id, hint=hint)
        self.reason = reason
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return f"{self.message}\n\n{self.remote_traceback.rstrip()}" if self.remote_traceback else self.message


class StartError(_ProcessFailedError):
    """A child did not become ready; its process, name and resources are gone when this is raised.

    `reason` is the child's exit reason, `remote_traceback` its own traceback text.
    """

    code = "start_failed"


class CallError(DspexError):
    """One call failed; `retryable` is True only when the call certainly did not begin."""

    code = "call_failed"
    retryable: bool = False


class CallTimeoutError(CallError, TimeoutError):
    """The deadline passed before the reply came; the module may still be at it, its late reply is dropped."""

    code = "timeout"


class RemoteError(CallError):
    """The module raised. The `__cause__` of the module's own exception, or raised itself if that type cannot be rebuilt.

    Attributes:
        type_name: Qualified name of the remote exception's type.
        remote_traceback: Text of the remote traceback.
        incarnation: Incarnation of the module that raised.
        retryable: Whether the same call may be tried again without having run before.
    """

    code = "remote"

    def __init__(
        self,
        message: str,
        *,
        type_name: str = "Exception",
        remote_traceback: str = "",
        id: str | None = None,
        incarnation: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message, id=id)
        self.type_name = type_name
        self.remote_traceback = remote_traceback
        self.incarnation = incarnation
        self.retryable = retryable

    def __str__(self) -> str:
        where = f" in {self.id!r} (incarnation {self.incarnation})" if self.id else ""
        return f"{self.type_name}: {self.message}{where}\n\n{self.remote_traceback.rstrip()}".rstrip()


class ProcessDownError(CallError):
    """The process ended while the call was in flight: it may or may not have had its effect."""

    code = "process_down"

    def __init__(
        self,
        message: str = "",
        *,
        id: str | None = None,
        incarnation: int | None = None,
        reason: ExitReason = "noproc",
        hint: str | None = None,
    ) -> None:
        super().__init__(message or f"{id!r} went down with the call in flight: {describe(reason)}", id=id, hint=hint)
        self.incarnation = incarnation
        self.reason = reason


class NoProcessError(ProcessDownError):
    """Nothing runs under that id and nothing is coming: unknown, stopped, exited or failed. The call did not begin."""

    code = "noproc"
    retryable = True


class DependencyDownError(ProcessDownError):
    """What the module depends on is down, and it takes no call until that is back (`on_down: fail`). The call did not begin.

    Attributes:
        dependency: Full id of what is down; `reason` is why.
    """

    code = "dependency_down"
    retryable = True

    def __init__(
        self,
        message: str = "",
        *,
        id: str | None = None,
        dependency: str = "",
        reason: ExitReason = "noproc",
        hint: str | None = None,
    ) -> None:
        text = message or f"{id!r} takes no calls while {dependency!r}, which it depends on, is down: {describe(reason)}"
        if hint is None and dependency:
            hint = f"`dspex start {dependency}` starts it, unless it comes back by itself"
        super().__init__(text, id=id, reason=reason, hint=hint)
        self.dependency = dependency


class OverloadedError(CallError):
    """The module's bounded mailbox is full; the call was refused and did not begin. `limit` is how many may wait."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, id: str | None = None, limit: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, id=id, hint=hint)
        self.limit = limit


class DeadlockError(CallError):
    """The call came back to a module whose every call thread waits for it: it could never have begun, and did not.

    Not retryable: the same call would end the same.

    Attributes:
        cycle: The ids of the circle, in the order in which they called each other; the first is also the last.
    """

    code = "deadlock"

    def __init__(self, message: str = "", *, id: str | None = None, cycle: Sequence[str] = (), hint: str | None = None) -> None:
        text = message or f"deadlock: {' -> '.join(cycle)}: every call thread of {id!r} waits for a call that waits for it"
        super().__init__(text, id=id, hint=hint)
        self.cycle = list(cycle)


class BusyError(CallError):
    """The module did not answer a control request in time: C code holds its GIL, or its handlers never return."""

    code = "busy"


class SupervisorError(DspexError):
    """A supervisor refused a request; `code` is OTP's error atom ("already_present", "restarting", "not_found", ...)."""

    def __init__(self, code: str, message: str, *, id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, id=id, hint=hint)
        self.code = code


class ParameterError(DspexError):
    """A parameter cannot be read or written; `name` is which. `code` "conflict": it is of another version than expected."""

    code = "parameter"

    def __init__(self, message: str, *, name: str | None = None, id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, id=id, hint=hint)
        self.name = name


class ParameterNotFoundError(ParameterError, KeyError):
    """There is no parameter of that name."""

    code = "parameter_not_found"


class ConstraintViolationError(ParameterError, ValueError):
    """A value was refused, and nothing changed.

    Attributes:
        constraint: Which one: "type", "min", "max", "choices", "length", "shape", "check", ...
        limit: What it allows.
        value: What came, as text where it is long or cannot be sent.
    """

    code = "constraint_violation"

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        constraint: str = "type",
        limit: Any = None,
        value: Any = None,
        id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, name=name, id=id, hint=hint)
        self.constraint = constraint
        self.limit = limit
        self.value = value


class GradientNotRequiredError(ParameterError):
    """A gradient came for a parameter that was declared without `requires_grad`."""

    code = "gradient_not_required"


class CheckpointError(DspexError):
    """A checkpoint cannot be made, found or restored; what there was before is whole.

    Attributes:
        code: "busy": an owner and its parts did not come to rest in time, and may the next time; "checkpoint" for all else.
    """

    code = "checkpoint"

    def __init__(self, message: str, *, code: str = "checkpoint", id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, id=id, hint=hint)
        self.code = code


class CompileError(_ProcessFailedError):
    """A program was not compiled, and serves on as it was; says whether that is otherwise.

    `remote_traceback` is what the optimizer or the metric raised, `reason` how the compile process ended before it was done.
    """

    code = "compile"


class SwapError(_ProcessFailedError):
    """A module was not swapped: the old version serves on as if nothing had happened; says whether that is otherwise.

    `remote_traceback` is what the new version's code raised, `reason` the exit reason of the process that ended meanwhile.

    Attributes:
        code: Which step refused: "not_running", "busy", "kind", "supervisor", "start", "migrate", "verify", "drain_timeout",
            "timeout", "move", "old_ended", "aborted"; "refused" (what was asked for can never be); "swap" where none of them
            says it.
    """

    code = "swap"

    def __init__(
        self,
        message: str,
        *,
        code: str = "swap",
        remote_traceback: str | None = None,
        reason: ExitReason | None = None,
        id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason, remote_traceback=remote_traceback, id=id, hint=hint)
        self.code = code


class ReloadError(DspexError):
    """A step of a reload failed: those before it are done, those after it are not; the next reload does the rest.

    Its `__cause__` is the step's own error.

    Attributes:
        result: The `ReloadResult`, with the state of each step.
        remote_traceback: Of the step's own error, where it has one.
    """

    code = "reload"

    def __init__(
        self,
        message: str,
        *,
        result: Any = None,
        remote_traceback: str | None = None,
        id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, id=id, hint=hint)
        self.result = result
        self.remote_traceback = remote_traceback


class RegistryError(DspexError):
    """A key or a lock is not to be had.

    Attributes:
        code: "already_registered", "duplicate_key" (it names no single process), "not_registered" (somebody else's, or
            nobody's), "already_locked" (by the caller itself).
        holder: Full id of the process that holds the key, or None.
    """

    code = "registry"

    def __init__(
        self, code: str, message: str, *, holder: str | None = None, id: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, id=id, hint=hint)
        self.code = code
        self.holder = holder


class RuntimeUnreachableError(DspexError, ConnectionError):
    """No runtime answers at that name or socket path, or the connection to it ended."""

    code = "unreachable"


class ProtocolError(DspexError):
    """The peer sent bytes that are not a legal message, or speaks a protocol version outside our range."""

    code = "protocol"


class UnserialisableError(DspexError, TypeError):
    """A value cannot cross the pipe; `path` is where inside the value, e.g. `result.items[3].lock`."""

    code = "unserialisable"

    def __init__(self, message: str, *, path: str = "", id: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, id=id, hint=hint)
        self.path = path


_CLASSES: dict[str, type[DspexError]] = {name: globals()[name] for name in __all__}
