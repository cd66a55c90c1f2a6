"""The layout: the drawing says what the constants say, and places survive being packed into words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.params import layout

DRAWN = re.findall(r"\b(\d{1,2}) ([A-Z][A-Z_]+)\b", layout.__doc__ or "")


def test_the_drawing_has_the_numbers_of_the_constants() -> None:
    drawn = {name: int(number) for number, name in DRAWN}
    assert len(drawn) == 17
    assert drawn == {name: getattr(layout, name) for name in drawn}


def test_header_and_first_slots_are_a_page_each() -> None:
    assert (layout.EXTENTS + layout.MAX_EXTENTS) * 8 <= layout.HEADER_BYTES
    assert layout.extent_bytes(0) == layout.HEADER_BYTES == 4096


@pytest.mark.parametrize(
    ("number", "extent"),
    [(0, (0, 0)), (31, (0, 31)), (32, (1, 0)), (95, (1, 63)), (96, (2, 0)), (223, (2, 127)), (layout.MAX_SLOTS, (20, 0))],
)
def test_each_extent_has_twice_the_slots_of_the_one_before(number: int, extent: tuple[int, int]) -> None:
    assert layout.extent_of(number) == extent


@pytest.mark.parametrize(("n_bytes", "capacity"), [(0, 64), (1, 64), (64, 64), (65, 128), (128, 128), (4097, 8192), (65536, 65536)])
def test_an_area_is_the_next_power_of_two_and_at_least_a_unit(n_bytes: int, capacity: int) -> None:
    assert 1 << layout.capacity_shift(n_bytes) == capacity


@given(unit=st.integers(1, 2**40), shift=st.integers(6, 16))
def test_an_area_survives_its_word(unit: int, shift: int) -> None:
    assert layout.area_place(layout.area_word(unit * layout.UNIT, shift)) == (unit * layout.UNIT, 1 << shift)


def test_no_area_is_word_zero() -> None:
    assert layout.area_place(0) == (0, 0)


@given(offset=st.integers(0, 2**47), n_bytes=st.integers(1, layout.NAME_MAX))
def test_a_name_survives_its_word(offset: int, n_bytes: int) -> None:
    assert layout.name_place(layout.name_word(offset, n_bytes)) == (offset, n_bytes)


@pytest.mark.parametrize(
    "change", [{"slot": 1}, {"version": 2}, {"lengths": 3}, {"kind": 1}, {"data": b"y"}, {"annex": b""}], ids=str
)
def test_the_checksum_covers_what_a_copy_is_and_where(change: dict[str, object]) -> None:
    copy = {"slot": 0, "version": 1, "lengths": 2, "kind": 0, "data": b"x", "annex": b"a"}
    assert layout.checksum(**copy) != layout.checksum(**(copy | change))  # type: ignore[arg-type]
    assert layout.checksum(**copy) >> 32 == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("data", "annex", "fits"), [(0, 0, True), (65000, 536, True), (65000, 537, False), (65537, 0, False)])
def test_a_value_fits_with_its_annex_or_not(data: int, annex: int, fits: bool) -> None:
    assert layout.fits_inline(data, annex) is fits


@pytest.mark.parametrize(
    ("name", "hidden"), [("x", False), ("", False), (layout.FACTS, True), (layout.meta_name("x"), True), ("x\0", False)]
)
def test_hidden_names_begin_with_nul(name: str, hidden: bool) -> None:
    assert layout.is_hidden(name) is hidden
