"""Which edits are refused: those that would reach nobody, on the client's side, and those that fit no predictor, on the host's.

A deep copy of a mirror takes any attribute: dspy's optimizers note what they found on the copies that they make.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import dspy

from dspex_runtime.modules.parts import ITSELF, holds_parts, is_part, parameter_name
from dspex_runtime.params.constraints import refusal

#: Words of nodes that hold parts, see `values`.
WITH_PARTS: Final = ("o", "l", "t", "d")
_DELETED: Final = object()
_watched: Final[WeakKeyDictionary[Any, Mapping[str, Any]]] = WeakKeyDictionary()  # part -> its record; copies are not in there


def watch(part: Any, record: Mapping[str, Any]) -> None:
    """Refuse for this part from now on what its process would not get."""
    _watched[part] = record


def check_part(part: Any, name: str, value: Any = _DELETED) -> None:
    """Raise AttributeError for an attribute of a watched part that can only be changed in its process; see `check_attribute`."""
    record = _watched.get(part)
    if record is not None and not hasattr(type(part), name):
        check_attribute(record, f"the program's {record['name']!r}", name, value)


def check_attribute(record: Mapping[str, Any], whose: str, name: str, value: Any = _DELETED) -> None:
    """Refuse an attribute that is set, or without a value deleted, where nobody would notice.

    Args:
        record: Of the part, see `image`.
        whose: The part, for messages.
        name: Of the attribute.
        value: What it is set to.

    Raises:
        AttributeError: It is a plain attribute of the program, or a part would come or go; says what to do instead.
    """
    if name in record.get("plain", ()):
        raise AttributeError(
            f"{name!r} is a plain attribute of {whose}, in its process, which would not see it changed here: declare it as a "
            f"dx.Parameter to set it from outside, or set it in the program"
        )
    brings = value is not _DELETED and (is_part(value) or holds_parts(value))
    if any(each == name and node[0] in WITH_PARTS for each, node in record["attributes"]):
        if not brings:
            raise AttributeError(
                f"{name!r} is a part of {whose}, in its process, and cannot be taken out from here: assign another part, or "
                f"change the program"
            )
    elif brings and name != ITSELF:  # so dspy's `map_named_predictors` calls a bare Predict
        raise AttributeError(
            f"{name!r} is no part of {whose}, and a new one cannot be added from here, as nothing in its process would call it: "
            f"add it in the program, or keep it elsewhere"
        )


def check_state(part: str, attributes: Mapping[str, Any]) -> None:
    """Refuse attributes that no Predict can have.

    Raises:
        ConstraintViolationError: Says which, what was expected and what came.
    """

    def check(fits: bool, where: str, type: str, value: Any, expected: str) -> None:
        if not fits:
            raise refusal(parameter_name(part), "type", type, value, expected, where=f".{where}")

    if "signature" in attributes:
        signature = attributes["signature"]
        expected = "a dspy.Signature" + (", as dspy.Signature(text) makes one" if isinstance(signature, str) else "")
        check(isinstance(signature, type) and issubclass(signature, dspy.Signature), "signature", "Signature", signature, expected)
    for name in ("demos", "traces", "train"):
        values = attributes.get(name, [])
        check(
            isinstance(values, list | tuple), name, "list", values, "a list" if name != "demos" else "a list of Examples or dicts"
        )
    for index, demo in enumerate(attributes.get("demos", ())):
        check(isinstance(demo, Mapping | dspy.Example), f"demos[{index}]", "dict", demo, "an Example or a dict")
    config = attributes.get("config", {})
    check(isinstance(config, Mapping), "config", "dict", config, "a dict")


def plain(attributes: Mapping[str, Any], nodes: Mapping[str, Any], free: Container[str]) -> list[str]:
    """Return the names of plain attributes: those with no parts in them, but for those that anybody may set."""
    return [
        name
        for name in attributes
        if name not in free and not name.startswith("_dspex") and not (name in nodes and nodes[name][0] in WITH_PARTS)
    ]
