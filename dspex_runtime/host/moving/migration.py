"""What a state of another version is in this one: the user's `migrate` or `code_change`, given what was kept, and what it returned.

    a server        state -> state
    a module        {"params": {name: value}, "state": what get_state() returned, or None} -> the same shape

A parameter that comes back as it was counts as not touched: it stays as it would without a migration, also where nobody has set
it and the new class has another default. Whatever is wrong is a SwapError ("migrate") that says what, with the user's traceback.
Owns no parameter and no process: values come in, and what is to become of them goes out.
"""

from __future__ import annotations

import inspect
import pickle
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ConstraintViolationError, DspexError, SwapError
from dspex_runtime.host.causes import error_text, without_own_frames
from dspex_runtime.params import values
from dspex_runtime.params.constraints import shown, without_promise
from dspex_runtime.params.missing import no_parameter

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.wire.codec import Codec

__all__ = [
    "MIGRATE", "Change", "Migrated", "change_of", "checked", "chosen", "migrated", "opened", "refused", "run", "taken",
    "undeclared",
]  # fmt: skip

MIGRATE: Final = "migrate"  # code of the SwapError
_PARAMS: Final = "params"
_STATE: Final = "state"

Change = Callable[[Any], Any]  # from the state before to the state after


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration made of a module's state.

    Attributes:
        params: Values that are to be set, by name.
        dropped: Names that are to be what a new module has.
        state: For the module's set_state.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    dropped: Collection[str] = ()
    state: Any = None


def chosen(migrate: bytes | None, hosted: Hosted, old_version: Any, extra: bytes | None, id: str) -> Change | None:
    """Return what is to be run: what the caller gave, else the class's own code_change; None: neither.

    Args:
        migrate: A pickled function; called with as many of (old_version, state, extra) as it takes: the state alone, the version
            and the state, or all three.
        hosted: Of the new version.
        old_version: Of the version before; ("down", version) where this is that version.
        extra: Pickled, for the function.
        id: Of the module.

    Raises:
        SwapError: It cannot be rebuilt here, or cannot be called like that.
    """
    if migrate is None and not hosted.changes_code:
        return None
    given = None if extra is None else opened(extra, "extra", id)
    if migrate is None:
        return lambda state: hosted.code_change(old_version, state, given)
    return change_of(opened(migrate, "migrate", id), old_version, given, id)


def change_of(function: Any, old_version: Any, extra: Any, id: str) -> Change:
    """Return a function of the caller's as a change, by how many arguments it takes.

    Raises:
        SwapError: It takes none, or more than three.
    """
    for arguments in (("state",), ("old_version", "state"), ("old_version", "state", "extra")):
        if _takes(function, len(arguments)):
            known = {"old_version": old_version, "extra": extra}
            return lambda state: function(*(state if name == _STATE else known[name] for name in arguments))
    text = f"migrate of {id!r} takes (state), (old_version, state) or (old_version, state, extra), not {_signature(function)}"
    raise SwapError(text, code=MIGRATE, id=id)


def migrated(change: Change, params: Mapping[str, bytes], state: Any, codec: Codec, *, what: str, id: str) -> Migrated:
    """Run a change over a module's state.

    Args:
        change: What is run.
        params: Encoded values of the version before.
        state: What its get_state() returned, or None.
        codec: Of this process.
        what: Is run, for errors.
        id: Of the module.

    Raises:
        SwapError: It raised, or returned something else than that shape; a value is of a class that is not found here.
    """
    before: dict[str, Any] = {}
    for name, data in params.items():
        try:
            before[name] = values.decode(codec, data)
        except (DspexError, ValueError, TypeError) as exc:
            raise SwapError(f"the value of {name} of {id!r} cannot be read here: {error_text(exc)}", code=MIGRATE, id=id) from None
    result = run(lambda: change({_PARAMS: before, _STATE: state}), what, id)
    return taken(result, params, codec, what=what, id=id)


def run(function: Callable[[], Any], what: str, id: str, *, code: str = MIGRATE) -> Any:
    """Return what a function of the user's returns; whatever it raises, exit() included, is a SwapError with its traceback."""
    try:
        return function()
    except SwapError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        raise refused(exc, what, id, code=code) from None


def refused(exc: BaseException, what: str, id: str, *, code: str = MIGRATE) -> SwapError:
    """Return the error for what the user's code raised, or for a value that was refused: which, why, and its traceback."""
    if isinstance(exc, ConstraintViolationError):
        return SwapError(f"{what}: {without_promise(exc)}", code=code, id=id, hint=exc.hint)
    exc.__traceback__ = without_own_frames(exc.__traceback__)
    return SwapError(f"{what} failed: {error_text(exc)}", code=code, id=id, remote_traceback=_traceback(exc))


def undeclared(name: str, declared: Collection[str], what: str, id: str) -> SwapError:
    """Return the error for a parameter that a migration set and nobody declares."""
    return SwapError(f"{what} set a parameter that is not there: {no_parameter(name, declared, id)}", code=MIGRATE, id=id)


def checked(result: Any, what: str, id: str) -> Mapping[str, Any]:
    """Return what was returned for a module, which has the shape. Raises SwapError."""
    if not isinstance(result, Mapping) or not isinstance(result.get(_PARAMS), Mapping) or _STATE not in result:
        shape = 'what it was given: {"params": {name: value}, "state": ...}'
        text = f"{what} of {id!r} is to return {shape}; got {shown(result)} ({type(result).__name__})"
        raise SwapError(text, code=MIGRATE, id=id)
    for name in result[_PARAMS]:
        if not isinstance(name, str):
            raise SwapError(f"{what} of {id!r} returned a parameter named {shown(name)}; names are text", code=MIGRATE, id=id)
    return result


def taken(result: Any, before: Mapping[str, bytes], codec: Codec, *, what: str, id: str) -> Migrated:
    """Return what was returned for a module, compared with the encoded values that it had before. Raises SwapError."""
    found = checked(result, what, id)
    params = {name: value for name, value in found[_PARAMS].items() if name not in before or _differs(before[name], value, codec)}
    return Migrated(params, [name for name in before if name not in found[_PARAMS]], found[_STATE])


def _differs(before: bytes, value: Any, codec: Codec) -> bool:
    try:
        if values.encode(codec, value) == before:
            return False
        old = values.decode(codec, before)
        return not bool(old == value) or repr(old) != repr(value)  # 1 == 1.0 == True
    except Exception:  # what cannot be encoded or compared is another one: setting it says what is wrong
        return True


def opened(data: bytes, what: str, id: str, *, code: str = MIGRATE) -> Any:
    """Return what the caller has sent along. Raises SwapError where it cannot be rebuilt here."""
    try:
        return pickle.loads(data)
    except BaseException as exc:
        raise refused(exc, f"{what}, rebuilt in the new version of {id!r},", id, code=code) from None


def _takes(function: Any, n: int) -> bool:
    """Return whether a function can be called with n arguments; of one without a signature, that it takes the state."""
    try:
        inspect.signature(function).bind(*range(n))
    except TypeError:
        return False
    except ValueError:
        return n == 1
    return True


def _signature(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return shown(function)


def _traceback(exc: BaseException) -> str | None:
    if exc.__traceback__ is None and exc.__cause__ is None:
        return None
    try:
        return "".join(traceback.format_exception(exc)).rstrip()
    except Exception:  # a user's __str__
        return None
