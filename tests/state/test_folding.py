"""From journals to rows: everything once, whatever is read twice, and no more than is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dspex_runtime.params.journal import EXECUTIONS, FACTS, SET, Journal, segments
from dspex_runtime.state.folding import fold, gather
from dspex_runtime.state.migrations import migrate
from dspex_runtime.state.store import HISTORY_KEPT, Store


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.at(tmp_path / "journals" / "a")
    yield journal
    journal.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journals" / "a"


def a_set(version: int, name: str = "x", data: bytes = b"v", *, removed: bool = False) -> list[object]:
    return [SET, name, version, version / 2, "me", b"" if removed else data, b"" if removed else b"annex", removed]


def test_sets_executions_and_facts_are_stored_and_not_read_again(store: Store, journal: Journal, directory: Path) -> None:
    journal.append(a_set(1, data=b"one"), a_set(2, data=b"two"))
    journal.append([EXECUTIONS, 1.0, [{"method": "f", "ok": True}], {"calls": 1}])
    end = journal.append([FACTS, 2.0, {"mode": "eval"}])
    assert fold(store, "a", directory, pytest.fail) == end == store.folded("a")
    assert [(each.version, each.data) for each in store.history("a", "x", 10)] == [(2, b"two"), (1, b"one")]
    assert store.parameters("a")["x"].data == b"two"
    assert store.executions("a", 10) == [{"method": "f", "ok": True}]
    assert store.facts("a") == {"mode": "eval", "metrics": {"calls": 1}}
    assert fold(store, "a", directory, pytest.fail) == end
    assert len(store.executions("a", 10)) == 1


def test_it_goes_on_where_it_ended_over_segments(store: Store, directory: Path) -> None:
    for version in (1, 2, 3):
        journal = Journal.at(directory)
        journal.append(a_set(version))
        journal.close()
        fold(store, "a", directory, pytest.fail)
        assert store.version("a", "x") == version


def test_a_record_that_is_not_whole_yet_is_taken_when_it_is(store: Store, journal: Journal, directory: Path) -> None:
    journal.append(a_set(1))
    ((_, path),) = segments(directory)
    begin = path.stat().st_size
    journal.append(a_set(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    fold(store, "a", directory, pytest.fail)
    assert (store.version("a", "x"), store.folded("a") & 0xFFFFFFFF) == (1, begin)
    path.write_bytes(whole)
    fold(store, "a", directory, pytest.fail)
    assert store.version("a", "x") == 2


def test_a_record_that_is_damaged_is_reported_and_those_behind_it_are_read(store: Store, journal: Journal, directory: Path) -> None:
    journal.append(a_set(1))
    ((_, path),) = segments(directory)
    at = path.stat().st_size + 12
    journal.append(a_set(2), a_set(3))
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    told: list[str] = []
    fold(store, "a", directory, told.append)
    assert [each.version for each in store.history("a", "x", 10)] == [3, 1]
    assert len(told) == 1


def test_records_of_a_later_version_are_passed_over(store: Store, journal: Journal, directory: Path) -> None:
    journal.append([99, "what"], a_set(1), [SET, "x"])
    fold(store, "a", directory, pytest.fail)
    assert store.version("a", "x") == 1


def test_a_removed_parameter_keeps_its_count_and_its_history(store: Store, journal: Journal, directory: Path) -> None:
    journal.append(a_set(1), a_set(2, removed=True))
    fold(store, "a", directory, pytest.fail)
    value = store.parameters("a")["x"]
    assert (value.version, value.data) == (2, None)
    assert [each.removed for each in store.history("a", "x", 10)] == [True, False]


def test_only_what_is_kept_is_written(store: Store, journal: Journal, directory: Path) -> None:
    for version in range(1, HISTORY_KEPT + 51):
        journal.append(a_set(version))
    fold(store, "a", directory, pytest.fail)
    assert [each.version for each in store.history("a", "x", 500)] == list(range(HISTORY_KEPT + 50, 50, -1))


def test_what_is_taken_into_memory_at_once_is_bounded() -> None:
    records = [(position, a_set(position, data=bytes(100))) for position in range(1, 11)]
    parts = list(gather(iter(records), part_bytes=300))
    assert [part.position for part in parts] == [3, 6, 9, 10]


def test_a_part_that_cannot_be_written_leaves_those_before_it_and_is_read_again(
    store: Store, database: sqlite3.Connection, journal: Journal, directory: Path
) -> None:
    journal.append(a_set(1), a_set(2), a_set(3))
    database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON history WHEN NEW.version = 2 BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        fold(store, "a", directory, pytest.fail, part_bytes=1)
    assert store.version("a", "x") == 1
    database.execute("DROP TRIGGER full")
    fold(store, "a", directory, pytest.fail)
    assert [each.version for each in store.history("a", "x", 10)] == [3, 2, 1]


RECORDS = st.lists(
    st.one_of(
        st.builds(lambda name: ("set", name), st.sampled_from(["x", "y"])),
        st.builds(lambda n: ("calls", n), st.integers(1, 3)),
        st.just(("fold", 0)),
        st.just(("reopen", 0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=RECORDS)
def test_folding_at_any_moments_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    directory = tmp_path_factory.mktemp("journal") / "a"
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    store, journal = Store(connection), Journal.at(directory)
    versions = {"x": 0, "y": 0}
    calls = 0
    for what, detail in steps:
        match what:
            case "set":
                name = str(detail)
                versions[name] += 1
                journal.append(a_set(versions[name], name, str(versions[name]).encode()))
            case "calls":
                assert isinstance(detail, int)
                journal.append([EXECUTIONS, 0.0, [{"n": calls + n} for n in range(detail)]])
                calls += detail
            case "fold":
                fold(store, "a", directory, pytest.fail)
            case _:
                journal.close()
                journal = Journal.at(directory)
    journal.close()
    fold(store, "a", directory, pytest.fail)
    assert {name: int((value.data or b"").decode()) for name, value in store.parameters("a").items()} == {
        n: v for n, v in versions.items() if v
    }
    assert [each["n"] for each in store.executions("a", 1000)] == list(range(calls))[::-1]
    connection.close()
