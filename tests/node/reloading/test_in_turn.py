"""One thing after the other, to the first that fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dspex_runtime.errors import DspexError
from dspex_runtime.node.reloading.in_turn import Action, Done, in_turn


class Played:
    """Actions that answer when they are told to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.waiting: list[Done] = []

    def later(self, name: str) -> Action:
        def action(done: Done) -> None:
            self.log.append(name)
            self.waiting.append(done)

        return action

    def now(self, name: str, error: DspexError | None = None) -> Action:
        def action(done: Done) -> None:
            self.log.append(name)
            done(error)

        return action

    def done(self, error: DspexError | None) -> None:
        self.log.append("done" if error is None else f"failed {error}")


@pytest.fixture
def played() -> Played:
    return Played()


def test_each_waits_for_the_one_before(played: Played) -> None:
    in_turn([played.later("a"), played.now("b"), played.later("c")], played.done)
    assert played.log == ["a"]
    played.waiting[0](None)
    assert played.log == ["a", "b", "c"]
    played.waiting[1](None)
    assert played.log == ["a", "b", "c", "done"]


def test_nothing_is_done_at_once(played: Played) -> None:
    in_turn([], played.done)
    assert played.log == ["done"]


def test_the_first_error_ends_it(played: Played) -> None:
    in_turn([played.now("a", DspexError("no")), played.now("b")], played.done)
    assert played.log == ["a", "failed no"]


def test_one_that_raises_has_failed(played: Played) -> None:
    def bad(done: Done) -> None:
        raise DspexError("no")

    in_turn([played.now("a"), bad, played.now("b")], played.done)
    assert played.log == ["a", "failed no"]


def test_what_is_to_be_done_may_depend_on_what_was(played: Played) -> None:
    def actions() -> Iterator[Action]:
        yield played.now("a")
        played.log.append("looked")
        if "a" in played.log:
            raise DspexError("not after a")
        yield played.now("b")

    in_turn(actions(), played.done)
    assert played.log == ["a", "looked", "failed not after a"]


def test_an_answer_counts_once(played: Played) -> None:
    in_turn([played.later("a"), played.later("b")], played.done)
    played.waiting[0](None)
    played.waiting[0](None)
    assert played.log == ["a", "b"]


def test_many_that_answer_at_once_need_no_stack(played: Played) -> None:
    in_turn([played.now("a")] * 10_000, played.done)
    assert played.log[-1] == "done"
