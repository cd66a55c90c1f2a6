"""An owner put back with its parts: what is asked of whom, what is saved when, and that it is all of it or nothing."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, DspexError
from dspex_runtime.node.composites.restoring import Restoring, running
from dspex_runtime.wire.faults import from_fault
from helpers.fake_family import HELD, IDS, Family

INFO = {"number": 3, "created_at": 5.0, "kind": "manual", "size": 9, "version": None, "note": None, "parts": {}, "of": None}

UNSAVED = "'qa' and its parts are put back to checkpoint 3, but there is no checkpoint of that: disk full"


class Play:
    """One restore of the family."""

    def __init__(self, family: Family, ids: tuple[str, ...] = IDS) -> None:
        self.family, self.runtime = family, family.runtime
        self.done: list[tuple[Any, Any]] = []
        record = family.node.registry.resolve("qa")
        self.restoring = Restoring(family.node, record, 3, 7, lambda info, fault: self.done.append((info, fault)))
        self.restoring.begin()
        self.runtime.turn()
        keeper = self.runtime.keeper
        assert keeper.of("images")[-1] == {"id": "qa", "number": 3}
        fds = [os.memfd_create("image") for _ in ids]
        keeper.answer(keeper.question("images"), [{**INFO, "id": id} for id in ids], fds)
        for fd in fds:
            os.close(fd)
        self.runtime.turn()

    def kinds(self) -> list[str]:
        return [args["kind"] for args in self.runtime.keeper.of("checkpoint")]

    def error(self) -> DspexError:
        ((info, fault),) = self.done
        assert info is None
        error = from_fault(fault)
        assert isinstance(error, DspexError)
        return error

    def to_the_images(self) -> Play:
        """All have theirs, and are to say what they are now."""
        self.family.hold()
        self.family.images()
        for id in HELD:
            self.family.restored(id)
        return self


def test_all_are_put_back_while_they_are_held_and_saved_before_and_after(family: Family) -> None:
    play = Play(family.boot())
    assert family.hold() == HELD
    assert {args["kind"] for args in family.images()} == {"before_restore"}
    assert play.kinds() == ["before_restore"]
    for id in HELD:
        assert family.restored(id) == {"who": "restore of checkpoint 3", "held": True}
    assert {args["kind"] for args in family.images()} == {"restored"}
    assert play.kinds() == ["before_restore", "restored"]
    assert play.done == [({**INFO, "id": "qa"}, None)]
    assert family.released()
    assert [event["number"] for event in family.events("restored") if "number" in event] == [3]


def test_nothing_is_put_back_that_was_not_saved_before(family: Family) -> None:
    play = Play(family.boot())
    del play.runtime.keeper.answers["checkpoint"]
    family.hold()
    family.images()
    play.runtime.keeper.refuse(play.runtime.keeper.question("checkpoint"), CheckpointError("disk full"))
    play.runtime.turn()
    assert str(play.error()) == "disk full"
    assert family.released()
    assert not any("restore" in family.process(id).asked for id in IDS)


def test_where_one_refuses_all_are_what_they_were(family: Family) -> None:
    play = Play(family.boot())
    family.hold()
    family.images()
    family.restored("qa")
    family.restored("qa/far", "too large")
    assert not family.released()
    assert family.restored("qa")["who"] == "restore of checkpoint 3, taken back"
    assert play.done == [(None, {"message": "too large"})]
    assert family.released()
    assert play.kinds() == ["before_restore"]


def test_where_they_cannot_say_what_they_are_all_are_what_they_were(family: Family) -> None:
    play = Play(family.boot()).to_the_images()
    family.images(fault="ended")
    for id in reversed(HELD):
        family.restored(id)
    assert play.done == [(None, {"message": "ended"})]
    assert family.released()


def test_they_go_on_only_when_it_is_on_the_disk(family: Family) -> None:
    play = Play(family.boot()).to_the_images()
    del play.runtime.keeper.answers["checkpoint"]
    family.images()
    assert not family.released()
    play.runtime.keeper.refuse(play.runtime.keeper.question("checkpoint"), CheckpointError("disk full"))
    play.runtime.turn()
    assert family.released()
    assert str(play.error()) == UNSAVED
    assert [event["number"] for event in family.events("restored") if "number" in event] == [3]


def test_one_that_ended_is_given_it_again_also_when_it_is_not_on_the_disk(family: Family) -> None:
    play = Play(family.boot()).to_the_images()
    del play.runtime.keeper.answers["checkpoint"]
    family.images()
    family.process("qa/far").serving = False
    play.runtime.keeper.refuse(play.runtime.keeper.question("checkpoint"), CheckpointError("disk full"))
    play.runtime.turn()
    assert play.done == []
    family.runtime.crash("qa/far")
    assert family.restored("qa/far") == {"who": "restore of checkpoint 3"}
    assert str(play.error()) == UNSAVED


def test_what_is_put_back_alone_and_not_saved_is_said_to_be(family: Family) -> None:
    play = Play(family.boot(), ids=("qa",))
    family.images("qa")
    family.answer("qa", "restore", {})
    family.images("qa", fault="get_state raised")
    text = "'qa' is put back to checkpoint 3, but there is no checkpoint of that: get_state raised"
    assert str(play.error()) == text
    assert play.error().hint == "`rt.checkpoint('qa')` makes one"


def test_one_that_ended_in_the_meantime_is_given_it_again(family: Family) -> None:
    play = Play(family.boot()).to_the_images()
    del play.runtime.keeper.answers["checkpoint"]
    family.images()
    family.process("qa/far").serving = False
    asked = play.runtime.keeper.of("checkpoint")[-1]
    play.runtime.keeper.answer(play.runtime.keeper.question("checkpoint"), family.stored(asked))
    play.runtime.turn()
    assert play.done == []
    family.runtime.crash("qa/far")
    assert family.restored("qa/far") == {"who": "restore of checkpoint 3"}
    assert play.done == [({**INFO, "id": "qa"}, None)]


def test_what_does_not_come_to_rest_stays_as_it_is(family: Family) -> None:
    play = Play(family.boot())
    family.answer("qa", "hold", {"running": 1, "open": 0})
    assert play.error().code == "busy"


class TestSomeDoNotRun:
    def stop(self, family: Family, id: str) -> Family:
        family.boot().runtime.owner.begin("stop", id=id)
        for _ in IDS:  # an owner's parts are stopped after it
            family.runtime.turn()
        newest = [{**INFO, "id": id, "number": 9, "kind": "restored"}]
        family.runtime.keeper.answers["restore_stopped"] = {"restored": [], "newest": newest}
        return family

    def test_those_are_put_back_for_their_next_start(self, family: Family) -> None:
        play = Play(self.stop(family, "qa/far"))
        there = ("qa", "qa/near", "qa/near/rank")
        family.hold(*there)
        family.images(*there)
        for id in there:
            family.restored(id)
        family.images(*there)
        play.runtime.turn()
        assert play.runtime.keeper.of("restore_stopped") == [{"members": [["qa/far", 3]], "who": "restore", "keep": 7}]
        assert play.done == [({**INFO, "id": "qa"}, None)]
        assert play.runtime.keeper.of("checkpoint")[-1]["parts"] == ["qa/near", "qa/near/rank"]

    def test_where_those_cannot_be_all_are_what_they_were(self, family: Family) -> None:
        play = Play(self.stop(family, "qa/far"))
        del play.runtime.keeper.answers["restore_stopped"]
        there = ("qa", "qa/near", "qa/near/rank")
        family.hold(*there)
        family.images(*there)
        for id in there:
            family.restored(id)
        family.images(*there)
        play.runtime.keeper.refuse(play.runtime.keeper.question("restore_stopped"), CheckpointError("too old"))
        play.runtime.turn()
        for id in reversed(there):
            family.restored(id)
        assert str(play.error()) == "too old"
        assert family.released()

    def test_an_owner_that_does_not_run_is_put_back_with_its_parts(self, family: Family) -> None:
        play = Play(self.stop(family, "qa"))
        play.runtime.turn()
        members = [[id, 3] for id in IDS]
        assert play.runtime.keeper.of("restore_stopped") == [{"members": members, "who": "restore", "keep": 7}]
        assert play.done == [({**INFO, "id": "qa"}, None)]


def test_what_is_not_there_any_more_is_left_out_and_that_is_said(family: Family) -> None:
    play = Play(family.boot(), ids=("qa", "qa/gone", "qa/far"))
    assert family.hold("qa", "qa/far") == ["qa", "qa/far"]
    family.images("qa", "qa/far")
    family.restored("qa")
    family.restored("qa/far")
    family.images("qa", "qa/far")
    assert play.done == [({**INFO, "id": "qa"}, None)]
    assert [event["without"] for event in family.events("restored") if "number" in event] == [["qa/gone"]]


def test_a_checkpoint_without_parts_is_put_back_without_a_hold(family: Family) -> None:
    play = Play(family.boot(), ids=("qa",))
    assert family.images("qa") == [{"kind": "before_restore"}]
    assert family.answer("qa", "restore", {}) == {"who": "restore of checkpoint 3"}
    family.images("qa")
    play.runtime.turn()
    assert play.done == [({**INFO, "id": "qa"}, None)]


def test_one_that_neither_runs_nor_is_stopped_cannot_be_put_back(family: Family) -> None:
    family.boot()
    family.runtime.launcher.script["qa/far"] = ["hang"]
    family.runtime.crash("qa/far")
    play = Play(family)
    assert str(play.error()) == "'qa/far' is STARTING: it is neither running nor stopped"
    with pytest.raises(CheckpointError, match="'qa/far' is STARTING"):
        running(family.node.registry.resolve("qa/far"))
    assert running(family.node.registry.resolve("qa")) is not None
