"""The calls for one item of a parallel run: the first that is through ends the others, and they return what it returned."""

from __future__ import annotations

import threading
from typing import Any

import dspy
import pytest

from dspex_runtime.modules.relay import stragglers as relay_stragglers
from dspex_runtime.modules.relay.stragglers import item_of_caller, run


class Seen(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []

    def forward(self, n: Any = None) -> Any:
        self.items.append(item_of_caller())
        return dspy.Prediction(n=n)


class Around(dspy.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, n: Any) -> Any:
        return self.inner(n=n)


EXAMPLES = [dspy.Example(n=n).with_inputs("n") for n in range(3)]


def test_an_item_is_known_where_the_call_is_all_of_it() -> None:
    seen = Seen()
    seen.batch(EXAMPLES, num_threads=2, disable_progress_bar=True)
    dspy.Parallel(num_threads=2, disable_progress_bar=True)([(seen, {"n": n}) for n in range(3)])
    dspy.Evaluate(devset=EXAMPLES, metric=lambda *_: True, num_threads=2)(seen)
    assert [sorted(item[1] for item in seen.items[at : at + 3]) for at in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len({item[0] for item in seen.items[:3]}) == 1, "one run"


def test_elsewhere_there_is_none() -> None:
    seen = Seen()
    seen(n=1)
    Around(seen).batch(EXAMPLES, num_threads=2, disable_progress_bar=True)
    thread = threading.Thread(target=seen)
    thread.start()
    thread.join()
    assert seen.items == [None] * 5


class FakeStream:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_the_loser_is_closed_and_returns_what_the_winner_returned() -> None:
    began, found = threading.Event(), []

    def slow(racer: Any) -> Any:
        racer.stream = FakeStream()
        began.set()
        assert racer.stream.closed.wait(10)
        raise OSError("closed")

    thread = threading.Thread(target=lambda: found.append(run((1, 2), slow)))
    thread.start()
    assert began.wait(10)
    assert run((1, 2), lambda _: "first") == "first"
    thread.join()
    assert found == ["first"]
    assert relay_stragglers._running == {}


def test_other_items_and_failures_end_nobody() -> None:
    def nested(racer: Any) -> Any:
        racer.stream = FakeStream()
        assert run((1, 3), lambda _: "other") == "other"
        with pytest.raises(ValueError, match="broken"):
            run((1, 2), fails)
        assert not racer.stream.closed.is_set()
        return "mine"

    def fails(_: Any) -> Any:
        raise ValueError("broken")

    assert run((1, 2), nested) == "mine"
    assert relay_stragglers._running == {}
