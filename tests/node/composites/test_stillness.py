"""An owner and its parts come to rest: in which order, what is waited for and for how long, and that all go on after it."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, DspexError
from dspex_runtime.node.composites.stillness import Stillness, callers_first
from dspex_runtime.node.swapping.holding_back import HoldingBack
from helpers.fake_family import HELD, IDS, Family


class Hold:
    """One, of the whole family."""

    def __init__(self, family: Family) -> None:
        self.done: list[DspexError | None] = []
        self.still: Stillness = family.node.composites.held(family.records(), self.done.append)
        self.still.begin()
        family.runtime.turn()

    def why(self) -> str:
        (error,) = self.done
        assert isinstance(error, CheckpointError)
        return str(error)


@pytest.fixture
def hold(family: Family) -> Hold:
    return Hold(family.boot())


def test_callers_are_held_before_those_they_call(family: Family) -> None:
    owner, *below = family.boot().records()
    assert [record.id for record in callers_first(owner, below)] == HELD
    assert Hold(family).done == []
    assert family.hold() == HELD


def test_all_are_sealed_when_the_last_one_is_quiet(family: Family, hold: Hold) -> None:
    for id in HELD[:-1]:
        family.answer(id, "hold", {"running": 0, "open": 0})
        assert not any("seal" in family.process(id).asked for id in IDS)
    family.answer(HELD[-1], "hold", {"running": 0, "open": 0})
    assert [family.process(id).asked for id in IDS] == [["seal"]] * 4
    for id in IDS:
        assert hold.done == []
        family.answer(id, "seal")
    assert hold.done == [None]
    assert list(hold.still.processes) == HELD


def test_what_is_meant_for_them_waits_for_the_release(family: Family, hold: Hold) -> None:
    family.hold()
    answers: list[Any] = []
    family.process("qa/far").request("get_state", {}, None, lambda value, fault: answers.append((value, fault)))
    assert family.process("qa/far").asked == []
    hold.still.release()
    assert [family.process(id).asked for id in ("qa", "qa/far")] == [["unhold"], ["unhold", "get_state"]]
    assert family.released()
    hold.still.release()  # again is nothing
    assert family.process("qa").asked == ["unhold"]


@pytest.mark.parametrize("running", [1, 2])
def test_what_still_runs_after_the_drain_is_busy_and_all_go_on(family: Family, hold: Hold, running: int) -> None:
    family.answer("qa", "hold", {"running": 0, "open": 0})
    family.answer("qa/far", "hold", {"running": running, "open": 0})
    calls = "1 call" if running == 1 else "2 calls"
    assert hold.why() == f"'qa' and its parts did not come to rest within 2 s: 'qa/far' still runs {calls}"
    assert hold.done[0] is not None
    assert hold.done[0].code == "busy"
    assert family.released()
    assert [family.process(id).asked for id in IDS] == [["unhold"], [], [], ["unhold"]]


def test_they_have_one_drain_together(family: Family, hold: Hold) -> None:
    family.runtime.advance(1.5)
    family.answer("qa", "hold", {"running": 0, "open": 0})
    assert family.process("qa/far").requests[0][1] == {"drain_s": 0.5}
    family.runtime.advance(0.4)
    assert hold.done == []


def test_one_that_answers_nobody_is_not_waited_for_for_ever(family: Family, hold: Hold) -> None:
    family.runtime.advance(7.1)
    assert hold.why().endswith("'qa' is not at rest")
    family.answer("qa", "hold", {"running": 0, "open": 0})  # too late
    assert len(hold.done) == 1
    assert family.released()


def test_one_that_cannot_be_held_says_why(family: Family, hold: Hold) -> None:
    family.answer("qa", "hold", None, {"message": "it is about to end"})
    assert hold.why().endswith("'qa' could not be held: it is about to end")
    assert family.released()


def test_a_seal_that_fails_lets_all_go_on(family: Family, hold: Hold) -> None:
    for id in HELD:
        family.answer(id, "hold", {"running": 0, "open": 0})
    family.answer("qa/near", "seal", None, {"message": "an answer is still being sent"})
    assert hold.why().endswith("'qa/near' could not be brought to a stand: an answer is still being sent")
    assert family.released()


def test_one_that_owes_an_answer_gives_it_first(family: Family) -> None:
    family.boot()
    family.process("qa").request("get_state", {}, None, lambda _value, _fault: None)
    hold = Hold(family)
    assert family.process("qa").asked == ["get_state"]
    family.answer("qa", "get_state")
    assert family.process("qa").asked == ["hold"]
    hold.still.release()


def test_one_that_is_held_by_somebody_else_is_waited_for(family: Family) -> None:
    other = family.boot().process("qa").held_back = HoldingBack(family.runtime.loop)
    hold = Hold(family)
    assert family.process("qa").asked == []
    family.process("qa").held_back = None
    other.release(family.process("qa"))  # type: ignore[arg-type]
    family.runtime.turn()
    assert family.hold() == HELD
    assert hold.done == [None]


def test_one_that_is_started_again_is_waited_for(family: Family) -> None:
    family.boot()
    family.runtime.launcher.script["qa/far"] = ["hang"]
    family.runtime.crash("qa/far")
    hold = Hold(family)
    family.answer("qa", "hold", {"running": 0, "open": 0})
    assert hold.done == []
    family.process("qa/far").become_ready()
    family.runtime.turn()
    assert family.hold() == HELD[1:]
    assert hold.done == [None]


def test_one_that_does_not_come_back_in_time_is_busy(family: Family) -> None:
    family.boot()
    family.runtime.launcher.script["qa/far"] = ["hang"]
    family.runtime.crash("qa/far")
    hold = Hold(family)
    family.answer("qa", "hold", {"running": 0, "open": 0})
    family.runtime.advance(7.1)
    assert hold.why().endswith("within 2 s: 'qa/far' is STARTING")
    assert family.released()


def test_one_that_is_down_for_good_is_not(family: Family) -> None:
    family.boot().runtime.owner.begin("stop", id="qa/far")
    family.runtime.turn()
    hold = Hold(family)
    family.answer("qa", "hold", {"running": 0, "open": 0})
    assert hold.why() == "'qa/far' is STOPPED: 'qa' can be saved with all of its parts only"
    assert hold.done[0] is not None
    assert (hold.done[0].code, hold.done[0].hint) == ("checkpoint", "`rt.start('qa/far')` brings it back")


def test_what_is_no_part_any_more_is_left_out(family: Family) -> None:
    family.boot()
    hold = Hold(family)
    family.node.parts._owned["qa"].declared.pop("far")
    assert family.hold("qa", "qa/near", "qa/near/rank") == ["qa", "qa/near", "qa/near/rank"]
    assert hold.done == [None]
    assert list(hold.still.processes) == ["qa", "qa/near", "qa/near/rank"]
