"""The writer: versions, leases, removal, growth, and a kill between any two of its instructions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.params import layout
from dspex_runtime.params.table import INLINE_MAX, Blob, Table
from helpers.killing import dies_at
from helpers.param_tables import Tables, tables

PARAMS = "dspex_runtime/params"


@pytest.fixture
def table(world: Tables) -> Table:
    return world.new()


def data_of(table: Table, name: str) -> bytes | None:
    slot = table.slot(name)
    stored = table.read(slot) if slot is not None else None
    return None if stored is None else bytes(stored.data)


def test_what_is_published_is_read(table: Table) -> None:
    slot = table.add("x")
    assert table.read(slot) is None
    assert table.version(slot) == 0
    table.publish(slot, 1, b"value", b"annex")
    stored = table.read(slot)
    assert stored is not None
    assert (stored.version, stored.data, stored.annex, stored.external) == (1, b"value", b"annex", False)
    assert table.version(slot) == 1


def test_adding_a_name_again_gives_the_same_slot(table: Table) -> None:
    assert table.add("x") == table.add("x")
    assert table.slot("x") == table.add("x")
    assert table.slot("y") is None


@pytest.mark.parametrize("version", [0, 1, 4, 5, -1, layout.MAX_VERSION + 1])
def test_a_version_that_is_not_higher_is_refused_and_changes_nothing(table: Table, version: int) -> None:
    slot = table.add("x")
    table.publish(slot, 5, b"five")
    with pytest.raises(ParameterError, match=f"version {version} cannot be published after 5") as caught:
        table.publish(slot, version, b"other")
    assert caught.value.name == "x"
    assert data_of(table, "x") == b"five"


def test_versions_may_leave_gaps(table: Table) -> None:
    slot = table.add("x")
    for version in (3, 10, layout.MAX_VERSION):
        table.publish(slot, version, b"x")
        assert table.version(slot) == version


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4096, INLINE_MAX - 5])
def test_values_of_every_size_up_to_the_limit_lie_in_the_table(table: Table, size: int) -> None:
    slot = table.add("x")
    table.publish(slot, 1, b"v" * size, b"annex")
    stored = table.read(slot)
    assert stored is not None
    assert (bytes(stored.data), stored.annex) == (b"v" * size, b"annex")


def test_a_value_over_the_limit_needs_a_blob(table: Table) -> None:
    slot = table.add("x")
    with pytest.raises(ParameterError, match=r"65530 \+ 7 bytes do not fit"):
        table.publish(slot, 1, b"v" * (INLINE_MAX - 6), b"7 bytes")
    assert table.read(slot) is None
    blob = Blob.create(b"v" * 100_000)
    table.publish(slot, 1, b"v" * 100_000, blob=blob)
    stored = table.read(slot)
    assert stored is not None
    assert (stored.external, stored.size, stored.data) == (True, 100_000, b"")
    blob.close()


def test_small_and_large_versions_of_one_name_take_turns(world: Tables, table: Table) -> None:
    view = world.view(table)
    for value in (1, "x" * 100_000, 2, "y" * 70_000, "z" * 70_000, 3):
        world.put(table, "x", value)
        assert view["x"] == value


def test_the_table_grows_with_names_and_values_and_keeps_them_all(table: Table) -> None:
    size = os.fstat(table.fd).st_size
    for n in range(300):
        table.publish(table.add(f"p{n}"), 1, b"%d" % n * 50)
    assert os.fstat(table.fd).st_size > size
    assert [data_of(table, f"p{n}") for n in range(300)] == [b"%d" % n * 50 for n in range(300)]


def test_nobody_can_shrink_it(table: Table) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(table.fd, 4096)


@pytest.mark.parametrize("name", ["x", "a.very.long.path[3].predict", "grün", "\ud800", "x" * layout.NAME_MAX])
def test_any_text_is_a_name(world: Tables, table: Table, name: str) -> None:
    table.publish(table.add(name), 1, b"x")
    assert world.adopt(table).names() == table.names() == [name]


@pytest.mark.parametrize("name", ["", "x" * (layout.NAME_MAX + 1)])
def test_no_name_or_an_endless_one_is_refused(table: Table, name: str) -> None:
    with pytest.raises(ParameterError, match="1 to 4096 bytes"):
        table.add(name)


def test_names_are_those_with_a_value_and_not_hidden(table: Table) -> None:
    for name in ("b", "a", layout.FACTS, layout.meta_name("a"), "removed"):
        table.publish(table.add(name), 1, b"x")
    table.add("empty")
    table.remove("removed")
    assert table.names() == ["a", "b"]


def test_a_removed_name_has_no_value_and_its_versions_go_on_when_it_comes_back(table: Table) -> None:
    slot = table.add("x")
    table.publish(slot, 4, b"old")
    table.remove("x")
    assert table.read(slot) is None
    assert table.version(slot) == 4
    with pytest.raises(ParameterNotFoundError, match="'x' was removed"):
        table.publish(slot, 5, b"new")
    assert table.add("x") == slot
    assert table.read(slot) is None
    with pytest.raises(ParameterError, match="after 4"):
        table.publish(slot, 4, b"new")
    table.publish(slot, 5, b"new")
    assert data_of(table, "x") == b"new"


@pytest.mark.parametrize("name", ["never", "removed"])
def test_only_what_is_there_can_be_removed(table: Table, name: str) -> None:
    table.add("removed")
    table.remove("removed")
    with pytest.raises(ParameterNotFoundError, match=name):
        table.remove(name)


def test_the_sequence_grows_with_whatever_readers_can_see(world: Tables, table: Table) -> None:
    slot = table.add("x")
    steps: list[Callable[[], object]] = [
        lambda: table.publish(slot, 1, b"x"),
        lambda: table.publish(slot, 2, b"x"),
        table.bump_epoch,
        lambda: table.remove("x"),
        lambda: world.adopt(table),
    ]
    seen = [table.sequence]
    for step in steps:
        step()
        seen.append(table.sequence)
    assert seen == sorted(set(seen))


def test_the_journal_position_is_kept(world: Tables, table: Table) -> None:
    assert table.journal_position == 0
    table.set_journal_position(3 << 40 | 77)
    assert world.adopt(table).journal_position == 3 << 40 | 77


WRITES: dict[str, Callable[[Table], object]] = {
    "add": lambda table: table.add("y"),
    "publish": lambda table: table.publish(table.slot("x") or 0, 9, b"new"),
    "remove": lambda table: table.remove("x"),
    "bump_epoch": Table.bump_epoch,
    "retire": Table.retire,
    "set_journal_position": lambda table: table.set_journal_position(1),
}


@pytest.mark.parametrize("write", WRITES)
def test_only_the_holder_of_the_lease_writes(world: Tables, table: Table, write: str) -> None:
    table.publish(table.add("x"), 1, b"x")
    heir = Table.adopt(os.dup(table.fd))
    with pytest.raises(ParameterError, match="leased to incarnation 1, not to nobody here"):
        WRITES[write](heir)
    heir.lease(2)
    assert table.holder() == heir.holder() == 2
    with pytest.raises(ParameterError, match="leased to incarnation 2, not to 1"):
        WRITES[write](table)
    assert data_of(heir, "x") == b"x"
    WRITES[write](heir)
    heir.close()
    with pytest.raises(ParameterError, match="closed"):
        WRITES[write](heir)


def test_who_takes_the_lease_back_knows_what_was_written_meanwhile(world: Tables, table: Table) -> None:
    table.publish(table.add("x"), 1, b"x")
    other = world.adopt(table)
    for n in range(100):
        other.publish(other.add(f"p{n}"), 1, b"%d" % n * 30)
    table.lease(3)
    for n in range(100, 200):
        table.publish(table.add(f"p{n}"), 1, b"%d" % n * 30)
    assert [data_of(table, f"p{n}") for n in range(200)] == [b"%d" % n * 30 for n in range(200)]


def test_the_next_incarnation_finds_everything_and_goes_on(world: Tables, table: Table) -> None:
    for n in range(50):
        world.put(table, f"p{n}", n)
    table.remove("p7")
    heir = world.adopt(table)
    assert heir.names() == sorted(f"p{n}" for n in range(50) if n != 7)
    assert [heir.version(heir.add(f"p{n}")) for n in range(50)] == [1] * 50
    assert world.put(heir, "p3", "new") == 2
    assert world.put(heir, "p7", "new") == 2


def test_a_new_class_keeps_values_and_versions(world: Tables, table: Table) -> None:
    for name, value in {"x": 1, "large": "l" * 100_000}.items():
        world.put(table, name, value)
    table.add("empty")
    table.bump_epoch()
    view = world.view(table)
    assert table.epoch == 1
    assert {name: (view[name], view.version(name)) for name in view} == {"x": (1, 1), "large": ("l" * 100_000, 1)}


def test_a_retired_table_is_not_adopted_and_not_written(table: Table) -> None:
    table.publish(table.add("x"), 1, b"x")
    table.retire()
    assert table.names() == []
    assert table.epoch == layout.POISON
    with pytest.raises(ParameterError, match="leased"):
        table.add("x")
    with pytest.raises(ParameterError, match="retired"):
        Table.adopt(os.dup(table.fd))


def test_a_failed_growth_leaves_the_table_usable(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = table.add("x")
    table.publish(slot, 1, b"x")
    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", lambda fd, size: (_ for _ in ()).throw(OSError(12, "no memory")))
        with pytest.raises(OSError, match="no memory"):
            table.publish(slot, 2, b"y" * 60_000)
        assert data_of(table, "x") == b"x"
    table.publish(slot, 2, b"y" * 60_000)
    assert data_of(table, "x") == b"y" * 60_000


@pytest.mark.process
def test_closing_is_idempotent_and_leaves_nothing() -> None:
    table = Table.create("x" * 500)
    table.lease(1)
    table.publish(table.add("x"), 1, b"x" * 20_000)
    Table.adopt(os.dup(table.fd)).close()
    with pytest.raises(ParameterError):
        Table.adopt(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    table.close()
    table.close()
    assert table.fd == -1


def prepare(world: Tables, table: Table) -> None:
    for n in range(5):
        world.put(table, f"p{n}", n)
    for n in range(25):  # the next name needs a new extent
        table.add(f"empty{n}")
    world.put(table, "large", "l" * 70_000)
    world.put(table, "gone", 1)
    table.remove("gone")


# What a writer does when it is killed, and the value of each name it touches before and after: anything else is torn.
ABSENT = object()
DEATHS: dict[str, tuple[Callable[[Tables, Table], object], dict[str, tuple[Any, Any]]]] = {
    "publishing": (lambda w, t: w.put(t, "p3", -3), {"p3": (3, -3)}),
    "publishing in a larger area": (lambda w, t: w.put(t, "p3", "x" * 3000), {"p3": (3, "x" * 3000)}),
    "publishing while the file grows": (lambda w, t: w.put(t, "p3", "x" * 60_000), {"p3": (3, "x" * 60_000)}),
    "publishing a blob": (lambda w, t: w.put(t, "large", "m" * 80_000), {"large": ("l" * 70_000, "m" * 80_000)}),
    "publishing a small value after a blob": (lambda w, t: w.put(t, "large", 5), {"large": ("l" * 70_000, 5)}),
    "adding a name in a new extent": (lambda w, t: w.put(t, "new", 1), {"new": (ABSENT, 1)}),
    "adding two names": (lambda w, t: (t.add("other"), t.add("new")), {}),
    "removing": (lambda w, t: t.remove("p3"), {"p3": (3, ABSENT)}),
    "adding what was removed": (lambda w, t: w.put(t, "gone", 2), {"gone": (ABSENT, 2)}),
    "handing over to another class": (lambda w, t: t.bump_epoch(), {}),
}


@pytest.mark.parametrize("what", DEATHS)
def test_a_writer_that_dies_between_any_two_instructions_leaves_the_old_values_or_the_new_ones(what: str) -> None:
    operation, touched = DEATHS[what]
    before: dict[str, Any] = {f"p{n}": n for n in range(5)} | {"large": "l" * 70_000}
    outcomes = set()
    step = 7 if what == "handing over to another class" else 1  # 6 times the same writing
    instruction = 0
    died = True
    while died:
        with tables() as world:
            table = world.new()
            prepare(world, table)
            early = world.view(table)
            assert early.names() == sorted(before)
            died = dies_at(instruction, lambda: operation(world, table), inside=PARAMS)  # noqa: B023
            heir = world.adopt(table)
            late = world.view(heir)
            for view in (early, late):
                found = {name: view[name] for name in view}
                for name, (old, new) in touched.items():
                    value = found.pop(name, ABSENT)
                    assert value in (old, new) if died else value == new
                    outcomes.add(value == new)
                assert found == {name: value for name, value in before.items() if name not in touched}
            check_usable(world, heir)
        instruction += step
    assert instruction > 50
    assert outcomes in ({True, False}, set())


def check_usable(world: Tables, table: Table) -> None:
    """Whatever was left is written over, added to, and read."""
    view = world.view(table)
    for name in ("p3", "large", "gone", "new", "newer"):
        for value in ("short", "x" * 5000):
            world.put(table, name, value)
            assert view[name] == value
    assert view["p4"] == 4
    world.adopt(table, leased_to=3)


def test_a_writer_that_dies_while_it_retires_the_table_has_done_so_or_not_begun() -> None:
    instruction = 0
    died = True
    outcomes = set()
    while died:
        with tables() as world:
            table = world.new()
            world.put(table, "x", 1)
            view = world.view(table)
            died = dies_at(instruction, table.retire, inside=PARAMS)
            outcomes.add(view.valid)
            if view.valid:
                assert view["x"] == 1
                world.adopt(table)
            else:
                with pytest.raises(ParameterError, match="retired"):
                    world.adopt(table)
        instruction += 1
    assert outcomes == {True, False}
