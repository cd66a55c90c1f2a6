"""The record of idempotent calls."""

from __future__ import annotations

from typing import Any

from dspex_runtime.host.idempotency import MAX_ANSWERS, MAX_BYTES, Answers
from dspex_runtime.host.mailbox import Request
from dspex_runtime.wire.codec import Codec


def answers() -> Answers:
    return Answers(Codec(), ["m"])


def request(key: str | None, method: str = "m") -> Request:
    return Request(None, 1, method, [], {}, None, key)


def test_only_keys_of_declared_methods_are_covered() -> None:
    record = answers()
    assert record.covers(request("k"))
    assert not record.covers(request("k", "other"))
    assert not record.covers(request(None))


def test_a_key_is_answered_with_what_was_sent_then() -> None:
    record, value = answers(), {"n": [1]}
    assert record.meet(request("k")) is False
    assert record.settle(request("k"), [value]) == []
    value["n"].append(2)
    assert record.meet(request("k")) == [{"n": [1]}]


def test_the_second_of_a_key_waits_for_the_first() -> None:
    record, second = answers(), request("k")
    assert record.meet(request("k")) is False
    assert record.meet(second) is True
    assert record.settle(request("k"), [None]) == [second]


def test_a_key_that_failed_may_run_again() -> None:
    record = answers()
    record.meet(request("k"))
    record.settle(request("k"), None)
    assert record.meet(request("k")) is False


def test_the_record_is_bounded_by_number_and_size() -> None:
    record: Any = answers()
    for n in range(MAX_ANSWERS + 1):
        record.settle(request(f"k{n}"), [n])
    assert record.meet(request("k0")) is False
    assert record.meet(request("k1")) == [1]
    record.settle(request("huge"), [b"x" * MAX_BYTES])
    assert record.meet(request("huge")) is False
    for n in range(20):
        record.settle(request(f"big{n}"), [b"x" * (MAX_BYTES // 10)])
    assert record.meet(request("big0")) is False
    assert isinstance(record.meet(request("big19")), list)


def test_another_process_answers_from_this_ones_record_and_settles_who_waits() -> None:
    record, waits = answers(), request("owed")
    record.settle(request("done"), [1])
    record.meet(request("owed"))
    record.meet(waits)
    other = Answers(Codec(), [])  # a version that does not declare the method any more
    other.adopt(*record.record(), ["m"])
    assert other.meet(request("done")) == [1]
    assert other.meet(request("owed")) is True
    assert other.settle(request("owed"), [2])[0] is waits
    assert other.meet(request("owed")) == [2]
