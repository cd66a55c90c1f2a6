"""Exceptions as data. Owns the error map of FAULT messages; `rebuild` is the way back. Never raises.

    {"type": "pkg.mod.Error", "module": str, "qualname": str, "message": str, "traceback": text with its chain of causes,
     "id": str | None, "incarnation": int | None, "retryable": bool,
     "args": [bytes, ...], "state": {name: bytes}, "slots": {name: bytes},     each value packed by itself
     "dropped": [what could not be sent, ...], "notes": [str, ...],
     "class": bytes            the class itself (cloudpickle), when no name leads to it
     "dspex": str              instead of a class: one of dspex_runtime.errors, "state" holds its to_wire
     "exceptions": [map, ...]  members of an exception group
     "record": bytes           what the failed call leaves for its caller, see RECORD}

Everything but the packed values is plain text and numbers: the runtime, the CLI and logs read it without rebuilding
anything. A value that cannot be unpacked at the caller costs that value, not the whole error.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from dspex_runtime import errors
from dspex_runtime.errors import CallError, DspexError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.ext import find_class
from dspex_runtime.wire.rebuild import RECORD as RECORD
from dspex_runtime.wire.rebuild import from_fault as from_fault
from dspex_runtime.wire.rebuild import take_record as take_record

__all__ = ["RECORD", "from_fault", "own_error", "take_record", "to_fault"]

# A fault must always fit a frame, whatever is in the exception.
_MAX_TEXT: Final = 65536  # characters of a message or traceback: the ends are kept
_MAX_VALUE_BYTES: Final = 262144  # one packed argument or attribute
_MAX_RECORD_BYTES: Final = 32 * 2**20  # with all the rest, it must fit a frame
_MAX_BYTES: Final = 8 * 2**20  # all of them, and the texts of a group's members
_MAX_VALUES: Final = 64  # arguments, and attributes
_MAX_GROUP: Final = 50  # members of a group that travel
_MAX_GROUP_DEPTH: Final = 4
_NOT_SENT: Final = frozenset({"args", "obj", "exceptions"})  # C-level attributes sent otherwise; obj is the user's whole object


def own_error(fault: dict[str, Any], *, codec: Codec) -> DspexError | None:
    """Return an error of ours that came as a fault; None of a user's, which is nothing to be rebuilt in the runtime process."""
    error = from_fault(fault, codec=codec) if "dspex" in fault else None
    return error if isinstance(error, DspexError) else None


def to_fault(
    exc: BaseException, *, id: str | None, incarnation: int | None, codec: Codec, retryable: bool | None = None
) -> dict[str, Any]:
    """Return an exception as plain data that any codec packs. Never raises.

    Args:
        exc: The exception; its traceback is rendered with its causes.
        id: Who raised it.
        incarnation: Which incarnation of it; None when the runtime itself did.
        codec: Packs the values; with pickle=True also values and classes that only cloudpickle can carry.
        retryable: Whether the call certainly did not begin. None: what the exception says when the runtime raised it,
            else False (an OverloadedError that a module got from another one says nothing about the call of this one).
    """
    if retryable is None:
        retryable = incarnation is None and isinstance(exc, CallError) and exc.retryable
    fault = _basics(exc, id, incarnation, retryable, _MAX_TEXT)
    record = take_record(exc)
    if record is not None and len(record) <= _MAX_RECORD_BYTES:
        fault["record"] = record
    try:
        return fault | _values(exc, fault, _Room(codec, _MAX_BYTES), _MAX_GROUP_DEPTH)
    except Exception as broken:  # a user's property, metaclass or __getattribute__; who and what is known already
        fault["dropped"].append(f"its arguments and attributes ({type(broken).__name__})")
        return fault | {"args": [], "state": {}, "slots": {}}


def _basics(exc: BaseException, id: str | None, incarnation: int | None, retryable: bool, max_text: int) -> dict[str, Any]:
    cls = type(exc)
    module, qualname = str(cls.__module__), cls.__qualname__
    return {
        "type": qualname if module == "builtins" else f"{module}.{qualname}",
        "module": module,
        "qualname": qualname,
        "message": _clip(_text_of(exc), max_text),
        "traceback": _clip(_traceback_of(exc), max_text),
        "id": id,
        "incarnation": incarnation,
        "retryable": retryable,
        "dropped": [],
        "notes": [_clip(note, max_text) for note in _notes_of(exc)],
    }


