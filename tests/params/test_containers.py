"""What is noticed of a list or dict that is changed in place: anything that comes, goes or is replaced, also further inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dspex_runtime.params.cell import Cell
from dspex_runtime.params.containers import MOST_COMPARED, containers_in
from dspex_runtime.params.declaration import make_spec

VALUE = {"words": ["a", "b"], "table": {"a": 1}, "empty": []}


def cell_of(value: Any, type: Any = "any") -> Cell:
    return Cell(make_spec(type, value), "it")


IN_PLACE: dict[str, Callable[[Any], Any]] = {
    "a key": lambda value: value.update(more=1),
    "a value": lambda value: value.update(words=["a", "b"]),
    "another key for the same value": lambda value: value.update(other=value.pop("empty")),
    "an item inside": lambda value: value["words"].append("c"),
    "an item inside replaced": lambda value: value["words"].__setitem__(0, "z"),
    "a value inside": lambda value: value["table"].update(a=2),
    "the first of an empty one": lambda value: value["empty"].append(1),
}


@pytest.mark.parametrize("change", IN_PLACE.values(), ids=IN_PLACE)
def test_a_change_is_seen_once(change: Callable[[Any], Any]) -> None:
    cell = cell_of(VALUE)
    (container,) = containers_in([cell])
    assert not container.changed()
    change(cell.value)
    assert container.changed()
    assert not container.changed()


def test_what_is_changed_right_after_an_assignment_is_seen() -> None:
    cell = cell_of([1], list)
    (container,) = containers_in([cell])
    cell.store([2])
    cell.value.append(3)
    assert container.changed()
    assert not container.changed()


def test_of_what_is_beyond_a_bound_the_length_is_compared() -> None:
    cell = cell_of([[0], [0] * MOST_COMPARED], list)
    (container,) = containers_in([cell])
    cell.value[1][5] = 1
    assert not container.changed()
    cell.value[1].append(1)
    assert container.changed()
    cell.value[0][0] = 1
    assert container.changed()


def test_what_contains_itself_comes_to_an_end() -> None:
    value: list[Any] = []
    value.append(value)
    cell = cell_of(None)
    cell.store(value)
    (container,) = containers_in([cell])
    assert not container.changed()


def test_numbers_and_text_are_not_watched() -> None:
    assert containers_in([cell_of(1, int), cell_of("a", str), cell_of([0.0], "array")]) == []
