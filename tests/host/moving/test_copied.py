"""What is given more than once is each time as it was, and the same object where it cannot be copied."""

from __future__ import annotations

import threading
from typing import Any

from dspex_runtime.host.moving.copied import Copied
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_what_is_done_to_one_is_not_in_the_next() -> None:
    value = {"seen": [1]}
    copied = Copied(value, CODEC)
    value["seen"].append(2)
    copied.one()["seen"].append(3)
    assert copied.one() == {"seen": [1]}


def test_what_cannot_be_copied_is_itself() -> None:
    for value in ({"lock": threading.Lock()}, [Unreadable()]):
        assert Copied(value, CODEC).one() is value
