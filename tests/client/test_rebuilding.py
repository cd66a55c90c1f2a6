"""An object is read back into the arguments that made it, or is refused with the one that is missing."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.client.rebuilding import constructor_arguments
from dspex_runtime.errors import UnserialisableError

WHY = UnserialisableError("it holds a socket", path="it.socket")


class Base:
    def __init__(self, metric: Any = None, rounds: int = 1) -> None:
        self.metric, self._rounds = metric, rounds


class Passes(Base):
    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size


class Keeps(Base):
    """Passes nothing on: what its base takes is its own business."""

    def __init__(self, size: int) -> None:
        super().__init__(rounds=9)
        self.size = size


class Forgets:
    def __init__(self, size: int = 3) -> None:
        self.doubled = 2 * size


class Many:
    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes


@pytest.mark.parametrize(
    ("built", "arguments"),
    [
        (Base("m", rounds=2), {"metric": "m", "rounds": 2}),
        (Passes(4, metric="m", rounds=5), {"size": 4, "metric": "m", "rounds": 5}),
        (Keeps(4), {"size": 4}),
    ],
)
def test_arguments_are_read_by_their_names(built: Any, arguments: dict[str, Any]) -> None:
    assert constructor_arguments(built, WHY) == arguments


@pytest.mark.parametrize(("built", "name"), [(Forgets(), "'size'"), (Many(1), r"'\*sizes'")])
def test_what_is_not_kept_is_never_guessed(built: Any, name: str) -> None:
    with pytest.raises(UnserialisableError, match=f"it holds a socket; and .* keeps none that is called {name}") as caught:
        constructor_arguments(built, WHY)
    assert caught.value.path == "it.socket"
