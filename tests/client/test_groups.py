"""Who of a group gets a request: whoever has the least to do, of those that may be called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from dspex_runtime.client.groups import Group, Load, Member
from dspex_runtime.osproc.board import QUEUED, RUNNING, Board
from helpers.waiting import PATIENCE_S


class Pool:
    """Stands for the pipes to one replica."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.after = 0
        self.own = False


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create()
    yield board
    board.close()


@pytest.fixture
def load(board: Board) -> Iterator[Load]:
    load = Load(os.dup(board.fd))
    yield load
    load.close()


def facts(*members: tuple[str, int, int], shares: bool = True, seq: int = 1) -> dict[str, Any]:
    return {"id": "qa", "members": [list(member) for member in members], "shares": shares, "seq": seq}


def group_of(load: Load, *members: tuple[str, int, int]) -> Group:
    pools: dict[str, Any] = {}
    return Group(lambda of: pools.setdefault(of, Pool(of)), load, facts(*members))


THREE = (("qa#0", 1, 1), ("qa#1", 1, 2), ("qa#2", 1, 3))


def taken(group: Group, but: tuple[Member, ...] = ()) -> str | None:
    member = group.take(but)
    return None if member is None else member.id


class TestLoad:
    """What is read from the board."""

    def test_what_runs_and_what_waits_are_counted(self, board: Board, load: Load) -> None:
        slot = board.slot(2)
        slot.set(RUNNING, 2)
        slot.set(QUEUED, 3)
        assert load.of(2) == 5
        assert load.of(1) == 0

    def test_it_cannot_be_written(self, load: Load) -> None:
        with pytest.raises(TypeError):
            load._words[0] = 1

    def test_one_that_was_closed_says_nothing(self, load: Load) -> None:
        load.close()
        load.close()
        assert load.of(1) == 0


class TestTaking:
    """Whose turn it is."""

    def test_each_gets_one_before_any_gets_two(self, load: Load) -> None:
        group = group_of(load, *THREE)
        assert {taken(group) for _ in range(3)} == {"qa#0", "qa#1", "qa#2"}

    def test_what_the_board_says_counts(self, board: Board, load: Load) -> None:
        group = group_of(load, *THREE)
        board.slot(1).set(RUNNING, 1)
        board.slot(3).set(QUEUED, 4)
        assert taken(group) == "qa#1"

    def test_a_request_that_was_not_read_yet_counts_too(self, board: Board, load: Load) -> None:
        group = group_of(load, *THREE[:2])
        assert {taken(group), taken(group)} == {"qa#0", "qa#1"}
        board.slot(1).set(RUNNING, 1)  # of the two the first was read: it counts once
        assert Counter(taken(group) for _ in range(4)) == {"qa#0": 2, "qa#1": 2}

    def test_what_is_over_does_not_count_any_more(self, load: Load) -> None:
        group = group_of(load, *THREE[:2])
        first = group.take()
        assert first is not None
        group.take()
        group.ended(first)
        assert taken(group) == first.id

    @pytest.mark.parametrize("forked", [False, True])
    def test_one_may_end_while_another_is_taken_by_the_same_thread(self, load: Load, forked: bool) -> None:
        """As the garbage collector does it, which finds a stream that nobody holds."""
        group = group_of(load, *THREE[:1])
        if forked:
            group.forked()
        first = group.take()
        assert first is not None

        class Collecting(list[Member]):
            def __contains__(self, member: object) -> bool:
                if first.mine:
                    group.ended(first)
                return False

        taken: list[str | None] = []
        for take in (group.take, group.take_lowest):
            thread = Thread(target=lambda take=take: taken.append(take(Collecting()).id), daemon=True)
            thread.start()
            thread.join(PATIENCE_S)
        assert taken == ["qa#0", "qa#0"]
        assert first.mine == 1

    def test_ties_are_broken_by_chance(self, load: Load) -> None:
        found = {taken(group_of(load, *THREE)) for _ in range(200)}
        assert found == {"qa#0", "qa#1", "qa#2"}

    def test_those_that_were_tried_are_left_out(self, load: Load) -> None:
        group = group_of(load, *THREE)
        assert taken(group, but=group.members[:2]) == "qa#2"
        assert taken(group, but=group.members) is None

    def test_so_is_one_whose_pipes_have_ended(self, load: Load) -> None:
        group = group_of(load, *THREE[:2])
        group.members[0].pool.after = 1
        assert {taken(group) for _ in range(10)} == {"qa#1"}

    def test_so_is_the_process_that_asks_as_long_as_there_are_others(self, load: Load) -> None:
        group = group_of(load, *THREE[:2])
        group.members[0].pool.own = True
        assert {taken(group) for _ in range(10)} == {"qa#1"}
        group.know(facts(THREE[0]))
        assert taken(group) == "qa#0"

    def test_the_lowest_is_the_first_that_may_be_called(self, load: Load) -> None:
        group = group_of(load, *THREE)
        lowest = group.take_lowest()
        assert lowest is group.members[0]
        assert group.take_lowest(but=[group.members[0]]) is group.members[1]
        group.members[0].pool.after = 1
        assert group.take_lowest() is group.members[1]


class TestKnowing:
    """What the runtime says."""

    def test_those_that_stay_keep_what_they_have_to_do(self, load: Load) -> None:
        group = group_of(load, *THREE[:2])
        group.take()
        before = {member.id: member for member in group.members}
        group.know(facts(*THREE))
        assert all(before[member.id] is member for member in group.members[:2])
        assert group.members[2].mine == 0

    def test_another_incarnation_begins_with_nothing(self, load: Load) -> None:
        group = group_of(load, ("qa#0", 1, 1))
        group.take()
        group.know(facts(("qa#0", 2, 4)))
        assert (group.members[0].incarnation, group.members[0].slot, group.members[0].mine) == (2, 4, 0)

    def test_what_is_older_than_what_is_known_is_left(self, load: Load) -> None:
        group = group_of(load, *THREE)
        assert group.know(facts(*THREE[:2], seq=5))
        assert not group.know(facts(*THREE, shares=False, seq=4))
        assert [member.id for member in group.members] == ["qa#0", "qa#1"]
        assert group.shares
        assert group.know(facts(*THREE, seq=6))
        assert len(group.members) == 3

    def test_none_may_be_called_when_none_is_named(self, load: Load) -> None:
        group = group_of(load, *THREE)
        group.know(facts())
        assert group.take() is None
        assert group.take_lowest() is None
