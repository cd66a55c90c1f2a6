"""The warning is for whoever takes `forward`, not for a call and not for dspy itself."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.modules.discouraged import Discouraged


class Thing:
    @Discouraged
    def forward(self) -> str:
        return "done"

    def __call__(self) -> Any:
        return self.forward()


def test_only_a_stranger_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    thing = Thing()
    assert thing() == "done"
    namespace: dict[str, Any] = {"__name__": "dspy.teleprompt.some", "thing": thing}
    exec("found = object.__getattribute__(thing, 'forward')", namespace)
    assert namespace["found"]() == "done"
    assert caplog.messages == []
    assert thing.forward() == "done"
    assert len(caplog.messages) == 1
    assert "Thing directly is discouraged" in caplog.messages[0]
    assert Thing.forward(thing) == "done", "from the class it is the function"
