"""Which parameters are inside a program, and when to look again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules.tree import LOOKED_AT, TreeWatch, named_modules, named_parameters


class Part(dx.Module):
    k = dx.Parameter(int, default=1)

    def __init__(self) -> None:
        self.p = dspy.Predict("a -> b")
        self.calls = 0


class Program(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.p = dspy.Predict("a -> b")
        self.part = Part()
        self.parts = [Part()]
        self.named: dict[Any, Any] = {"x": dspy.Predict("a -> b")}
        self.pair = (Part(), 1)
        self.log: list[Any] = []
        self.cache: dict[str, Any] = {"a": 1}
        self.corpus = ["passage"] * 10_000
        self.later: Any = None
        self.calls = 0


NAMES = ["p", "part.k", "part.p", "parts[0].k", "parts[0].p", "named['x']", "pair[0].k", "pair[0].p"]


def names(found: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in found]


def test_the_names_are_dspys() -> None:
    program = Program()
    assert names(named_parameters(program)) == names(program.named_parameters()) == NAMES


def test_cells_of_frozen_children_are_listed_and_their_predictors_are_not() -> None:
    program = Program()
    program.part._compiled = program.parts[0]._compiled = True
    assert names(program.named_parameters()) == ["p", "named['x']", "pair[0].k", "pair[0].p"]
    assert names(named_parameters(program)) == ["p", "named['x']", "pair[0].k", "pair[0].p", "part.k", "parts[0].k"]


def test_a_predictor_that_was_listed_before_its_module_was_frozen_stays_listed() -> None:
    program = Program()
    program.part._compiled = True
    assert "part.p" in names(named_parameters(program, known={"part.p"}))


def test_a_shared_object_is_listed_once_and_a_cycle_ends() -> None:
    program = Program()
    program.again = program.part
    program.part.outer = program.part.me = program.part  # dspy itself does not end on a cycle that is not frozen
    program.part._compiled = True
    found = names(named_parameters(program))
    assert found.count("part.k") == 1
    assert "again.k" not in found


def test_modules_are_named_like_parameters() -> None:
    program = Program()
    assert names(named_modules(program)) == ["", "part", "parts[0]", "pair[0]"]


def replace_first(items: list[Any], new: Any) -> None:
    items[0] = new


def swap(program: Any) -> None:
    program.p, program.later = program.later, program.p


RESTRUCTURED: dict[str, Callable[[Any], Any]] = {
    "a predictor assigned": lambda m: setattr(m, "p", dspy.Predict("a -> b")),
    "a predictor where None was": lambda m: setattr(m, "later", dspy.Predict("a -> b")),
    "a predictor where a number was": lambda m: setattr(m, "calls", dspy.Predict("a -> b")),
    "an attribute more": lambda m: setattr(m, "new", Part()),
    "an attribute less": lambda m: delattr(m, "p"),
    "two exchanged": swap,
    "inside a part": lambda m: setattr(m.part, "p", dspy.Predict("a -> b")),
    "inside a part in a list": lambda m: setattr(m.parts[0], "p", dspy.Predict("a -> b")),
    "a list's item": lambda m: replace_first(m.parts, Part()),
    "a list longer": lambda m: m.parts.append(Part()),
    "a list shorter": lambda m: m.parts.clear(),
    "a list that had none": lambda m: m.log.append(Part()),
    "a dict's item": lambda m: m.named.update(x=dspy.Predict("a -> b")),
    "a dict's new key": lambda m: m.named.update(y=dspy.Predict("a -> b")),
    "a dict that had none": lambda m: m.cache.update(p=dspy.Predict("a -> b")),
    "a list assigned that holds one": lambda m: setattr(m, "log", [Part()]),
    "a list assigned in place of one that held some": lambda m: setattr(m, "parts", []),
    "a tuple": lambda m: setattr(m, "pair", (Part(), 1)),
    "a flag": lambda m: setattr(m.part, "_compiled", True),
}


@pytest.mark.parametrize("change", RESTRUCTURED.values(), ids=RESTRUCTURED)
def test_parameters_that_come_go_or_are_replaced_are_seen_once(change: Callable[[Any], Any]) -> None:
    program = Program()
    watch = TreeWatch(named_modules(program))
    assert not watch.differs()
    change(program)
    assert watch.differs()
    watch.take(named_modules(program))
    assert not watch.differs()


ORDINARY: dict[str, Callable[[Any], Any]] = {
    "a counter": lambda m: setattr(m, "calls", m.calls + 1),
    "a counter in a part": lambda m: setattr(m.part, "calls", m.part.calls + 1),
    "a log grows": lambda m: m.log.append("line"),
    "a log is cut": lambda m: m.log.clear(),
    "a cache grows": lambda m: m.cache.update({str(len(m.cache)): 1}),
    "a cache shrinks": lambda m: m.cache.clear(),
    "a list is assigned": lambda m: setattr(m, "log", [1, 2]),
    "a parameter's value": lambda m: setattr(m.part, "k", m.part.k + 1),
    "a demo": lambda m: m.p.demos.append({}),
    "a plain attribute more": lambda m: setattr(m, f"x{len(vars(m))}", 1),
    "a plain attribute less": lambda m: vars(m).pop("calls", None),
    "history": lambda m: m.history.append({}),
    "the passages": lambda m: m.corpus.append("one more"),
}


@pytest.mark.parametrize("use", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_use_is_none(use: Callable[[Any], Any]) -> None:
    program = Program()
    watch = TreeWatch(named_modules(program))
    for _ in range(3):
        use(program)
        assert not watch.differs()


def test_a_list_that_was_assigned_is_watched_from_then_on() -> None:
    program = Program()
    watch = TreeWatch(named_modules(program))
    program.log = []
    assert not watch.differs()
    program.log.append(Part())
    assert watch.differs()


def test_only_the_first_items_of_a_long_list_are_looked_at() -> None:
    class Counted(list[Any]):
        reads = 0

        def __iter__(self) -> Any:
            for item in super().__iter__():
                type(self).reads += 1
                yield item

    program = Program()
    program.corpus = Counted(["passage"] * 10_000)
    watch = TreeWatch(named_modules(program))
    Counted.reads = 0
    program.calls += 1
    assert not watch.differs()
    program.log = [1]
    assert not watch.differs()
    assert Counted.reads <= LOOKED_AT
