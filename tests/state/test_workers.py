"""The keeper's threads: jobs in order, rest in between, and a log that moves by itself."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.state import workers
from dspex_runtime.state.database import connect
from dspex_runtime.state.health import Health
from dspex_runtime.state.store import Store
from dspex_runtime.state.workers import WalMover, Worker
from helpers.waiting import wait_until

LONG_S = 30.0


@pytest.fixture
def closing() -> Iterator[list[Worker]]:
    made: list[Worker] = []
    yield made
    for worker in made:
        worker.close(LONG_S)


def test_jobs_are_carried_out_in_order_and_one_that_fails_ends_nothing(
    closing: list[Worker], caplog: pytest.LogCaptureFixture
) -> None:
    worker, did = Worker("test"), list[int]()
    worker.put(lambda: did.append(1))
    worker.put(lambda: [][0])
    worker.put(lambda: did.append(2))
    worker.close(LONG_S)
    assert did == [1, 2]
    assert "unexpected error" in caplog.text


def test_it_rests_when_nothing_waits_and_again_while_there_is_more_to_do(closing: list[Worker]) -> None:
    rests, finished = list[float | None](), threading.Event()

    def rest() -> float | None:
        rests.append(0.0 if len(rests) < 3 else None)
        if rests[-1] is None:
            finished.set()
        return rests[-1]

    worker = Worker("test", rest)
    closing.append(worker)
    worker.put(lambda: None)
    assert finished.wait(LONG_S)
    assert rests == [0.0, 0.0, 0.0, None]


def test_it_rests_once_for_all_that_came_in_a_while_and_at_the_end_at_the_latest(
    closing: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "IDLE_AFTER_S", 2 * LONG_S)
    did = list[str]()
    worker = Worker("test", lambda: did.append("rest"))
    for number in range(3):
        worker.put(lambda number=number: did.append(str(number)))  # type: ignore[misc]
    worker.close(LONG_S)
    assert did == ["0", "1", "2", "rest"]


def test_a_rest_that_fails_is_tried_again(
    closing: list[Worker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "BROKEN_S", 0.0)
    finished, tries = threading.Event(), list[int]()

    def rest() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("broken")
        finished.set()

    worker = Worker("test", rest)
    closing.append(worker)
    worker.put(lambda: None)
    assert finished.wait(LONG_S)
    assert "unexpected error" in caplog.text


def test_what_waits_is_counted_and_carried_out_before_the_end() -> None:
    gate, did = threading.Event(), list[int]()
    worker = Worker("test")
    worker.put(lambda: [gate.wait(LONG_S)].clear())
    worker.put(lambda: did.append(1))
    wait_until(lambda: worker.waiting == 1)
    gate.set()
    worker.close(LONG_S)
    assert did == [1]


def test_a_log_that_has_grown_is_moved_when_it_is_looked_at(database: sqlite3.Connection, store: Store, tmp_path: Path) -> None:
    mover = WalMover(tmp_path / "state.db", Health([].append))
    before = (tmp_path / "state.db").stat().st_size
    with store.writing():
        store.set_configured("a", {"x": bytes(workers.WAL_BYTES + 1)})
    mover.look()
    wait_until(lambda: (tmp_path / "state.db").stat().st_size > before + workers.WAL_BYTES)
    mover.close()


def test_a_log_that_cannot_be_moved_is_an_alarm_until_it_can(
    database: sqlite3.Connection, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAL_ALARM_BYTES", workers.WAL_BYTES)
    told: list[dict[str, Any]] = []
    mover = WalMover(tmp_path / "state.db", Health(told.append))
    reader = connect(tmp_path / "state.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM modules").fetchall()
    with store.writing():
        store.set_configured("a", {"x": bytes(2 * workers.WAL_BYTES)})
    mover.look()
    wait_until(lambda: len(told) == 1)
    assert "MB that cannot be moved into state.db" in told[0]["description"]
    reader.close()
    mover.look()
    wait_until(lambda: len(told) == 2)
    assert told[1]["type"] == "alarm_cleared"
    mover.close()


def test_without_a_log_there_is_nothing_to_move(tmp_path: Path) -> None:
    mover = WalMover(tmp_path / "state.db", Health([].append))
    mover.look()
    mover.close()
    assert not (tmp_path / "state.db").exists()
