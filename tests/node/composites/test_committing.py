"""What a compile came to, given to an owner and its parts: at the attempt that succeeds, to all of them or to none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.node.composites.committing import Committing, path_of
from helpers.fake_family import HELD, IDS, Family

PATHS = {"qa": "", "qa/far": "far", "qa/near": "near", "qa/near/rank": "near.rank"}


class Play:
    """One, of the family."""

    def __init__(self, family: Family) -> None:
        self.family, self.runtime = family, family.runtime
        self.patch = os.memfd_create("patch")
        self.begun: list[int] = []
        self.again: list[str] = []
        self.done: list[tuple[Any, Any]] = []
        self.committing = Committing(
            family.node, family.records, self.patch, who="compile (X)", about=lambda: {"note": "X"},
            begun=lambda info: self.begun.append(info["number"]), again=self.again.append,
            done=lambda *answer: self.done.append(answer),
        )  # fmt: skip
        self.attempt()

    def attempt(self) -> None:
        self.committing.attempt()
        self.runtime.turn()

    def kinds(self) -> list[str]:
        return [args["kind"] for args in self.runtime.keeper.of("checkpoint")]


@pytest.fixture
def play(family: Family) -> Iterator[Play]:
    play = Play(family.boot())
    yield play
    os.close(play.patch)


def test_each_is_given_its_share_between_two_checkpoints(family: Family, play: Play) -> None:
    family.hold()
    assert {args["kind"] for args in family.images()} == {"before_compile"}
    assert play.begun == [1]
    for id in HELD:
        share = {"path": PATHS[id], "parts": ["near", "near.rank", "far"]}
        assert family.restored(id) == {"who": "compile (X)", "share": share, "held": True}
    asked = family.images()
    assert asked == [{"kind": "compiled", "held": True, "about": {"note": "X"}}, *[{"kind": "compiled", "held": True}] * 3]
    ((info, fault),) = play.done
    assert (info["number"], info["kind"], list(info["parts"]), fault) == (2, "compiled", list(IDS[1:]), None)
    assert play.committing.versions == {"k": 2, "far.k": 2, "near.k": 2, "near.rank.k": 2}
    assert play.committing.before is not None
    assert play.committing.before["number"] == 1
    assert family.released()


def test_where_one_refuses_all_are_what_they_were(family: Family, play: Play) -> None:
    family.hold()
    family.images()
    family.restored("qa")
    family.restored("qa/far", "no such field")
    assert family.restored("qa") == {"who": "compile (X), taken back", "held": True}
    assert play.done == [(None, {"message": "no such field"})]
    assert play.committing.versions is None
    assert family.released()


def test_what_does_not_come_to_rest_is_tried_again_in_a_moment(family: Family, play: Play) -> None:
    family.answer("qa", "hold", {"running": 1, "open": 0})
    assert play.again == []
    family.runtime.advance(0.6)
    assert play.again == ["'qa' and its parts did not come to rest within 2 s: 'qa' still runs 1 call"]
    family.answer("qa", "unhold")
    play.attempt()
    family.hold()
    family.images()
    for id in HELD:
        family.restored(id)
    family.images()
    assert play.done[0][1] is None


def test_one_that_ends_is_given_back_what_it_was_and_it_is_tried_again(family: Family, play: Play) -> None:
    family.hold()
    family.images()
    family.restored("qa")
    process = family.process("qa/far")
    process.serving = False
    family.restored("qa/far", "it ended")
    family.restored("qa")
    assert family.released()
    family.runtime.crash("qa/far")
    assert family.restored("qa/far") == {"who": "compile (X), taken back"}
    family.runtime.advance(0.6)
    assert (play.again, play.done) == (["it ended"], [])


def test_once_all_have_it_only_the_checkpoint_is_tried_again(family: Family, play: Play) -> None:
    family.hold()
    family.images()
    for id in HELD:
        family.restored(id)
    family.process("qa/far").serving = False
    family.images(fault="it ended")
    family.runtime.crash("qa/far")
    family.runtime.advance(0.6)
    assert (play.again, play.done) == (["it ended"], [])
    for id in ("qa", "qa/near", "qa/near/rank"):
        family.answer(id, "unhold")
    play.attempt()
    family.hold()
    assert {args["kind"] for args in family.images()} == {"compiled"}
    assert play.kinds() == ["before_compile", "compiled"]
    assert play.done[0][1] is None


def test_what_goes_wrong_with_all_of_them_there_ends_it(family: Family, play: Play) -> None:
    family.hold()
    family.images(fault="get_state raised")
    assert play.done == [(None, {"message": "get_state raised"})]
    assert family.released()


@pytest.mark.parametrize("at", ["hold", "images"])
def test_it_can_be_given_up_as_long_as_there_is_a_way_back(family: Family, play: Play, at: str) -> None:
    if at == "images":
        family.hold()
    play.committing.give_up()
    assert family.released()
    if at == "images":
        family.images()
    family.runtime.advance(10.0)
    assert (play.done, play.again, play.begun) == ([], [], [])


def test_a_path_is_what_the_owner_calls_it() -> None:
    assert {id: path_of("qa", id) for id in PATHS} == PATHS
    assert path_of("sup/qa", "sup/qa/near/rank") == "near.rank"
