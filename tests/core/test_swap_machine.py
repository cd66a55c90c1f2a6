"""The decisions of one swap, rule by rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from dspex_runtime.core import swap_events as ev
from dspex_runtime.core import swap_instructions as do
from dspex_runtime.core.swap_instructions import SwapPhase
from dspex_runtime.core.swap_machine import SwapMachine

FAULT = {"class": "ValueError"}

# The way of one member, and after each event what is to be done about it, in words.
COURSE: list[tuple[ev.SwapEvent, str]] = [
    (ev.Begin(), "SetTimer start-a snapshot-a show-a-rehearsing"),
    (ev.SnapshotTaken("a"), ""),
    (ev.NewReady("a"), "rehearse-a"),
    (ev.Rehearsed("a"), "show-a-verified hold-a show-a-draining"),
    (ev.Held("a"), "move-a show-a-moving"),
    (ev.Packed("a"), ""),
    (ev.Prepared("a"), "commit-a CancelTimer show-a-done ok"),
]
STAGES = ["new", "starting", "snapshot there", "rehearsing", "draining", "moving", "packed"]
KILLED = "kill-a CancelTimer"
UNDONE = "unhold-a kill-a CancelTimer"


def text(instruction: do.SwapInstruction) -> str:
    match instruction:
        case do.StartNew(member):
            return f"start-{member}"
        case do.TakeSnapshot(member):
            return f"snapshot-{member}"
        case do.KillNew(member):
            return f"kill-{member}"
        case do.ShowPhase(member, phase):
            return f"show-{member}-{phase}"
        case do.Commit(members):
            return f"commit-{'-'.join(members)}"
        case do.Finished(ok, code):
            return "ok" if ok else str(code)
        case do.Rehearse(member) | do.Hold(member) | do.Move(member) | do.Unhold(member):
            return f"{type(instruction).__name__.lower()}-{member}"
        case _:
            return type(instruction).__name__


def words(instructions: Iterable[do.SwapInstruction], *, shown: bool = True) -> str:
    return " ".join(word for word in map(text, instructions) if shown or not word.startswith("show"))


class Swap:
    """A machine, its clock, and what it said last."""

    def __init__(self, members: str = "a", **fields: Any) -> None:
        self.now = 100.0
        self.machine = SwapMachine(list(members), **{"drain_s": 5.0, "deadline": 160.0} | fields)
        self.last: list[do.SwapInstruction] = []

    def tell(self, *events: ev.SwapEvent) -> str:
        """Tell it and return what is to be done, without what is only shown."""
        self.last = [instruction for event in events for instruction in self.machine.handle(event, self.now)]
        return words(self.last, shown=False)

    def verified(self) -> Swap:
        """Bring all members to the end of the rehearsal."""
        self.tell(ev.Begin())
        for member in (view.id for view in self.machine.members):
            self.tell(ev.SnapshotTaken(member), ev.NewReady(member), ev.Rehearsed(member))
        return self

    def finished(self) -> do.Finished:
        assert self.machine.finished is not None
        return self.machine.finished


def test_the_way_of_one_member() -> None:
    swap = Swap()
    assert [(event, words(swap.machine.handle(event, swap.now))) for event, _ in COURSE] == COURSE
    assert swap.machine.finished == do.Finished(ok=True)


def test_the_snapshot_and_the_new_process_may_come_in_any_order() -> None:
    swap = Swap()
    swap.tell(ev.Begin())
    assert swap.tell(ev.NewReady("a")) == ""
    assert swap.tell(ev.SnapshotTaken("a")) == "rehearse-a"


def test_packed_and_prepared_may_come_in_any_order() -> None:
    swap = Swap().verified()
    swap.tell(ev.Held("a"))
    assert swap.tell(ev.Prepared("a")) == ""
    assert swap.tell(ev.Packed("a")) == "commit-a CancelTimer ok"


def test_the_timer_is_set_once_for_the_whole_and_hold_carries_the_drain() -> None:
    swap = Swap("ab", drain_s={"a": 1.0, "b": 2.0})
    swap.tell(ev.Begin())
    assert swap.last.count(do.SetTimer(160.0)) == 1
    swap.verified()
    assert do.Hold("a", 1.0) in swap.last
    swap.tell(ev.Held("a"))
    assert do.Hold("b", 2.0) in swap.last


# several


def test_all_rehearse_side_by_side_are_held_in_order_and_commit_together() -> None:
    swap = Swap("abc")
    assert swap.tell(ev.Begin()) == "SetTimer start-a snapshot-a start-b snapshot-b start-c snapshot-c"
    for member in "cab":
        assert swap.tell(ev.NewReady(member), ev.SnapshotTaken(member)) == f"rehearse-{member}"
    assert swap.tell(ev.Rehearsed("b"), ev.Rehearsed("a")) == ""
    assert swap.tell(ev.Rehearsed("c")) == "hold-a"
    assert swap.tell(ev.Held("b"), ev.Held("c")) == ""  # nobody asked them
    assert swap.tell(ev.Held("a")) == "hold-b"
    assert swap.tell(ev.Held("b")) == "hold-c"
    assert swap.tell(ev.Held("c")) == "move-a move-b move-c"
    assert swap.tell(ev.Packed("c"), ev.Prepared("c"), ev.Packed("a"), ev.Prepared("a"), ev.Packed("b")) == ""
    assert swap.tell(ev.Prepared("b")) == "commit-a-b-c CancelTimer ok"


def test_the_failure_of_one_undoes_all_the_last_held_first() -> None:
    swap = Swap("abc").verified()
    swap.tell(ev.Held("a"))
    assert swap.tell(ev.NewEnded("c", "killed")) == "unhold-b unhold-a kill-a kill-b kill-c CancelTimer move"
    assert swap.finished().member == "c"


def test_while_one_is_held_the_whole_of_it_drains() -> None:
    swap = Swap("ab")
    assert swap.machine.phase is None
    swap.tell(ev.Begin(), ev.NewReady("a"), ev.SnapshotTaken("a"), ev.Rehearsed("a"))
    assert swap.machine.member("a").phase is SwapPhase.VERIFIED
    assert swap.machine.phase is SwapPhase.REHEARSING
    swap.tell(ev.NewReady("b"), ev.SnapshotTaken("b"), ev.Rehearsed("b"))
    assert [view.phase for view in swap.machine.members] == [SwapPhase.DRAINING, SwapPhase.VERIFIED]
    assert swap.machine.phase is SwapPhase.DRAINING
    swap.tell(ev.Held("a"), ev.Held("b"))
    assert swap.machine.phase is SwapPhase.MOVING
    swap.tell(*[kind(member) for member in "ab" for kind in (ev.Packed, ev.Prepared)])
    assert swap.machine.phase is SwapPhase.DONE


# what ends it early

ENDS: list[tuple[ev.SwapEvent, list[str], do.Finished]] = [
    # what comes; the code at each stage; the rest of what is said
    (ev.Failed("a", "verify", "no", FAULT), ["verify"] * 7, do.Finished(False, "", "no", FAULT, "a")),
    (
        ev.NewEnded("a", "killed", FAULT),
        ["move", "start", "start", "migrate", "move", "move", "move"],
        do.Finished(False, "", None, FAULT, "a", "killed"),
    ),
    (
        ev.OldEnded("a", "killed"),
        ["old_ended"] * 7,
        do.Finished(False, "", "'a' ended before it was swapped: killed (SIGKILL)", None, "a", "killed"),
    ),
    (
        ev.OldStopping("a"),
        ["old_ended"] * 7,
        do.Finished(False, "", "'a' was told to stop before it was swapped", None, "a"),
    ),
    (ev.AbortAsked("the client went"), ["aborted"] * 7, do.Finished(False, "", "the client went")),
    (ev.AbortAsked(), ["aborted"] * 7, do.Finished(False, "", "the swap was aborted")),
]


@pytest.mark.parametrize(("event", "codes", "said"), ENDS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("stage", range(7), ids=STAGES)
def test_whatever_ends_it_before_the_commit_undoes_it(stage: int, event: ev.SwapEvent, codes: list[str], said: do.Finished) -> None:
    swap = Swap()
    for earlier, _ in COURSE[:stage]:
        swap.tell(earlier)
    undone = "" if stage == 0 else f"{KILLED} " if stage < 4 else f"{UNDONE} "
    assert swap.tell(event) == undone + codes[stage]
    found = swap.finished()
    assert (found.ok, found.fault, found.member, found.reason) == (False, said.fault, said.member, said.reason)
    assert said.message in (None, found.message)
    for late, _ in COURSE:
        assert swap.tell(late, event, ev.TimerFired()) == ""


@pytest.mark.parametrize("stage", range(1, 7), ids=STAGES[1:])
def test_the_deadline_undoes_it_and_says_what_was_waited_for(stage: int) -> None:
    waits = [
        "the snapshot of the old version and the new version to be ready",
        "the new version to be ready",
        "the new version to migrate and be verified",
        "running calls to end",
        "the old version to hand over and the new version to take over",
        "the new version to take over",
    ]
    swap = Swap()
    for earlier, _ in COURSE[:stage]:
        swap.tell(earlier)
    swap.now = 160.0
    assert swap.tell(ev.TimerFired()) == f"{KILLED if stage < 4 else UNDONE} timeout"
    assert swap.finished().message == f"not swapped within 60.0 s: 'a' waits for {waits[stage - 1]}"
    assert swap.finished().member == "a"


def test_the_deadline_names_all_that_are_late() -> None:
    swap = Swap("abc")
    swap.tell(ev.Begin(), *[kind(member) for member in "abc" for kind in (ev.NewReady, ev.SnapshotTaken)], ev.Rehearsed("a"))
    swap.tell(ev.TimerFired())
    verified = "the new version to migrate and be verified"
    assert swap.finished().message == f"not swapped within 0.0 s: 'b' waits for {verified}; 'c' waits for {verified}"
    assert swap.finished().member == "b"


def test_what_still_runs_after_the_drain_ends_it() -> None:
    swap = Swap("ab").verified()
    swap.tell(ev.Held("a"))
    assert swap.tell(ev.Held("b", running=2)) == "unhold-b unhold-a kill-a kill-b CancelTimer drain_timeout"
    message = "'b' was not drained within 5 s: 2 still running"
    assert swap.finished() == do.Finished(False, "drain_timeout", message, None, "b")


def test_an_end_of_the_new_version_says_what_it_was_about() -> None:
    for stage, about in [(1, "it started"), (3, "it migrated and was verified"), (5, "it waited to take over")]:
        swap = Swap()
        swap.tell(*[event for event, _ in COURSE[:stage]])
        swap.tell(ev.NewEnded("a", ("exit_status", 3)))
        assert swap.finished().message == f"the new version of 'a' ended while {about}: exit status 3"


# what changes nothing


def test_an_answer_that_is_not_awaited_changes_nothing() -> None:
    answers: list[ev.SwapEvent] = [event for event, _ in COURSE[1:]] + [ev.Held("a", running=3)]
    for stage in range(7):
        swap = Swap()
        for earlier, _ in COURSE[:stage]:
            swap.tell(earlier)
        awaited = {1: (ev.SnapshotTaken, ev.NewReady), 2: ev.NewReady, 3: ev.Rehearsed, 4: ev.Held, 5: (ev.Packed, ev.Prepared)}
        before = swap.machine.members
        for answer in answers:
            if not isinstance(answer, awaited.get(stage, ev.Prepared if stage == 6 else ())):
                assert swap.tell(answer) == ""
                assert swap.machine.members == before


def test_it_begins_once() -> None:
    swap = Swap()
    swap.tell(ev.Begin())
    assert swap.tell(ev.Begin()) == ""


def test_a_timer_before_the_beginning_is_none_of_ours() -> None:
    swap = Swap()
    assert swap.tell(ev.TimerFired()) == ""
    assert swap.machine.finished is None


def test_after_the_commit_deaths_are_nobodys_business() -> None:
    swap = Swap()
    swap.tell(*[event for event, _ in COURSE])
    assert swap.tell(ev.OldEnded("a", "killed"), ev.NewEnded("a", "killed"), ev.AbortAsked(), ev.TimerFired()) == ""
    assert swap.finished().ok


@pytest.mark.parametrize(
    ("members", "drain_s"), [([], 1.0), (["a", "b", "a"], 1.0), (["a", "b"], {"a": 1.0}), (["a"], {"a": 1.0, "b": 1.0})], ids=str
)
def test_members_are_given_once_each_with_a_drain(members: list[str], drain_s: Any) -> None:
    with pytest.raises(ValueError, match="each once and each with a drain_s; got"):
        SwapMachine(members, drain_s=drain_s, deadline=1.0)


def test_a_stranger_is_our_bug() -> None:
    with pytest.raises(ValueError, match=r"'x' is no member of this swap; its members: \['a', 'b'\]"):
        Swap("ab").tell(ev.NewReady("x"))


def test_times_and_facts_are_kept() -> None:
    swap = Swap("ab")
    for seconds, events in [
        (0, [ev.Begin()]),
        (2, [kind(member) for member in "ab" for kind in (ev.NewReady, ev.SnapshotTaken)]),
        (1, [ev.Rehearsed("a", {"migrated": True}), ev.Rehearsed("b")]),
        (4, [ev.Held("a")]),
        (1, [ev.Held("b")]),
        (0.5, [kind(member) for member in "ab" for kind in (ev.Packed, ev.Prepared)]),
    ]:
        swap.now += seconds
        swap.tell(*events)
    a, b = swap.machine.members
    assert (a.rehearsal_s, a.drain_s, a.pause_s, a.seconds) == (3.0, 4.0, 0.5, 8.5)
    assert (b.rehearsal_s, b.drain_s, b.pause_s, b.seconds) == (3.0, 1.0, 0.5, 8.5)
    assert (a.rehearsed, b.rehearsed) == ({"migrated": True}, {})
