"""An exception becomes data that always fits and always packs, whatever the user put into it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dspex_runtime.errors import NoProcessError, OverloadedError, RemoteError, SupervisorError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import RECORD, from_fault, own_error, take_record, to_fault
from dspex_runtime.wire.framing import frame

FULL, PLAIN = Codec(pickle=True), Codec()


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def fault_of(exc: BaseException, codec: Codec = FULL, **options: Any) -> dict[str, Any]:
    fault = to_fault(raised(exc), id="m", incarnation=3, codec=codec, **options)
    assert PLAIN.unpack(PLAIN.pack([8, 1, fault]))[2] == fault, "any codec forwards it unchanged"
    return fault


def test_a_fault_says_who_what_and_where() -> None:
    fault = fault_of(ValueError("bad", 1))
    assert {key: fault[key] for key in ("type", "message", "id", "incarnation", "retryable", "dropped")} == {
        "type": "ValueError", "message": "('bad', 1)", "id": "m", "incarnation": 3, "retryable": False, "dropped": [],
    }  # fmt: skip
    assert "in raised" in fault["traceback"]
    assert fault_of(SupervisorError("not_found", "m"))["type"] == "dspex_runtime.errors.SupervisorError"


def test_the_traceback_shows_the_causes_of_the_exception() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as exc:
            raise ValueError("outer") from exc
    except ValueError as exc:
        text = to_fault(exc, id=None, incarnation=None, codec=PLAIN)["traceback"]
    assert text.index("KeyError: 'inner'") < text.index("direct cause") < text.index("ValueError: outer")


def test_an_exception_that_was_never_raised_has_no_traceback() -> None:
    assert to_fault(SupervisorError("not_found", "m"), id=None, incarnation=None, codec=PLAIN)["traceback"] == ""


@pytest.mark.parametrize("codec", [FULL, PLAIN], ids=["pickle", "plain"])
def test_a_value_that_cannot_be_sent_is_dropped_and_named(codec: Codec) -> None:
    error = ValueError("text", threading.Lock())
    error.lock, error.fine = threading.Lock(), 3  # type: ignore[attr-defined]
    fault = fault_of(error, codec)
    assert fault["dropped"] == ["args[1] (lock)", "lock (lock)"]
    assert [codec.unpack(arg) for arg in fault["args"]] == [["text"], ["<lock that could not be sent>"]]
    assert list(fault["state"]) == ["fine"]


def test_a_fault_fits_a_frame_whatever_the_exception_holds() -> None:
    error = ValueError("x" * 10**7, *range(10_000))
    error.big = bytes(10**7)  # type: ignore[attr-defined]
    for n in range(1000):
        setattr(error, f"a{n}", "y" * 100_000)
    group = ExceptionGroup("g" * 10**6, [error] * 200)
    assert len(frame(FULL.pack([8, 1, fault_of(error)]))) < 16 * 2**20
    fault = to_fault(raised(ExceptionGroup("g", [ValueError("x" * 10**6)] * 200)), id="m", incarnation=1, codec=FULL)
    assert len(fault["exceptions"]) == 50
    assert fault["dropped"] == ["150 of 200 exceptions of the group"]
    assert len(frame(FULL.pack([8, 1, to_fault(group, id="m", incarnation=1, codec=FULL)]))) <= 64 * 2**20


def test_a_long_message_keeps_both_ends() -> None:
    message = fault_of(ValueError("start" + "." * 10**6 + "end"))["message"]
    assert message.startswith("start")
    assert message.endswith("end")
    assert "characters" in message


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no state")


def test_an_exception_that_raises_when_looked_at_is_still_told() -> None:
    fault = fault_of(BrokenError("x"))
    assert fault["type"].endswith("BrokenError")
    assert "RuntimeError" in fault["message"]
    assert fault["dropped"] == ["its arguments and attributes (RuntimeError)"]


def test_the_record_of_a_failed_call_travels_beside_the_exception_and_is_no_part_of_it() -> None:
    error = ValueError("bad")
    vars(error)[RECORD] = b"record"
    fault = fault_of(error)
    assert (fault["record"], fault["state"], vars(error)) == (b"record", {}, {})
    found = from_fault(fault)
    assert (take_record(found), take_record(found)) == (b"record", None)
    assert take_record(from_fault(fault | {"module": "nowhere"})) == b"record", "a RemoteError has it, too"


def test_groups_nested_without_end_are_cut() -> None:
    error: Exception = ValueError("x")
    for _ in range(50):
        error = ExceptionGroup("g", [error])
    fault, levels = fault_of(error), 0
    while fault.get("exceptions"):
        fault, levels = fault["exceptions"][0], levels + 1
    assert levels < 10


@pytest.mark.parametrize(
    ("exc", "incarnation", "told", "retryable"),
    [
        (OverloadedError("o"), None, None, True),  # the runtime refuses: it did not begin
        (NoProcessError(id="x"), None, None, True),
        (OverloadedError("o"), 3, None, False),  # a module got it from another one, and had begun
        (ValueError("v"), 3, True, True),
        (RemoteError("r", retryable=True), None, False, False),
    ],
    ids=str,
)
def test_retryable_says_whether_this_call_did_not_begin(
    exc: Exception, incarnation: int | None, told: bool | None, retryable: bool
) -> None:
    assert to_fault(exc, id="m", incarnation=incarnation, codec=FULL, retryable=told)["retryable"] is retryable


def test_only_what_is_ours_is_rebuilt_where_nothing_of_a_users_may_be() -> None:
    error = own_error(fault_of(NoProcessError("gone", id="m")), codec=PLAIN)
    assert (type(error), str(error)) == (NoProcessError, "gone")
    assert own_error(fault_of(ValueError("no")), codec=PLAIN) is None
