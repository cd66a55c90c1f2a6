"""How many descriptors belong to a message."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.host.brought import descriptors
from dspex_runtime.wire import messages as m

MESSAGES: list[tuple[list[Any], int]] = [
    ([m.CHANNEL, 0, {"client": "x"}], 1),
    ([m.PARAM, -3, {}], 1),
    ([m.CONTROL, 5, "restore", {}], 1),
    ([m.CONTROL, 0, "kept", {}], 0),
    ([m.CONTROL, 0, "kept", {"table": True, "volatile": False, "blobs": []}], 1),
    ([m.CONTROL, 0, "kept", {"table": True, "blobs": [["a", 1], ["a", 2]], "volatile": True, "user": True}], 5),
    ([m.CONTROL, 0, "kept_part", {"fds": 16}], 0),
    ([m.CONTROL, 5, "checkpoint", {}], 0),
    ([m.REPLY, -3, None], 0),
    ([m.EVENT, 0, {"type": "message", "message": "x"}], 0),
]


@pytest.mark.parametrize(("message", "n"), MESSAGES)
def test_only_some_messages_bring_any(message: list[Any], n: int) -> None:
    assert descriptors(message) == n
