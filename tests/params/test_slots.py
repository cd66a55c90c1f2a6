"""Reading a slot: whole or not at all, whatever lies in the memory."""

from __future__ import annotations

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.params import layout, slots
from dspex_runtime.params.table import Table
from helpers.killing import interrupted_at
from helpers.param_tables import Tables


@pytest.fixture
def table(world: Tables) -> Table:
    table = world.new()
    table.publish(table.add("x"), 1, b"one", b"annex")
    table.publish(table.add("x"), 2, b"two", b"annex")
    return table


def slot_of(table: Table, name: str = "x") -> int:
    slot = table.slot(name)
    assert slot is not None
    return slot


def poke(table: Table, word: int, value: int) -> None:
    table._memory.words[word] = value


def test_a_slot_gives_version_bytes_and_annex(table: Table) -> None:
    assert slots.read(table._memory, slot_of(table)) == slots.Stored(
        2, b"two", b"annex", False, 3, 0, table._memory.words[slot_of(table)]
    )


@pytest.mark.parametrize("word", [layout.EMPTY, layout.POISON])
def test_an_empty_or_removed_slot_gives_nothing(table: Table, word: int) -> None:
    poke(table, slot_of(table), word)
    assert slots.read(table._memory, slot_of(table)) is None


def active(table: Table) -> int:
    return slots.copy_words(slot_of(table), table._memory.words[slot_of(table)] & 1)


BROKEN = {
    "the version": (layout.VERSION, 3),
    "a version of zero": (layout.VERSION, 0),
    "the lengths": (layout.LENGTHS, 4 << 32 | 4),
    "lengths beyond the area": (layout.LENGTHS, layout.LOW),
    "the checksum": (layout.CHECK, 1),
    "another kind": (layout.CHECK, layout.EXTERNAL << 32),
    "the place": (layout.AREA, layout.area_word(64, 6)),
    "a place beyond the end": (layout.AREA, layout.area_word(2**40, 6)),
    "no place": (layout.AREA, 0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_copy_that_is_not_whole_is_never_returned(table: Table, case: str) -> None:
    field, value = BROKEN[case]
    poke(table, active(table) + field, value)
    with pytest.raises(ParameterError, match="version 2 of 'x' is not whole"):
        slots.read(table._memory, slot_of(table))


def test_a_changed_byte_is_found(table: Table) -> None:
    start, _ = layout.area_place(table._memory.words[active(table) + layout.AREA])
    for at in range(start, start + 8):
        table._memory.bytes[at] ^= 1
        with pytest.raises(ParameterError, match="not whole"):
            slots.read(table._memory, slot_of(table))
        table._memory.bytes[at] ^= 1
    assert slots.read(table._memory, slot_of(table)) is not None


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 3000], ids=["in place", "in a larger area"])
def test_a_reader_that_is_overtaken_between_any_two_instructions_gets_one_whole_version(
    world: Tables, times: int, size: int
) -> None:
    table = world.new()
    slot = table.add("x")
    version = 0

    def publish(n_bytes: int) -> None:
        nonlocal version
        version += 1
        letter = b"%c" % (ord("a") + version % 20)
        table.publish(slot, version, letter * n_bytes, letter * 9)

    def overtake() -> None:
        for _ in range(times):
            publish(size + version)

    def read() -> None:
        stored = slots.read(table._memory, slot)
        assert stored is not None
        assert before <= stored.version <= version
        assert set(stored.data) == set(stored.annex) == {ord("a") + stored.version % 20}
        seen.add(stored.version - before)

    seen: set[int] = set()
    instruction = 0
    interrupted = True
    while interrupted:
        publish(5)
        before = version
        interrupted = interrupted_at(instruction, read, inside="dspex_runtime/params", by=overtake)
        instruction += 1
    assert seen == {0, times}


def test_a_reader_whose_copy_is_being_overwritten_does_not_believe_a_right_checksum(table: Table) -> None:
    poke(table, active(table) + layout.VERSION, 0)  # as a writer does before it touches the bytes
    with pytest.raises(ParameterError, match="not whole"):
        slots.read(table._memory, slot_of(table))


def test_the_directory_lists_all_names_from_a_number_on(table: Table) -> None:
    table.add("\0facts")
    table.add("y")
    assert [name for name, _ in slots.directory(table._memory)] == ["x", "\0facts", "y"]
    assert [name for name, _ in slots.directory(table._memory, 2)] == ["y"]


def test_a_name_that_is_not_whole_is_found(table: Table) -> None:
    offset, _ = layout.name_place(table._memory.words[slot_of(table) + layout.NAME])
    table._memory.bytes[offset] ^= 1
    with pytest.raises(ParameterError, match="name of the slot"):
        list(slots.directory(table._memory))


@pytest.mark.parametrize("offset", [0, 4100, 2**40])
def test_an_extent_that_is_nowhere_is_found(table: Table, offset: int) -> None:
    poke(table, layout.EXTENTS, offset)
    with pytest.raises(ParameterError, match="slot 0"):
        list(slots.directory(table._memory))


HEADERS = {
    "another beginning": (layout.MAGIC, 5, "no parameter table"),
    "a later layout": (layout.LAYOUT, 2, "layout 2, expected 1"),
    "too many slots": (layout.N_SLOTS, 2**40, "more than"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_another_header_is_refused(table: Table, case: str) -> None:
    word, value, text = HEADERS[case]
    poke(table, word, value)
    with pytest.raises(ParameterError, match=text):
        slots.check_header(table._memory)
