"""The way of one request: on to the next replica for as long as it is given back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.client.groups import Group, Load
from dspex_runtime.client.routing import Route
from dspex_runtime.errors import OverloadedError, ParameterError
from dspex_runtime.osproc.board import Board
from dspex_runtime.wire.messages import FAULT, OVERLOADED, REPLY, RETRY


class Pool:
    """Stands for the pipes to a replica, or for those of the group's id."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.after = 0
        self.own = False
        self.group: Group | None = None


@pytest.fixture
def of() -> Iterator[Any]:
    board = Board.create()
    load = Load(os.dup(board.fd))
    pools: dict[str, Any] = {}
    of = Pool("qa")
    facts = {"id": "qa", "members": [["qa#0", 1, 1], ["qa#1", 1, 2]], "shares": True, "seq": 1}
    of.group = Group(lambda of: pools.setdefault(of, Pool(of)), load, facts)
    yield of
    load.close()
    board.close()


def mine(of: Any) -> list[int]:
    return [member.mine for member in of.group.members]


def test_it_goes_to_somebody_and_is_over(of: Any) -> None:
    route = Route(of)
    member = route.next()
    assert member is not None
    assert sum(mine(of)) == 1
    route.over()
    route.over()
    assert mine(of) == [0, 0]


def test_what_was_given_back_goes_to_another_one(of: Any) -> None:
    route = Route(of)
    first = route.next()
    assert route.given_back([RETRY, 7])
    route.over()
    second = route.next()
    assert {first, second} == set(of.group.members)


def test_when_all_have_given_it_back_it_begins_anew_after_a_pause(of: Any) -> None:
    route = Route(of)
    for _ in of.group.members:
        route.next()
        route.given_back([RETRY, 7])
        route.over()
    assert route.next() is None
    assert route.begin_anew() > 0
    assert route.next() is not None


def test_it_begins_anew_at_once_where_nobody_was_tried(of: Any) -> None:
    assert Route(of).begin_anew() == 0


def test_a_full_mailbox_is_an_error_when_all_others_were_tried(of: Any) -> None:
    route = Route(of)
    for _ in of.group.members:
        route.next()
        assert route.given_back([OVERLOADED, 7, 3])
        route.over()
    assert route.next() is None
    with pytest.raises(OverloadedError) as full:
        route.begin_anew()
    assert (full.value.id, full.value.limit) == ("qa", 3)


@pytest.mark.parametrize("other", ["drains", "cannot"])
def test_one_full_mailbox_is_none_while_another_replica_may_take_it_soon(of: Any, other: str) -> None:
    route = Route(of)
    route.next()
    assert route.given_back([OVERLOADED, 7, 3])
    route.over()
    second = route.next()
    assert second is not None
    if other == "drains":
        assert route.given_back([RETRY, 7])
        route.over()
    else:
        route.cannot(second)
    assert route.next() is None
    assert route.begin_anew() == (0.001 if other == "drains" else 0.0)  # at once the first time, then ever later
    for _ in of.group.members:
        route.next()
        assert route.given_back([OVERLOADED, 7, 3])
        route.over()
    with pytest.raises(OverloadedError):
        route.begin_anew()


@pytest.mark.parametrize("answer", [[REPLY, 7, 1], [FAULT, 7, {}]])
def test_an_answer_is_none_that_sends_it_elsewhere(of: Any, answer: list[Any]) -> None:
    route = Route(of)
    route.next()
    assert not route.given_back(answer)


def test_one_that_takes_no_calls_now_is_not_asked_again(of: Any) -> None:
    route = Route(of)
    first = route.next()
    assert first is not None
    route.cannot(first)
    assert sum(mine(of)) == 0
    assert {route.next() for _ in range(1)} == set(of.group.members) - {first}


def test_a_write_goes_to_the_lowest(of: Any) -> None:
    for _ in range(10):
        assert Route(of, "$set").next() is of.group.members[0]


def test_a_write_is_refused_where_each_has_parameters_of_its_own(of: Any) -> None:
    of.group.shares = False
    with pytest.raises(ParameterError) as refused:
        Route(of, "$set").next()
    assert "qa#0, qa#1" in str(refused.value.hint)
    assert Route(of, "$mirror").next() is of.group.members[0]


def test_nobody_is_asked_where_the_id_is_no_group_any_more(of: Any) -> None:
    route = Route(of)
    route.next()
    of.group = None
    route.over()
    assert route.next() is None
    assert route.take(None) is None
