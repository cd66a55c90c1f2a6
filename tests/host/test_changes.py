"""What the parent hears of changed parameters: what is watched, in order, never at the cost of whoever writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dspex_runtime.host.changes import MAX_VALUE_BYTES, Changes
from dspex_runtime.params import values
from dspex_runtime.types import Change
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class Pipe:
    """The control pipe: takes events until it is told to be full."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.full = False
        self.wakes = 0

    def send(self, event: dict[str, Any]) -> bool:
        if not self.full:
            self.told.append(event)
        return not self.full

    def wake(self) -> None:
        self.wakes += 1

    def versions(self) -> list[tuple[str, int]]:
        return [(event["name"], event["version"]) for event in self.told]


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def changes(pipe: Pipe) -> Changes:
    return Changes(CODEC, pipe.send, pipe.wake)


def change(name: str, version: int, value: Any = 0) -> Change:
    return Change("sup/qa", name, version, value, 12.5, "me")


def test_nothing_is_told_while_nobody_watches(changes: Changes, pipe: Pipe) -> None:
    changes.tell(change("k", 1))
    assert pipe.told == []


def test_a_change_is_told_with_its_value_and_who_made_it(changes: Changes, pipe: Pipe) -> None:
    changes.watch(True)
    changes.tell(change("k", 1, 0.5))
    (event,) = pipe.told
    assert values.decode(CODEC, event.pop("value")) == 0.5
    assert event == {"type": "changed", "name": "k", "version": 1, "when": 12.5, "who": "me"}


WATCHES: dict[str, tuple[bool | list[str], list[str]]] = {
    "all": (True, ["k", "temperature", "top_k"]),
    "none": (False, []),
    "no names": ([], []),
    "one name": (["k"], ["k"]),
    "a pattern": (["t*"], ["temperature", "top_k"]),
    "several": (["k", "*ature"], ["k", "temperature"]),
}


@pytest.mark.parametrize(("watched", "told"), WATCHES.values(), ids=WATCHES.keys())
def test_only_what_is_watched_is_told(changes: Changes, pipe: Pipe, watched: bool | list[str], told: list[str]) -> None:
    changes.watch(watched)
    for name in ("k", "temperature", "top_k"):
        changes.tell(change(name, 1))
    assert [event["name"] for event in pipe.told] == told


BIG = {
    "a long text": "x" * (MAX_VALUE_BYTES + 1),
    "an array": np.zeros(1000),
    "a long list": list(range(2000)),
    "what only its owner can pack": (line for line in ()),
}


@pytest.mark.parametrize("value", BIG.values(), ids=BIG.keys())
def test_a_value_that_does_not_fit_is_left_to_the_table(changes: Changes, pipe: Pipe, value: Any) -> None:
    changes.watch(True)
    changes.tell(change("k", 1, value))
    assert pipe.told[0]["value"] is None


def test_a_full_pipe_holds_nobody_up_and_the_latest_is_told_later(changes: Changes, pipe: Pipe) -> None:
    changes.watch(True)
    pipe.full = True
    for version in (1, 2, 3):
        changes.tell(change("k", version))
    changes.tell(change("other", 1))
    assert changes.waiting
    assert pipe.wakes == 4
    changes.flush()
    assert pipe.told == []
    pipe.full = False
    changes.flush()
    assert pipe.versions() == [("k", 3), ("other", 1)]
    assert not changes.waiting


def test_nothing_overtakes_what_waits(changes: Changes, pipe: Pipe) -> None:
    changes.watch(True)
    pipe.full = True
    changes.tell(change("k", 1))
    pipe.full = False
    changes.tell(change("k", 2))
    assert pipe.told == []
    changes.flush()
    assert pipe.versions() == [("k", 2)]


def test_versions_of_one_name_are_never_told_backwards(changes: Changes, pipe: Pipe) -> None:
    changes.watch(True)
    for version in (2, 1, 3):
        changes.tell(change("k", version))
    assert pipe.versions() == [("k", 2), ("k", 3)]


def test_what_waits_is_forgotten_when_the_last_watcher_leaves(changes: Changes, pipe: Pipe) -> None:
    changes.watch(True)
    pipe.full = True
    changes.tell(change("k", 1))
    changes.watch(False)
    assert not changes.waiting


def test_who_takes_the_place_of_a_process_tells_what_that_has_not(pipe: Pipe) -> None:
    old, new = Pipe(), pipe
    before, after = (Changes(CODEC, each.send, each.wake) for each in (old, new))
    before.watch(["a*"])
    before.tell(change("a1", 2))
    old.full = True
    before.tell(change("a2", 5))
    after.adopt(CODEC.unpack(CODEC.pack([before.contents()]))[0])
    assert (after.waiting, new.wakes) == (True, 1)
    after.flush()
    after.tell(change("a1", 2))
    after.tell(change("a1", 3))
    after.tell(change("b", 3))
    assert new.versions() == [("a2", 5), ("a1", 3)]
