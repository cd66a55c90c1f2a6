"""Images given to processes that are at rest: all take theirs or none has, whoever refuses or ends."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.node.composites.putting_back import PuttingBack, give_late
from helpers.fake_family import IDS, Family, image

NUMBERS = {id: place for place, id in enumerate(IDS, 3)}


class Play:
    """One, of the whole family."""

    def __init__(self, family: Family, **options: Any) -> None:
        self.family = family.boot()
        self.done: list[tuple[Any, Any, Any]] = []
        processes = {record.id: record.process for record in family.records() if record.process is not None}
        images, before = ({id: image(f"{word} {id}") for id in IDS} for word in ("new", "old"))
        self.putting = PuttingBack(
            family.node, processes, images, before, numbers=NUMBERS, who="me", keep=7,
            done=lambda *answer: self.done.append(answer), **options,
        )  # fmt: skip
        self.putting.begin()

    def end(self, id: str) -> None:
        """It ends before it answers."""
        process = self.family.process(id)
        _, _, _, answer = process.requests.pop(0)
        process.serving = False
        answer(None, {"message": "it ended"})


@pytest.fixture
def play(family: Family) -> Play:
    return Play(family)


def test_one_after_the_other_takes_its_own(family: Family, play: Play) -> None:
    for place, id in enumerate(IDS):
        assert [each for each in IDS if "restore" in family.process(each).asked] == [id]
        assert play.done == []
        assert family.answer(id, "restore", {"k": place}) == {"who": "me", "held": True}
    assert play.done == [({id: {"k": place} for place, id in enumerate(IDS)}, None, None)]
    play.putting.close()


def test_each_is_told_what_is_its_own(family: Family) -> None:
    Play(family, asked={"qa": {"share": 1}})
    assert family.restored("qa") == {"who": "me", "share": 1, "held": True}
    assert family.restored("qa/near") == {"who": "me", "held": True}


def test_when_one_refuses_those_before_it_are_given_back_what_they_were(family: Family, play: Play) -> None:
    family.restored("qa")
    family.restored("qa/near")
    family.restored("qa/near/rank", "too large")
    assert play.done == []
    for id in ("qa/near", "qa"):
        assert family.restored(id) == {"who": "me, taken back", "held": True}
    assert play.done == [({}, {"message": "too large"}, "qa/near/rank")]
    assert not play.putting.has_ended
    assert family.process("qa/far").asked == []
    settled: list[bool] = []
    play.putting.undone(lambda: settled.append(True))
    assert settled == [True]
    play.putting.close()


def test_all_of_it_can_be_taken_back(family: Family, play: Play) -> None:
    for id in IDS:
        family.restored(id)
    play.putting.undo({"message": "the disk is full"}, "qa")
    for id in reversed(IDS):
        family.restored(id)
    assert play.done[1:] == [({}, {"message": "the disk is full"}, "qa")]
    play.putting.close()


def test_one_that_cannot_be_given_back_is_reported_and_the_others_are(family: Family, play: Play) -> None:
    family.restored("qa")
    family.restored("qa/near", "too large")
    family.restored("qa", "it cannot")
    assert play.done == [({}, {"message": "too large"}, "qa/near")]
    assert [event["message"] for event in family.events("restore_failed")] == [
        "'qa' could not be given back what it was: it cannot"
    ]
    play.putting.close()


def test_what_ended_meanwhile_is_given_back_when_it_serves_again(family: Family, play: Play) -> None:
    family.restored("qa")
    play.end("qa/near")
    family.restored("qa")
    assert play.putting.has_ended
    settled: list[bool] = []
    play.putting.undone(lambda: settled.append(True))
    family.has("qa/near", "rank")
    family.runtime.crash("qa/near")
    assert settled == []
    assert family.restored("qa/near") == {"who": "me, taken back"}
    assert settled == [True]
    play.putting.close()


def late(family: Family, *ids: str) -> list[bool]:
    done: list[bool] = []
    give_late(family.node, {id: image(id) for id in ids}, NUMBERS, who="me", keep=7, done=lambda: done.append(True))
    return done


def test_what_is_down_for_good_has_it_at_its_next_start(family: Family) -> None:
    family.boot().runtime.owner.begin("stop", id="qa/far")
    family.runtime.turn()
    family.runtime.keeper.answers["restore_stopped"] = {"restored": [], "newest": []}
    done = late(family, "qa/far")
    family.runtime.turn()
    assert family.runtime.keeper.of("restore_stopped") == [{"members": [["qa/far", NUMBERS["qa/far"]]], "who": "me", "keep": 7}]
    assert done == [True]


def test_what_was_deleted_has_nothing_and_what_refuses_is_reported(family: Family) -> None:
    family.boot()
    before = len(os.listdir("/proc/self/fd"))
    done = late(family, "qa/gone", "qa")
    assert done == []
    family.restored("qa", "no")
    assert done == [True]
    assert [event["id"] for event in family.events("restore_failed")] == ["qa"]
    assert late(family) == [True]
    assert len(os.listdir("/proc/self/fd")) == before
