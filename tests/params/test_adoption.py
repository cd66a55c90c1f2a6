"""Adopting: a table is whole, or it is refused; a broken one never ends the process or gives a wrong value."""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.errors import ParameterError
from dspex_runtime.params import layout, slots
from dspex_runtime.params.adoption import survey
from dspex_runtime.params.memory import Memory, read_only
from dspex_runtime.params.table import Table
from dspex_runtime.params.view import View
from helpers.param_tables import CODEC, Tables, tables


@pytest.fixture
def memory(world: Tables) -> Memory:
    table = world.new()
    for name, value in {"a": 1, "b": "x" * 300, "c": [1, 2], "d": "y" * 100_000}.items():
        world.put(table, name, value)
        world.put(table, name, value)
    return table._memory


def test_a_whole_table_tells_its_names_and_where_it_ends(memory: Memory) -> None:
    names, end = survey(memory)
    assert list(names) == ["a", "b", "c", "d"]
    assert layout.HEADER_BYTES + layout.extent_bytes(0) < end <= len(memory.bytes)


def slot(memory: Memory, number: int) -> int:
    return slots.slot_at(memory, number)


def area(memory: Memory, number: int) -> int:
    return slots.copy_words(slot(memory, number), 0) + layout.AREA


def same_area(memory: Memory) -> None:
    memory.words[area(memory, 0)] = memory.words[area(memory, 1)]


def same_name(memory: Memory) -> None:
    for word in (layout.NAME, layout.NAME_CRC):
        memory.words[slot(memory, 0) + word] = memory.words[slot(memory, 1) + word]


def store(word: Callable[[Memory], int], value: int) -> Callable[[Memory], None]:
    def break_it(memory: Memory) -> None:
        memory.words[word(memory)] = value

    return break_it


BROKEN: dict[str, tuple[Callable[[Memory], None], str]] = {
    "two copies in one place": (same_area, "overlap"),
    "one name twice": (same_name, "twice"),
    "an area in the header": (store(lambda m: area(m, 0), layout.area_word(64, 6)), "overlap"),
    "an area in the slots": (store(lambda m: area(m, 0), layout.area_word(5 * 1024, 6)), "overlap"),
    "an area behind the end": (store(lambda m: area(m, 0), layout.area_word(2**30, 6)), "it uses"),
    "an area of absurd size": (store(lambda m: area(m, 0), layout.area_word(2**20, 255)), "it uses"),
    "an extent in the header": (store(lambda _: layout.EXTENTS + 1, 64), "overlap"),
    "more slots than names": (store(lambda _: layout.N_SLOTS, 7), "name"),
    "a name behind the end": (store(lambda m: slot(m, 0) + layout.NAME, layout.name_word(2**40, 5)), "name"),
    "a later layout": (store(lambda _: layout.LAYOUT, 9), "layout 9, expected 1"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_refused_and_says_what_is_wrong(case: str, memory: Memory) -> None:
    break_it, text = BROKEN[case]
    break_it(memory)
    with pytest.raises(ParameterError, match=text):
        Table.adopt(os.dup(memory.fd))


def test_every_beginning_of_a_table_is_refused_or_whole(memory: Memory) -> None:
    content = bytes(memory.bytes)
    _, end = survey(memory)
    for size in range(0, len(content), 512):
        cut = os.memfd_create("cut", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(cut, content[:size])
        fcntl.fcntl(cut, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        if size >= end:
            adopted = Table.adopt(cut)
            assert adopted.names() == ["a", "b", "c", "d"]
            adopted.close()
        else:
            with pytest.raises(ParameterError):
                Table.adopt(cut)


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 4))
def test_flipped_bits_give_an_error_or_the_right_value_and_never_another(seed: int, flips: int) -> None:
    choose = random.Random(seed)
    with tables() as world:
        table = world.new()
        right = {f"p{n}": choose.choice([n, "x" * 10 * n, list(range(n))]) for n in range(12)}
        for name, value in right.items():
            world.put(table, name, value)
            world.put(table, name, value)
        used = survey(table._memory)[1]
        for _ in range(flips):
            where = choose.choice(
                [choose.randrange(64), choose.randrange(256, 416), choose.randrange(4096, 5632), choose.randrange(used)]
            )
            table._memory.bytes[where] ^= 1 << choose.randrange(8)
        try:
            adopted = Table.adopt(os.dup(table.fd))
        except ParameterError:
            pass
        else:
            adopted.close()
        try:
            view = View(read_only(table.fd), CODEC, world.fetch)
        except ParameterError:
            return
        for name, value in right.items():
            try:
                assert view.get(name) == value
            except ParameterError:
                pass
        view.close()
