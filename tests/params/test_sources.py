"""Which record of a journal counts."""

from __future__ import annotations

from dspex_runtime.params.records import EXECUTIONS, SetRecord
from dspex_runtime.params.sources import Found, newest
from dspex_runtime.params.values import Annex


def record(version: int, data: bytes, name: str = "x") -> SetRecord:
    return SetRecord(name, version, float(version), "me", data, b"annex")


def test_the_newest_is_the_highest_version_and_of_equal_ones_the_last_written() -> None:
    kept = [record(1, b"a"), record(3, b"c"), record(2, b"b"), record(3, b"C"), record(9, b"n", "y")]
    found = newest([[EXECUTIONS, 1.0, []], *(each.payload() for each in kept)])
    assert {name: each.data for name, each in found.items()} == {"x": b"C", "y": b"n"}


def test_an_annex_that_cannot_be_read_says_nothing() -> None:
    for annex in (b"\xc1", b"\x01", b""):
        assert Found(1, b"", annex).read_annex() == Annex(0.0, "", 0.0)
