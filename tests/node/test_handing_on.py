"""What came in and could not go out again is not taken."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.node.handing_on import is_tellable, packed_size, told
from dspex_runtime.types import Down, Exit
from dspex_runtime.wire.codec import MAX_EXT_DEPTH, Codec


def tuples(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = (value,)
    return value


def test_the_size_is_that_on_the_wire() -> None:
    assert packed_size(None) == 5
    assert packed_size("x" * 1000) > 1000


def test_a_value_that_cannot_be_wrapped_once_more_is_refused() -> None:
    packed_size(tuples(MAX_EXT_DEPTH - 1))
    Codec().pack([tuples(MAX_EXT_DEPTH)])
    with pytest.raises(UnserialisableError):
        packed_size(tuples(MAX_EXT_DEPTH))


def test_a_tellable_reason_can_be_told_in_every_form() -> None:
    deepest = max((("shutdown", tuples(n)) for n in range(MAX_EXT_DEPTH) if is_tellable(("shutdown", tuples(n)))), key=repr)
    as_failed_start = ("shutdown", ("failed_to_start_child", "a", deepest))
    for message in (Down("a", 1, as_failed_start, 1), Exit("a", 1, as_failed_start), as_failed_start):
        Codec().pack([[[[message]]]])
    assert told(deepest) is deepest


@pytest.mark.parametrize("reason", [5, "no reason", ("shutdown",), [], ("shutdown", tuples(MAX_EXT_DEPTH))])
def test_others_are_none(reason: Any) -> None:
    assert not is_tellable(reason)


def test_what_cannot_be_told_is_said_to_be_so() -> None:
    assert told(("shutdown", tuples(MAX_EXT_DEPTH)))[:2] == ("error", "ExitReason")
