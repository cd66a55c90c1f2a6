"""What the extension types can carry, and what they leave to others."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum, Flag, auto
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dspex_runtime.types import State
from dspex_runtime.wire import ext


class Other(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


def test_a_class_is_found_by_name_only_when_it_is_loaded() -> None:
    assert ext.find_class("dspex_runtime.types", "State", may_import=False) is State
    assert ext.find_class("collections", "OrderedDict.nothing", may_import=False) is None
    assert ext.find_class("dspex_runtime.types", "NewType", may_import=False) is not State
    assert ext.find_class("tabnanny", "NannyNag", may_import=False) is None
    assert "tabnanny" not in sys.modules
    assert ext.find_class("tabnanny", "NannyNag", may_import=True) is not None
    assert ext.find_class("no.such.module", "X", may_import=True) is None


def test_finding_a_class_does_not_run_a_modules_getattr(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    lazy = type(sys)("lazy_module")
    lazy.__getattr__ = asked.append  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    assert ext.find_class("lazy_module", "Thing", may_import=True) is None
    assert asked == []


def test_an_enum_that_the_peer_could_not_find_is_left_to_the_pickle() -> None:
    class Local(Enum):
        A = 1

    assert ext.enum_payload(Local.A) is NotImplemented
    assert ext.enum_payload(State.READY) == ["dspex_runtime.types", "State", "READY"]


class Bits(Flag):
    READ = auto()
    WRITE = auto()


def test_combined_flags_travel_as_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, Bits.__module__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[Bits.__module__], "Bits", Bits, raising=False)
    payload = ext.enum_payload(Bits.READ | Bits.WRITE)
    assert payload[2] == 3
    assert ext.as_enum(payload, may_import=False) == Bits.READ | Bits.WRITE
    assert ext.enum_payload(Bits.READ)[2] == "READ"


@pytest.mark.parametrize(
    "payload", [["dspex_runtime.types", "ModuleInfo", "x"], ["os", "path", "x"], ["nowhere", "E", "A"]], ids=str
)
def test_what_is_no_enum_is_not_called_as_one(payload: Any) -> None:
    assert ext.as_enum(payload, may_import=False) is NotImplemented


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.zeros(2, dtype=[("a", "f8")]),
        np.ma.array([1]),
        np.zeros(2).view(np.recarray),
        np.zeros(1, dtype="V3")[0],
        3,
        [1],
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays_that_bytes_do_not_describe_are_left_to_the_pickle(value: Any) -> None:
    assert ext.numpy_payload(value) is NotImplemented


@pytest.mark.parametrize(
    "payload",
    [
        ["O", [1], b"12345678"],  # bytes as pointers
        ["f8,O", [1], b"1234567890123456"],
        ["V8", [1], b"12345678"],
        ["f8", [2], b"12345678"],
        ["f8", [-1], b""],
        ["f8", [True], b"12345678"],
        ["f8", [2**70], b""],
        ["(2,)f8", [1], b"1234567890123456"],
        ["no such", [1], b""],
        [None, [0], b""],
    ],
    ids=str,
)
def test_an_array_whose_bytes_do_not_fit_its_description_is_refused(payload: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        ext.as_ndarray(payload, may_import=False)


def test_a_decoded_array_is_writable_and_its_own() -> None:
    array = ext.as_ndarray(["<i4", [2, 2], bytes(16)], may_import=False)
    array[0, 0] = 7
    assert array.tolist() == [[7, 0], [0, 0]]


def test_without_numpy_loaded_an_array_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    assert ext.as_ndarray(["<i4", [0], b""], may_import=False) is NotImplemented
    assert ext.numpy_payload([1]) is NotImplemented
    assert "numpy" not in sys.modules


@pytest.mark.parametrize(
    "zone", [None, UTC, timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(hours=1), "X"), ZoneInfo("UTC")], ids=repr
)
def test_a_time_keeps_its_zone_and_fold(zone: tzinfo | None) -> None:
    moment = datetime(2024, 10, 27, 2, 30, 0, 123456, tzinfo=zone, fold=1)
    code, encode = ext.ENCODERS[datetime]
    again = ext.DECODERS[code](encode(moment))
    assert (again, again.fold, again.tzinfo, type(again.tzinfo)) == (moment, 1, zone, type(zone))


def test_a_zone_of_another_library_is_left_to_the_pickle() -> None:
    assert ext.ENCODERS[datetime][1](datetime(2024, 1, 1, tzinfo=Other())) is NotImplemented
