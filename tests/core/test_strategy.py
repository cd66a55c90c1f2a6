import pytest
from core.world import children

from dspex_runtime.core.child_table import ChildTable, Life
from dspex_runtime.core.strategy import abandoned, plan
from dspex_runtime.types import ChildId, State, Strategy


def table_of(ids: str) -> ChildTable:
    table = ChildTable()
    for spec in children(ids):
        table.add(spec)
    return table


PLANS = [
    ("one_for_one", "c", "", "c"),
    ("rest_for_one", "c", "de", "cde"),
    ("rest_for_one", "a", "bcde", "abcde"),
    ("rest_for_one", "e", "", "e"),
    ("one_for_all", "c", "abde", "abcde"),
]


@pytest.mark.parametrize(("strategy", "pivot", "stop", "start"), PLANS, ids=str)
def test_who_is_stopped_and_who_is_started(strategy: str, pivot: str, stop: str, start: str) -> None:
    found = plan(Strategy(strategy), table_of("abcde"), ChildId(pivot))
    assert ("".join(found.stop), "".join(found.start)) == (stop, start)


ABANDONED = [
    # upper case: a restart is due
    ("one_for_all", "abc", "abc"),
    ("one_for_all", "abC", ""),
    ("rest_for_one", "abc", "abc"),
    ("rest_for_one", "aBc", "a"),
    ("one_for_one", "abc", ""),
]


@pytest.mark.parametrize(("strategy", "lives", "expected"), ABANDONED, ids=str)
def test_who_waits_for_a_restart_that_nobody_makes(strategy: str, lives: str, expected: str) -> None:
    table = table_of(lives.lower())
    for record, letter in zip(table, lives, strict=True):
        record.life = Life.RESTARTING if letter.isupper() else Life.UNDEFINED
        record.state = State.BACKOFF if letter.isupper() else State.PENDING
    assert "".join(record.id for record in abandoned(Strategy(strategy), table)) == expected
