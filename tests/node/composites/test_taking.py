"""What another replica was compiled to, taken by an owner and its parts."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.node.composites.taking import TRIES, Taking
from helpers.fake_family import HELD, Family


class Play:
    """The family takes it."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.told: list[Any] = []
        self.patch = os.memfd_create("patch")
        self.inode = os.fstat(self.patch).st_ino
        Taking(family.node, family.records()[0], self.patch, "compile (X)", self.told.append).begin()
        family.runtime.turn()

    def busy(self) -> None:
        """A call still runs in the owner."""
        self.family.answer("qa", "hold", {"running": 1, "open": 0})
        self.family.runtime.advance(0.6)
        self.family.answer("qa", "unhold")

    def is_closed(self) -> bool:
        try:
            return os.fstat(self.patch).st_ino != self.inode
        except OSError:
            return True


@pytest.fixture
def play(family: Family) -> Play:
    return Play(family.boot())


def take(family: Family) -> None:
    family.hold()
    family.images()
    for id in HELD:
        family.restored(id)
    family.images()


def test_all_have_it_and_are_saved(family: Family, play: Play) -> None:
    take(family)
    assert play.told == [None]
    assert [args["kind"] for args in family.runtime.keeper.of("checkpoint")] == ["before_compile", "compiled"]
    assert family.released()
    assert play.is_closed()


def test_it_is_tried_again_when_they_are_busy(family: Family, play: Play) -> None:
    play.busy()
    assert play.told == []
    take(family)
    assert play.told == [None]


def test_it_is_not_tried_for_ever(family: Family, play: Play) -> None:
    for _ in range(TRIES):
        play.busy()
    assert play.told == [{"message": "'qa' and its parts did not come to rest within 2 s: 'qa' still runs 1 call"}]
    assert family.released()
    assert play.is_closed()


def without_far(family: Family) -> None:
    """One has ended: nobody has it."""
    family.runtime.advance(0.6)
    for id in ("qa", "qa/near", "qa/near/rank"):
        family.answer(id, "unhold")


def test_one_that_ends_is_waited_for(family: Family, play: Play) -> None:
    family.runtime.launcher.script["qa/far"] = ["hang"]
    family.hold()
    family.process("qa/far").serving = False
    family.images(fault="it ended")
    family.runtime.crash("qa/far")
    without_far(family)
    assert play.told == []
    family.process("qa/far").become_ready()
    family.runtime.turn()
    take(family)
    assert play.told == [None]


def test_one_that_is_down_for_good_is_not(family: Family, play: Play) -> None:
    family.hold()
    family.process("qa/far").serving = False
    family.images(fault="it ended")
    family.runtime.owner.begin("stop", id="qa/far")
    family.runtime.turn()
    without_far(family)
    assert play.told == [{"message": "'qa/far' is STOPPED"}]
    assert play.is_closed()
