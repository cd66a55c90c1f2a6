import pytest
from core.world import child, children

from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.core.child_table import ChildTable, Life, Record
from dspex_runtime.types import ChildId, Incarnation


def test_start_order_is_the_order_of_adding_and_a_child_added_again_goes_last() -> None:
    table = ChildTable()
    for spec in children("abc"):
        table.add(spec)
    table.remove(ChildId("a"))
    table.add(child("a"))
    assert table.ids() == ["b", "c", "a"]
    assert [record.id for record in reversed(table)] == ["a", "c", "b"]
    assert [view.id for view in table.views()] == ["b", "c", "a"]


def test_a_taken_id_is_refused() -> None:
    table = ChildTable()
    table.add(child("a"))
    with pytest.raises(ValueError, match="duplicate child id 'a'"):
        table.add(child("a"))


def test_only_the_latest_incarnation_is_current() -> None:
    table = ChildTable()
    record = table.add(child("a"))
    record.incarnation = Incarnation(2)
    assert table.current(ChildId("a"), Incarnation(2)) is record
    assert table.current(ChildId("a"), Incarnation(1)) is None
    assert table.current(ChildId("b"), Incarnation(1)) is None


@pytest.mark.parametrize(
    ("life", "has_process", "occupied"),
    [
        (Life.UNDEFINED, False, False),
        (Life.RESTARTING, False, False),
        (Life.STARTING, True, True),
        (Life.RUNNING, True, True),
        (Life.DEAD, False, True),
        (Life.STOPPING, True, True),
    ],
    ids=str,
)
def test_which_children_have_a_process_and_which_have_a_pid_in_otps_eyes(life: Life, has_process: bool, occupied: bool) -> None:
    record = Record(child("a"), life=life)
    assert (record.has_process, record.occupied) == (has_process, occupied)


@pytest.mark.parametrize(("ready_at", "attempts"), [(None, 3), (0.5, 3), (0.0, 0)])
def test_a_child_that_was_stable_starts_counting_its_crashes_anew(ready_at: float | None, attempts: int) -> None:
    record = Record(child("a", backoff=Backoff(stable_after_s=10.0)), attempts=3, ready_at=ready_at, pid=7)
    record.end("killed", 10.0)
    assert (record.attempts, record.pid, record.ready_at, record.last_exit) == (attempts, None, None, "killed")
