"""A cell on its own, bound, and copied."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import ConstraintViolationError, GradientNotRequiredError, ParameterError
from dspex_runtime.params.cell import HISTORY_LENGTH, Cell
from dspex_runtime.params.declaration import make_spec

TEMPERATURE = make_spec(float, 0.2, limits={"min": 0.0, "max": 2.0})


class Owner:
    """Notes what is left to it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def set(self, name: str, value: Any, *, who: str) -> None:
        self.asked.append(("set", name, value, who))

    def apply_gradient(self, name: str, gradient: Any, *, who: str) -> None:
        self.asked.append(("gradient", name, gradient, who))

    def rollback(self, name: str, version: int, *, who: str) -> None:
        self.asked.append(("rollback", name, version, who))

    def reset(self, name: str, *, who: str) -> None:
        self.asked.append(("reset", name, who))

    def version(self, name: str) -> int:
        return 42


def test_a_cell_begins_with_the_default_and_no_history() -> None:
    cell = Cell(TEMPERATURE, "temperature")
    assert (cell.value, cell.version, list(cell.history)) == (0.2, 1, [])


def test_a_set_is_checked_versioned_and_remembered() -> None:
    cell = Cell(TEMPERATURE, "temperature")
    cell.set(1, who="me")
    assert (cell.value, cell.version) == (1.0, 2)
    (line,) = cell.history
    assert (line.version, line.who, line.value, line.old) == (2, "me", 1.0, 0.2)
    assert line.when > 0
    with pytest.raises(ConstraintViolationError, match="temperature must be at most"):
        cell.set(3)
    assert (cell.value, cell.version, len(cell.history)) == (1.0, 2, 1)


def test_history_has_the_last_hundred() -> None:
    cell = Cell(make_spec(int), "n")
    for value in range(250):
        cell.set(value)
    assert [line.value for line in cell.history] == list(range(150, 250))
    assert len(cell.history) == HISTORY_LENGTH == 100


def test_rollback_goes_to_any_version_that_is_kept_also_the_one_before() -> None:
    cell = Cell(make_spec(int), "n")
    cell.set(5)
    cell.set(6)
    cell.rollback(2)
    assert (cell.value, cell.version) == (5, 4)
    cell.rollback(1)
    assert cell.value == 0
    for version in (0, 9, "2"):
        with pytest.raises(ParameterError, match=f"n has no version {version!r} to go back to; kept are 1 to 5"):
            cell.rollback(version)  # type: ignore[arg-type]


def test_gradients_accumulate_and_reset_forgets_them() -> None:
    cell = Cell(make_spec(float, requires_grad=True, learning_rate=1.0, momentum=0.5), "w")
    cell.apply_gradient(1.0)
    cell.apply_gradient(1.0)
    assert (cell.value, cell.grad) == (-1.25, 0.75)
    cell.reset()
    assert (cell.value, cell.grad, cell.version) == (0.0, None, 4)


def test_a_step_that_leads_out_of_bounds_changes_nothing() -> None:
    cell = Cell(make_spec(float, requires_grad=True, learning_rate=1.0, limits={"min": -1.0}), "w")
    with pytest.raises(ConstraintViolationError):
        cell.apply_gradient(2.0)
    assert (cell.value, cell.grad, cell.version) == (0.0, None, 1)


def test_a_gradient_needs_a_declaration() -> None:
    with pytest.raises(GradientNotRequiredError, match="temperature takes no gradients") as caught:
        Cell(TEMPERATURE, "temperature").apply_gradient(0.1)
    assert caught.value.hint == "declare it with requires_grad=True"


def test_what_was_set_so_far_can_be_made_the_beginning() -> None:
    cell = Cell(TEMPERATURE, "temperature")
    cell.set(0.7)
    cell.begin()
    assert (cell.value, cell.version, list(cell.history)) == (0.7, 1, [])
    cell.set(0.9)
    cell.reset()
    assert cell.value == 0.7


def test_cells_do_not_share_a_default_that_can_be_changed() -> None:
    spec = make_spec(list, ["a"])
    one, other = Cell(spec, "words"), Cell(spec, "words")
    one.value.append("b")
    assert other.value == ["a"]
    one.reset()
    assert one.value == ["a"]


def test_a_bound_cell_leaves_everything_to_its_owner() -> None:
    cell, owner = Cell(TEMPERATURE, "temperature"), Owner()
    cell.set(0.5)
    cell.bind(owner, "inner.temperature")
    cell.set(9.0)
    cell.apply_gradient(1.0, who="trainer")
    cell.rollback(3)
    cell.reset()
    name = "inner.temperature"
    assert owner.asked == [
        ("set", name, 9.0, "module"),
        ("gradient", name, 1.0, "trainer"),
        ("rollback", name, 3, "module"),
        ("reset", name, "module"),
    ]
    assert (cell.value, cell.version, list(cell.history)) == (0.5, 42, [])
    cell.store(0.8)
    assert cell.load() == cell.value == 0.8
    cell.unbind()
    cell.set(1.0)
    assert (cell.value, cell.version) == (1.0, 2)


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, copy.copy, lambda cell: pickle.loads(pickle.dumps(cell))], ids=["deepcopy", "copy", "pickle"]
)
def test_a_copy_is_never_bound(twin: Any) -> None:
    cell, owner = Cell(make_spec(list, ["a"]), "words"), Owner()
    cell.bind(owner, "words")
    copied = twin(cell)
    copied.set(["b"])
    assert copied.value == ["b"]
    assert copied.version == 2
    assert (cell.value, cell.owner, owner.asked) == (["a"], owner, [])


def test_a_deep_copy_shares_nothing_that_can_be_changed() -> None:
    cell = Cell(make_spec(list, [["a"]]), "words")
    cell.set([["b"]])
    twin = copy.deepcopy(cell)
    twin.value[0].append("c")
    twin.set([])
    assert (cell.value, cell.version, len(cell.history)) == ([["b"]], 2, 1)
    assert len(twin.history) == 2


def test_a_deep_copy_shares_an_array_that_nobody_can_change() -> None:
    cell = Cell(make_spec("array", np.zeros(1000)), "bias")
    assert copy.deepcopy(cell).value is cell.value


def test_a_subclass_with_attributes_of_its_own_is_copied_with_them() -> None:
    class Labelled(Cell):
        label = "none"

    cell = Labelled(TEMPERATURE, "temperature")
    cell.label = "mine"
    twin = copy.deepcopy(cell)
    assert (type(twin), twin.label) == (Labelled, "mine")


def test_a_cell_shows_what_it_is() -> None:
    assert repr(Cell(TEMPERATURE, "temperature")) == "<Cell temperature=0.2 version=1>"
