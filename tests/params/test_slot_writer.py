"""The order of stores: what readers see is whole after each of them, and the file doubles when it is full."""

from __future__ import annotations

import os
from functools import partial

import pytest

from dspex_runtime.params import layout, slots
from dspex_runtime.params.memory import Memory
from dspex_runtime.params.slot_writer import SlotWriter
from helpers.killing import dies_at
from helpers.param_tables import Tables


@pytest.fixture
def memory(world: Tables) -> Memory:
    return world.new()._memory


@pytest.fixture
def writer(memory: Memory) -> SlotWriter:
    return SlotWriter(memory, layout.HEADER_BYTES + layout.extent_bytes(0))


def test_the_copies_take_turns_and_the_one_that_is_published_is_not_touched(memory: Memory, writer: SlotWriter) -> None:
    slot = writer.new_slot("x")
    copies = []
    for version in range(1, 6):
        before = bytes(memory.bytes)
        at = slots.copy_words(slot, memory.words[slot] & 1) * 8
        start, capacity = layout.area_place(memory.words[at // 8 + layout.AREA])
        writer.write(slot, version, b"%d" % version, b"annex", None)
        if version > 1:
            assert bytes(memory.bytes)[at : at + 32] == before[at : at + 32]
            assert bytes(memory.bytes)[start : start + capacity] == before[start : start + capacity]
        copies.append(memory.words[slot] & 1)
    assert copies == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("external", [None, (100_000, 7)], ids=["inline", "blob"])
def test_until_the_word_is_stored_readers_see_the_version_before(
    memory: Memory, writer: SlotWriter, external: tuple[int, int] | None
) -> None:
    slot = writer.new_slot("x")
    writer.write(slot, 1, b"one", b"annex", None)
    instruction, version = 0, 1
    while dies_at(instruction, partial(writer.write, slot, version + 1, b"next", b"annex", external), inside="slot_writer"):
        stored = slots.read(memory, slot)
        assert stored is not None
        assert stored.version in (version, version + 1)
        version = stored.version
        instruction += 1
    assert instruction > 50


def test_an_area_is_used_again_when_the_value_fits_and_doubled_when_it_does_not(memory: Memory, writer: SlotWriter) -> None:
    slot = writer.new_slot("x")
    taken = []
    for version, size in enumerate([1000, 1000, 1024, 3, 1025, 1025, 2048], start=1):
        before = writer.used
        writer.write(slot, version, b"x" * size, b"", None)
        taken.append(writer.used - before)
    assert taken == [1024, 1024, 0, 0, 2048, 2048, 0]


def test_the_file_doubles_when_it_is_full(memory: Memory, writer: SlotWriter) -> None:
    sizes = []
    for n in range(6):
        writer.write(writer.new_slot(f"x{n}"), 1, b"x" * 60_000, b"", None)
        sizes.append(os.fstat(memory.fd).st_size)
    assert sizes == [131072, 262144, 262144, 524288, 524288, 524288]
    assert writer.used <= sizes[-1] == len(memory.bytes)


def test_a_new_slot_is_empty_whatever_a_dead_writer_left_there(memory: Memory, writer: SlotWriter) -> None:
    place = slots.slot_at(memory, 0)
    for word in range(place, place + layout.SLOT_WORDS):
        memory.words[word] = 0xDEAD
    slot = writer.new_slot("x")
    assert slot == place
    assert slots.read(memory, slot) is None
    assert slots.version_of(memory, slot) == 0
    writer.write(slot, 1, b"x", b"", None)
    assert slots.name_at(memory, slot) == "x"


def test_a_name_is_found_only_when_its_slot_is_whole(world: Tables) -> None:
    instruction = 0
    died = True
    while died:
        memory = world.new()._memory
        writer = SlotWriter(memory, layout.HEADER_BYTES + layout.extent_bytes(0))
        died = dies_at(instruction, lambda: writer.new_slot("x"), inside="dspex_runtime/params")  # noqa: B023
        assert [name for name, _ in slots.directory(memory)] in ([], ["x"])
        instruction += 1
