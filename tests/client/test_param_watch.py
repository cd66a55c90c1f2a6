"""Changes of parameters for threads: in order, the latest for who is slow, and an end that is an end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from dspex_runtime.client.param_watch import KEEP, Subscribed, Watch
from dspex_runtime.client.params import Params
from dspex_runtime.client.session import Session
from dspex_runtime.errors import ConfigError, NoProcessError, ParameterNotFoundError, RuntimeUnreachableError
from dspex_runtime.types import Change
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import CANCEL, FAULT
from helpers.param_tables import Tables, tables
from helpers.subscription import Told, attach
from helpers.waiting import PATIENCE_S

if TYPE_CHECKING:
    from client.conftest import FakeRuntime


@pytest.fixture
def told(runtime: FakeRuntime) -> Told:
    return Told(runtime)


@pytest.fixture
def watch(session: Session, told: Told) -> Iterator[Watch]:
    with Watch(session, "*", "qa") as watch:
        yield watch


@pytest.fixture
def made() -> Iterator[Tables]:
    with tables() as made:
        yield made


def arrived(watch: Watch, name: str) -> None:
    """Wait until a change of that parameter has come, taken or not."""
    changes = watch._changes
    with changes._changed:
        assert changes._changed.wait_for(lambda: ("qa", name) in changes.inbox._told, PATIENCE_S)


def versions(watch: Watch, n: int) -> list[tuple[int, int]]:
    return [(change.version, change.skipped) for change in islice(watch, n)]


# -- an iterator


def test_changes_come_in_order_with_who_when_and_what(watch: Watch, told: Told) -> None:
    told.change(1, "warm")
    told.change(2, [1, 2])
    assert next(watch) == Change("qa", "k", 1, "warm", 1.0, "me")
    assert next(watch) == Change("qa", "k", 2, [1, 2], 2.0, "me")
    assert told.asked == [("params", {"id": "qa", "pattern": "*"})]
    assert watch.next(0.0) is None


def test_one_that_is_slow_gets_the_latest_and_a_count(watch: Watch, told: Told, runtime: FakeRuntime) -> None:
    for version in range(1, KEEP + 50):
        told.change(version)
    told.change(1, name="last")
    arrived(watch, "last")
    while (change := next(watch)).name != "last":
        latest = change
    assert (latest.version, latest.value, latest.skipped) == (KEEP + 49, (KEEP + 49) * 10, KEEP + 48)


def test_what_the_runtime_left_out_is_counted(watch: Watch, told: Told) -> None:
    told.change(3, skipped=2)
    told.change(9)
    assert versions(watch, 2) == [(3, 2), (9, 5)]


def test_a_large_value_is_read_from_the_table(watch: Watch, told: Told, runtime: FakeRuntime, made: Tables) -> None:
    table = attach(runtime, made)
    made.put(table, "k", "a" * 5000)
    told.change(1, None)
    assert next(watch) == Change("qa", "k", 1, "a" * 5000, 1001.0, "test")


def test_a_later_value_in_the_table_is_told_at_once_and_once(watch: Watch, told: Told, runtime: FakeRuntime, made: Tables) -> None:
    table = attach(runtime, made)
    for letter in "abc":
        made.put(table, "k", letter * 5000)
    for version in (1, 2, 3):
        told.change(version, None)
    told.change(4)
    first = next(watch)
    assert (first.version, first.value[0], first.skipped) == (3, "c", 2)
    assert versions(watch, 1) == [(4, 0)]


def test_a_parameter_that_is_gone_by_then_is_not_told(watch: Watch, told: Told, runtime: FakeRuntime, made: Tables) -> None:
    attach(runtime, made)
    told.change(1, None)
    told.change(1, name="other")
    assert next(watch).name == "other"


def test_what_a_module_did_not_tell_before_it_was_killed_is_told(
    watch: Watch, told: Told, runtime: FakeRuntime, made: Tables
) -> None:
    table = attach(runtime, made)
    made.put(table, "k", "new", version=3)
    told.push({"type": "versions", "id": "qa", "versions": {"k": [1, 1.0, "yaml"]}})
    told.push({"type": "versions", "id": "qa", "versions": {"k": [3, 3.0, "me"]}})
    change = next(watch)
    assert (change.version, change.value, change.skipped) == (3, "new", 1)


def test_after_a_module_is_deleted_another_one_counts_anew(watch: Watch, told: Told) -> None:
    told.change(50)
    assert versions(watch, 1) == [(50, 0)]
    told.push({"type": "forgotten", "id": "qa"})
    told.change(1)
    assert versions(watch, 1) == [(1, 0)]


def test_it_ends_with_the_runtime(watch: Watch, told: Told) -> None:
    told.change(1)
    told.end()
    assert [change.version for change in watch] == [1]


def test_the_end_of_a_runtime_that_was_killed_is_an_error(watch: Watch, told: Told, runtime: FakeRuntime) -> None:
    told.change(1)
    assert next(watch).version == 1
    runtime.hang_up()
    with pytest.raises(RuntimeUnreachableError):
        next(watch)


def test_closing_it_tells_the_runtime_and_ends_who_waits(session: Session, told: Told, runtime: FakeRuntime) -> None:
    watch = Watch(session, "*", "qa")
    told.change(1)
    watch.close()
    watch.close()
    runtime.heard(lambda message: message == [CANCEL, told.number])
    assert list(watch) == []


def test_a_subscription_that_is_refused_says_why(session: Session, runtime: FakeRuntime) -> None:
    error = NoProcessError("there is no 'nobody'", id="nobody")
    fault = to_fault(error, id="nobody", incarnation=None, codec=Codec())
    runtime.on_subscribe = lambda number, topic, args: [[FAULT, number, fault]]
    with pytest.raises(NoProcessError, match="there is no 'nobody'"):
        Watch(session, "*", "nobody")


def test_a_name_that_is_no_pattern_has_to_be_there(session: Session, told: Told, runtime: FakeRuntime, made: Tables) -> None:
    made.put(attach(runtime, made), "temperature", 0.2)
    params = Params(session, "qa")
    with params.watch("temperature"), params.watch("temp*"), params.watch():
        pass
    with pytest.raises(ParameterNotFoundError, match="temperatur"):
        params.watch("temperatur")
    for wrong in ("", None, 5):
        with pytest.raises(ConfigError, match=f"expected a pattern, got an empty text|expected a pattern as text, got {wrong}"):
            params.watch(wrong)  # type: ignore[arg-type]
    assert [args["pattern"] for _, args in told.asked] == ["temperature", "temp*", "*"]


# -- a callback


def test_a_callback_gets_changes_on_a_thread_of_its_own_until_it_is_closed(session: Session, told: Told) -> None:
    got: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    with Subscribed(Watch(session, "*"), lambda change: got.put((change.version, threading.current_thread().name))) as handle:
        for version in (1, 2):
            told.change(version)
        assert [got.get(timeout=PATIENCE_S) for _ in range(2)] == [(1, "dspex-watch"), (2, "dspex-watch")]
        assert handle.active
    assert not handle.active


def test_a_callback_that_raises_is_logged_and_called_again(session: Session, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    got: queue.SimpleQueue[int] = queue.SimpleQueue()

    def callback(change: Change) -> None:
        if change.version == 1:
            raise ValueError("odd")
        got.put(change.version)

    with Subscribed(Watch(session, "*"), callback):
        told.change(1)
        told.change(2)
        assert got.get(timeout=PATIENCE_S) == 2
    assert "callback raised at qa.k, version 1" in caplog.text


def test_a_callback_may_end_its_own_subscription(session: Session, told: Told) -> None:
    closed = threading.Event()

    def callback(change: Change) -> None:
        handle.close()
        closed.set()

    handle = Subscribed(Watch(session, "*"), callback)
    told.change(1)
    assert closed.wait(PATIENCE_S)
    handle.close()
    assert not handle.active


def test_a_slow_callback_gets_the_latest(session: Session, told: Told) -> None:
    go, got = threading.Event(), queue.SimpleQueue[Change]()

    def callback(change: Change) -> None:
        got.put(change)
        go.wait(PATIENCE_S)

    with Subscribed(watch := Watch(session, "*"), callback):
        told.change(1)
        assert got.get(timeout=PATIENCE_S).version == 1
        for version in range(2, KEEP + 100):
            told.change(version)
        told.change(1, name="last")
        arrived(watch, "last")
        go.set()
        latest = got.get(timeout=PATIENCE_S)
        assert (latest.version, latest.skipped) == (KEEP + 99, KEEP + 97)


def test_the_end_of_the_connection_ends_it(
    session: Session, told: Told, runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    handle = Subscribed(Watch(session, "*"), lambda change: None)
    runtime.hang_up()
    handle._thread.join(PATIENCE_S)
    assert not handle.active
    assert "a subscription to parameters ended" in caplog.text


def test_a_callback_is_a_function(session: Session, told: Told, runtime: FakeRuntime) -> None:
    with pytest.raises(ConfigError, match="is a function of one change; got 5"):
        Subscribed(Watch(session, "*"), 5)  # type: ignore[arg-type]
    runtime.heard(lambda message: message == [CANCEL, told.number])
