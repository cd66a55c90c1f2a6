"""The board: fields by name, slots lowest first, one memory for all who attach."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator

import pytest

from dspex_runtime.osproc import board as subject
from dspex_runtime.osproc.board import BEGUN, EXPECTED_BY, LAST_NS, N_SLOTS, NO_DEADLINE, QUEUED, RUNNING, Board


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create()
    yield board
    board.close()


def test_slots_are_given_lowest_first_and_never_slot_zero(board: Board) -> None:
    assert [board.allocate() for _ in range(4)] == [1, 2, 3, 4]
    board.free(3)
    board.free(2)
    assert [board.allocate() for _ in range(3)] == [2, 3, 5]


def test_a_slot_is_zeroed_when_it_is_given_again(board: Board) -> None:
    slot = board.slot(board.allocate())
    for field in range(8):
        slot.set(field, field + 1)
    board.free(1)
    assert board.slot(board.allocate()).snapshot() == (0,) * 8


@pytest.mark.parametrize("value", [0, 1, NO_DEADLINE, 2**64 - 1])
def test_a_field_holds_any_unsigned_64_bit_value(board: Board, value: int) -> None:
    slot = board.slot(7)
    slot.set(EXPECTED_BY, value)
    assert slot.get(EXPECTED_BY) == value
    assert board.slot(7).snapshot() == (value, 0, 0, 0, 0, 0, 0, 0)


def test_neighbours_do_not_overlap(board: Board) -> None:
    board.slot(5).set(QUEUED, 2**64 - 1)
    board.slot(6).set(EXPECTED_BY, 2**64 - 1)
    board.slot(5).add(RUNNING, 3)
    board.slot(5).add(RUNNING, -1)
    assert board.slot(5).snapshot() == (0, 0, 0, 0, 0, 0, 2, 2**64 - 1)
    assert board.slot(6).snapshot() == (2**64 - 1, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(board: Board, value: int) -> None:
    slot = board.slot(1)
    slot.set(LAST_NS, 9)
    with pytest.raises(ValueError, match="memoryview"):
        slot.set(LAST_NS, value)
    assert slot.get(LAST_NS) == 9


@pytest.mark.parametrize("index", [-1, 0, N_SLOTS])
def test_there_is_no_such_slot(board: Board, index: int) -> None:
    with pytest.raises(IndexError, match=str(index)):
        board.slot(index)


@pytest.mark.parametrize("index", [0, 2, N_SLOTS])
def test_only_an_allocated_slot_can_be_freed(board: Board, index: int) -> None:
    board.allocate()
    with pytest.raises(ValueError, match=str(index)):
        board.free(index)
    board.free(1)
    with pytest.raises(ValueError, match="1"):
        board.free(1)


def test_a_full_board_says_so(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "N_SLOTS", 3)
    board.allocate()
    board.allocate()
    with pytest.raises(OSError, match="taken") as caught:
        board.allocate()
    assert caught.value.errno == errno.ENOSPC


def test_who_attaches_sees_the_same_memory(board: Board) -> None:
    other = Board.attach(os.dup(board.fd))
    board.slot(9).set(BEGUN, 5)
    other.slot(9).add(BEGUN, 1)
    assert board.slot(9).get(BEGUN) == 6
    other.close()
    assert board.slot(9).get(BEGUN) == 6


def test_nobody_can_shrink_it_under_the_others(board: Board) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(board.fd, mmap.PAGESIZE)


def test_closing_is_idempotent_and_leaves_a_slot_that_is_still_held_usable() -> None:
    board = Board.create()
    slot = board.slot(1)
    board.close()
    board.close()
    slot.set(BEGUN, 1)
    assert slot.get(BEGUN) == 1
