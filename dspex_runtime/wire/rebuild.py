"""Exceptions from the data that `faults` made of them. Never raises for what a peer sent, never calls a user's constructor.

The rebuilt exception has its own type, is made without its constructor (two of dspy's refuse their own arguments) and has
a RemoteError as `__cause__`. What is not an Exception (SystemExit, KeyboardInterrupt, CancelledError) ends the module's
call and must not end the caller: it arrives as RemoteError. So do StopIteration and StopAsyncIteration, which would end
the caller's loop in silence and which no Future takes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from dspex_runtime.errors import CallError, DspexError, ProtocolError, RemoteError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.ext import find_class

__all__ = ["RECORD", "from_fault", "take_record"]

# The attribute of an exception under which the record of a failed call travels: bytes, see `take_record`.
RECORD: Final = "_dspex_record"

_AS_REMOTE: Final = (StopIteration, StopAsyncIteration)


def from_fault(fault: Any, *, codec: Codec | None = None) -> BaseException:
    """Return the exception that `to_fault` was given, ready to be raised. Never raises.

    Args:
        fault: The map as received. What is not one yields a ProtocolError.
        codec: Unpacks the values. Without pickle only classes of loaded modules are found and none is unpickled: what needs
            more is a RemoteError. Default: a Codec(pickle=True), for callers that trust the module as they do its results.
    """
    try:
        return _from_fault(fault, codec or _default_codec())
    except Exception as exc:
        return ProtocolError(f"a peer sent an error that is none: {type(exc).__name__}: {exc}; got {fault!r:.200}")


def take_record(error: BaseException) -> bytes | None:
    """Take the record of a failed call off its exception; None where there is none. Never raises."""
    try:
        record = vars(error).pop(RECORD, None)
    except Exception:  # a user's `__dict__`
        return None
    return record if isinstance(record, bytes) else None


@cache
def _default_codec() -> Codec:
    return Codec(pickle=True)


def _from_fault(fault: Any, codec: Codec) -> BaseException:
    remote = RemoteError(
        _expect(fault["message"], str),
        type_name=_expect(fault["type"], str),
        remote_traceback=_expect(fault["traceback"], str),
        id=_expect(fault["id"], str | None),
        incarnation=_expect(fault["incarnation"], int | None),
        retryable=_expect(fault["retryable"], bool),
    )
    dropped = [_expect(name, str) for name in fault["dropped"]]
    notes = [_expect(note, str) for note in fault["notes"]]
    try:
        error = _rebuild_ours(fault, codec, dropped) if "dspex" in fault else _rebuild(fault, codec, dropped)
    except Exception as exc:  # its own __new__ or a setter refuses: user code, anything may come
        error = None
        remote.add_note(f"(its own type could not be rebuilt here: {type(exc).__name__}: {exc})")
    if dropped:
        remote.add_note(f"(could not be sent with it: {', '.join(dropped)})")
    for note in notes:
        (error or remote).add_note(note)
    if "record" in fault:
        vars(error or remote)[RECORD] = _expect(fault["record"], bytes)
    if error is None:
        return remote
    if isinstance(error, CallError):
        error.retryable = remote.retryable
    if remote.remote_traceback or "dspex" not in fault:
        error.__cause__ = remote
    return error


def _rebuild_ours(fault: Any, codec: Codec, dropped: list[str]) -> DspexError:
    return DspexError.from_wire(_unpack_values(fault["state"], codec, dropped))


def _rebuild(fault: Any, codec: Codec, dropped: list[str]) -> Exception | None:
    """Return the exception as its own type, or None when it must or can only be a RemoteError."""
    if "class" in fault:
        cls = codec.unpack(fault["class"])[0]
    else:
        cls = find_class(_expect(fault["module"], str), _expect(fault["qualname"], str), may_import=codec.pickle)
    if not isinstance(cls, type) or not issubclass(cls, BaseException):
        return None
    args = [_unpack(packed, codec, f"args[{index}]", dropped) for index, packed in enumerate(fault["args"])]
    if issubclass(cls, BaseExceptionGroup):
        # A BaseExceptionGroup whose members all became Exceptions is an ExceptionGroup by itself.
        args.append([_from_fault(member, codec) for member in fault["exceptions"]])
    elif not issubclass(cls, Exception) or issubclass(cls, _AS_REMOTE):
        return None
    error = cls.__new__(cls, *args)
    if not isinstance(error, Exception):
        return None
    _init_builtin(error, args)
    for name, value in _unpack_values(fault["slots"], codec, dropped).items():
        try:
            setattr(error, name, value)
        except (AttributeError, TypeError):  # read-only: __new__ has set it from the arguments
            continue
    vars(error).update(_unpack_values(fault["state"], codec, dropped))
    return error


def _init_builtin(error: Exception, args: list[Any]) -> None:
    # Python's own exceptions keep what they show in C fields that their C __init__ fills. No user code runs here.
    if isinstance(error, BaseExceptionGroup):
        return
    builtin = next(cls for cls in type(error).__mro__ if cls.__module__ == "builtins")
    try:
        builtin.__init__(error, *args)  # type: ignore[misc]
    except TypeError:  # a subclass with arguments of its own
        error.args = tuple(args)


def _unpack(packed: Any, codec: Codec, name: str, dropped: list[str]) -> Any:
    try:
        return codec.unpack(_expect(packed, bytes))[0]
    except ProtocolError:
        dropped.append(f"{name} (not to be rebuilt here)")
        return "<a value that could not be rebuilt here>"


def _unpack_values(values: Any, codec: Codec, dropped: list[str]) -> dict[str, Any]:
    result = {}
    for name, packed in values.items():
        before = len(dropped)
        value = _unpack(packed, codec, _expect(name, str), dropped)
        if len(dropped) == before:
            result[name] = value
    return result


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, got {type(value).__name__}")
    return value