def _values(exc: BaseException, fault: dict[str, Any], room: _Room, depth: int) -> dict[str, Any]:
    cls, dropped = type(exc), fault["dropped"]
    args = (exc.message,) if isinstance(exc, BaseExceptionGroup) else exc.args[:_MAX_VALUES]
    if isinstance(exc, DspexError) and getattr(errors, cls.__name__, None) is cls:
        return {"dspex": cls.__name__, "state": _pack_values(exc.to_wire(), room, dropped)}
    values: dict[str, Any] = {
        "args": [_pack_arg(index, value, room, dropped) for index, value in enumerate(args)],
        "state": _pack_values({name: value for name, value in vars(exc).items() if name != "__notes__"}, room, dropped),
        "slots": _pack_values(dict(_slots_of(exc)), room, dropped),
    }
    by_name = find_class(fault["module"], fault["qualname"], may_import=False) is cls and fault["module"] != "__main__"
    if room.codec.pickle and not by_name and (packed := room.pack(cls)) is not None:
        values["class"] = packed
    if isinstance(exc, BaseExceptionGroup):
        values["exceptions"] = _members(exc, fault, room, depth)
    return values


def _members(group: BaseExceptionGroup[BaseException], fault: dict[str, Any], room: _Room, depth: int) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = []
    for exc in group.exceptions[: _MAX_GROUP if depth else 0]:
        # Their texts are in the group's own traceback already.
        member = _basics(exc, fault["id"], fault["incarnation"], fault["retryable"], _MAX_TEXT // 16)
        if not room.take(len(member["message"]) + len(member["traceback"])):
            break
        members.append(member | _values(exc, member, room, depth - 1))
    missing = len(group.exceptions) - len(members)
    if missing:
        fault["dropped"].append(f"{missing} of {len(group.exceptions)} exceptions of the group")
    return members


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:  # a user's __str__
        return f"<its __str__ raised {type(broken).__name__}>"


def _traceback_of(exc: BaseException) -> str:
    if exc.__traceback__ is None and exc.__cause__ is None:
        return ""  # made, not raised: there is nothing to show but the message
    try:
        shown = traceback.TracebackException(type(exc), exc, exc.__traceback__)
        if isinstance(exc, DspexError):
            shown.__notes__ = None  # the hint is the rebuilt error's to show
        return "".join(shown.format())
    except Exception as broken:  # a user's __str__ or __notes__, or a chain that is too deep
        return f"<rendering the traceback raised {type(broken).__name__}>"


def _notes_of(exc: BaseException) -> list[str]:
    notes = getattr(exc, "__notes__", None)
    return [note for note in notes[:_MAX_VALUES] if isinstance(note, str)] if isinstance(notes, list) else []


def _clip(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size // 2]}\n[... {len(text) - size} characters ...]\n{text[-size // 2 :]}"


def _slots_of(exc: BaseException) -> Iterator[tuple[str, Any]]:
    """Yield attributes kept in C or in __slots__: an OSError's filename, a UnicodeDecodeError's reason."""
    for cls in type(exc).__mro__:
        for name, descriptor in vars(cls).items():
            if isinstance(descriptor, MemberDescriptorType | GetSetDescriptorType) and name not in _NOT_SENT:
                value = getattr(exc, name, None) if not name.startswith("__") else None
                if value is not None:
                    yield name, value


class _Room:
    """What still fits into one fault."""

    def __init__(self, codec: Codec, left_bytes: int) -> None:
        self.codec = codec
        self.left_bytes = left_bytes

    def take(self, size: int) -> bool:
        if size > self.left_bytes:
            return False
        self.left_bytes -= size
        return True

    def pack(self, value: Any) -> bytes | None:
        try:
            packed = self.codec.pack([value])
        except Exception:  # it is dropped, and named as dropped by the caller
            return None
        return packed if len(packed) <= _MAX_VALUE_BYTES and self.take(len(packed)) else None


def _pack_arg(index: int, value: Any, room: _Room, dropped: list[str]) -> bytes:
    packed = room.pack(value)
    if packed is None:
        dropped.append(f"args[{index}] ({type(value).__name__})")
        packed = room.codec.pack([f"<{type(value).__name__} that could not be sent>"])  # the others keep their places
    return packed


def _pack_values(values: dict[str, Any], room: _Room, dropped: list[str]) -> dict[str, bytes]:
    result = {}
    for name, value in list(values.items())[:_MAX_VALUES]:
        packed = room.pack(value)
        if packed is None:
            dropped.append(f"{name} ({type(value).__name__})")
        else:
            result[str(name)] = packed
    if len(values) > _MAX_VALUES:
        dropped.append(f"{len(values) - _MAX_VALUES} more attributes")
    return result
