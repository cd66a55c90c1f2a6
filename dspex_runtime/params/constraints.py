"""Whether a value may be a parameter's: its type (`coercion`), its limits, the user's own check. Pure, but for that check.

Never changes what it is given. numpy is imported only where a parameter is an array.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.params.coercion import COERCE, MismatchError, as_array
from dspex_runtime.params.missing import of
from dspex_runtime.params.spec import Constraint, Limit, ParameterSpec, ParameterType

__all__ = ["check", "refusal", "shown", "whose", "without_promise"]

_MUST_BE: Final = " must be "
_PROMISE: Final = ". Nothing was changed"
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def check(spec: ParameterSpec, value: Any, *, name: str = "the value") -> Any:
    """Return the value as it will be stored. Nothing is changed, whatever comes.

    An int is taken for a float, a tuple for a list, a nested list for an array; a bool is no int. An array comes back as a
    read-only copy, so that nobody changes it behind the table's back.

    Raises:
        ConstraintViolationError: It is refused; `.constraint`, `.limit` and `.value` say by what, and the text in words.

    Cost: 0.3 us for a float with two limits.
    """
    try:
        value = as_array(spec, value) if spec.type is ParameterType.ARRAY else COERCE[spec.type](value)
    except MismatchError as exc:
        raise refusal(name, "type", spec.type.value, value, str(exc)) from None
    for limit in spec.constraints:
        expected = _VIOLATED[limit.constraint](value, limit.limit)
        if expected is not None:
            raise _refused_by(limit, name, value, expected)
    if spec.custom is not None:
        _check_custom(spec, value, name)
    return value


def refusal(name: str, constraint: str, limit: Any, value: Any, expected: str, *, where: str = "") -> ConstraintViolationError:
    """Return the error that says which value of which parameter was refused, where in it, and what was expected."""
    came = shown(value)
    plain = value if type(value) in (int, float, bool) or (type(value) is str and len(value) <= 100) else came
    return ConstraintViolationError(
        f"{name}{where}{_MUST_BE}{expected}; got {came} ({type(value).__name__}){_PROMISE}",
        name=name,
        constraint=constraint,
        limit=limit,
        value=plain,
    )


def whose(error: ConstraintViolationError, id: str) -> ConstraintViolationError:
    """Return the error with the id of the module whose parameter it was, in its text too. Once."""
    if error.id is None:
        error.id = id
        name, must_be, rest = error.message.partition(_MUST_BE)
        if must_be:  # else it is one of the user's own
            error.message = f"{name}{of(id)}{must_be}{rest}"
            error.args = (error.message,)
    return error


def without_promise(error: Exception) -> str:
    """Return the text of an error where there is nothing that could have been changed: at a start."""
    return str(error).removesuffix(_PROMISE)


def shown(value: Any) -> str:
    """Return a value as a short text, whatever it is."""
    try:
        return _SHORT.repr(value).replace("\n", " ")
    except Exception:  # an int too long to be written out, a user's __len__
        return f"<{type(value).__name__}>"


# What each limit expects, said only when the value is not so. `not >=` and not `<`: a NaN is within no limit.


def _below(value: Any, limit: Any) -> str | None:
    return None if _holds(value >= limit) else f"at least {limit!r} (min)"


def _above(value: Any, limit: Any) -> str | None:
    return None if _holds(value <= limit) else f"at most {limit!r} (max)"


def _holds(outcome: Any) -> bool:
    return outcome if type(outcome) is bool else bool(outcome.all())


def _no_choice(value: Any, limit: Any) -> str | None:
    return None if value in limit else "one of " + ", ".join(shown(choice) for choice in limit)


def _shorter(value: Any, limit: Any) -> str | None:
    return None if _length(value) >= limit else f"of at least {limit} {_items(value)} (min_length), not {_length(value)}"


def _longer(value: Any, limit: Any) -> str | None:
    return None if _length(value) <= limit else f"of at most {limit} {_items(value)} (max_length), not {_length(value)}"


def _other_length(value: Any, limit: Any) -> str | None:
    return None if _length(value) == limit else f"of exactly {limit} {_items(value)} (length), not {_length(value)}"


def _length(value: Any) -> int:
    return len(value) if getattr(value, "shape", None) != () else 0


def _items(value: Any) -> str:
    return "characters" if isinstance(value, str) else "items"


def _other_shape(value: Any, limit: Any) -> str | None:
    shape = value.shape
    if len(shape) == len(limit) and all(wanted is None or wanted == size for wanted, size in zip(limit, shape, strict=True)):
        return None
    wanted = ", ".join("any" if size is None else str(size) for size in limit)
    return f"an array of shape ({wanted}{',' if len(limit) == 1 else ''}), not {shape}"


def _other_dtype(_value: Any, _limit: Any) -> str | None:
    return None  # the array was made of it, see coercion


def _no_match(value: Any, limit: Any) -> str | None:
    return None if _pattern(limit).fullmatch(value) else f"a text that matches {limit!r} from end to end (pattern)"


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


_VIOLATED: Final[Mapping[Constraint, Callable[[Any, Any], str | None]]] = {
    Constraint.MIN: _below,
    Constraint.MAX: _above,
    Constraint.CHOICES: _no_choice,
    Constraint.MIN_LENGTH: _shorter,
    Constraint.MAX_LENGTH: _longer,
    Constraint.LENGTH: _other_length,
    Constraint.SHAPE: _other_shape,
    Constraint.DTYPE: _other_dtype,
    Constraint.PATTERN: _no_match,
}


def _refused_by(limit: Limit, name: str, value: Any, expected: str) -> ConstraintViolationError:
    """Of an array that breaks min or max, the first item that does is told, not all of them."""
    place = ""
    if getattr(value, "shape", ()) and limit.constraint in (Constraint.MIN, Constraint.MAX):
        import numpy as np

        fine = value >= limit.limit if limit.constraint is Constraint.MIN else value <= limit.limit
        index = tuple(int(i) for i in np.argwhere(~fine)[0])
        place, value = f"[{', '.join(map(str, index))}]", value[index].item()
    return refusal(name, limit.constraint.value, limit.limit, value, expected, where=place)


def _check_custom(spec: ParameterSpec, value: Any, name: str) -> None:
    """Run the user's check: it refuses by returning something false (None is no answer and accepts) or by raising."""
    assert spec.custom is not None
    try:
        outcome = spec.custom(value)
        accepted = outcome is None or bool(outcome)
    except ConstraintViolationError:
        raise
    except Exception as exc:
        why = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        raise refusal(name, "check", spec.custom_name, value, f"accepted by its check {spec.custom_name} ({why})") from exc
    if not accepted:
        raise refusal(name, "check", spec.custom_name, value, f"accepted by its check {spec.custom_name}")
