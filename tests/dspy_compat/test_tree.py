"""What a program is made of: classes, names, containers, frozen children, LMs of predictors (dspy's Module and BaseModule)."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import dspy
import pytest
from dspy.primitives.base_module import BaseModule
from dspy.primitives.module import ProgramMeta, set_attribute_by_name
from dspy_compat import programs
from dspy_compat.ways import Way


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def test_an_instance_begins_with_what_dspy_gives_it_also_without_super(way: Way) -> None:
    for factory in (programs.hops, programs.outer):
        program = way(factory)
        assert (program._compiled, program.callbacks, program.history) == (False, [], [])


def test_it_is_a_dspy_module_and_equal_only_to_itself(way: Way) -> None:
    program, other = way(programs.hops), way(programs.hops)
    assert isinstance(program, dspy.Module)
    assert isinstance(program, BaseModule)
    assert isinstance(type(program), ProgramMeta)
    assert program != other
    assert {program: 1, other: 2}[program] == 1


def test_its_class_is_the_users(way: Way) -> None:
    cls = programs.hops(way.base)
    program = way.built(cls)
    program.named_parameters()
    assert type(program).__name__ == "Hops"
    assert textwrap.dedent(inspect.getsource(type(program))) == textwrap.dedent(inspect.getsource(cls))
    assert "found = await self.one.acall(question=question)" in inspect.getsource(type(program))
    assert isinstance(program, cls) is not way.differs("class")


def test_parameters_are_named_by_where_they_are(way: Way) -> None:
    program = way(programs.outer)
    expected = [
        "hops.one",
        "hops.two.predict",
        "several[0]",
        "several[1].one",
        "several[1].two.predict",
        "named['x']",
        "named['deep'].one",
        "named['deep'].two.predict",
    ]
    assert isinstance(program.named_parameters(), list)
    assert names(program.named_parameters()) == names(program.named_predictors()) == expected
    assert program.parameters() == program.predictors() == [p for _, p in program.named_parameters()]
    assert all(type(p) is dspy.Predict for p in program.parameters())
    assert program.hops.one is program.parameters()[0]
    assert program.named["deep"].two.predict is program.predictors()[-1]


@pytest.mark.parametrize(("place", "name"), [("tuple", "place[0]"), ("int", "place['3']"), ("quote", "place['it's']")])
def test_names_dspy_cannot_set_are_listed_all_the_same(way: Way, place: str, name: str) -> None:
    program = way(programs.odd, place)
    assert names(program.named_parameters()) == [name]
    assert list(program.dump_state()) == [name]
    program.load_state(program.dump_state())


def test_modules_are_named_breadth_first_each_once(way: Way) -> None:
    program = way(programs.outer)
    found = list(program.named_sub_modules())
    assert names(found) == [
        "self",
        "self.hops",
        "self.hops.one",
        "self.hops.two",
        "self.several[0]",
        "self.several[1]",
        "self.named[x]",
        "self.named[deep]",
        "self.hops.two.predict",
        "self.several[1].one",
        "self.several[1].two",
        "self.several[2][0]",
        "self.named[deep].one",
        "self.named[deep].two",
        "self.named[nested][y]",
        "self.several[1].two.predict",
        "self.named[deep].two.predict",
        "self.named[nested][y].one",
        "self.named[nested][y].two",
        "self.named[nested][y].two.predict",
    ]
    assert found[0][1] is program
    assert len(names(program.named_sub_modules(type_=dspy.Predict))) == 11
    assert names(program.hops.named_sub_modules(type_=dspy.ChainOfThought)) == ["self.two"]


def test_a_shared_object_appears_once_and_is_one(way: Way) -> None:
    program = way(programs.outer)
    assert program.again is program.hops
    program.again.one.demos = [{"question": "q", "query": "a"}]
    assert program.hops.one.demos == [{"question": "q", "query": "a"}]


def test_a_frozen_child_vanishes_from_its_parent(way: Way) -> None:
    program, lm = way(programs.outer), programs.answering()
    program.hops._compiled = True
    assert names(program.named_parameters())[0] == "several[0]"
    assert "hops.one" not in program.dump_state()
    program.set_lm(lm)
    assert program.hops.one.lm is None
    assert program.several[0].lm is lm
    assert "self.hops.one" not in names(program.named_sub_modules(skip_compiled=True))
    program._compiled = True
    assert names(program.named_parameters())[0] == "several[0]"
    program.several[0]._compiled = True
    assert names(program.named_parameters())[0] == "several[0]"


def test_a_frozen_program_still_answers(way: Way) -> None:
    program = way(programs.outer)
    program.hops._compiled = True
    with dspy.context(lm=programs.answering()):
        assert program(question="?").answer == "yes"
    assert program.hops._compiled


def test_predictors_can_be_replaced_by_name(way: Way) -> None:
    program = way(programs.outer)
    texts = {name: p.signature.instructions for name, p in program.named_predictors()}

    def shouting(predictor: Any) -> Any:
        replaced = predictor.deepcopy()
        replaced.signature = replaced.signature.with_instructions(predictor.signature.instructions.upper())
        return replaced

    assert program.map_named_predictors(shouting) is program
    assert {name: p.signature.instructions for name, p in program.named_predictors()} == {n: t.upper() for n, t in texts.items()}
    with dspy.context(lm=programs.answering(), trace=[]):
        program(question="?")
        asked = [predictor for predictor, _, _ in dspy.settings.trace]
    assert asked == [program.hops.one, program.hops.two.predict]
    assert asked[0].signature.instructions == texts["hops.one"].upper()


ODD_PLACES = {"tuple": TypeError, "quote": SyntaxError}


@pytest.mark.parametrize("place", ODD_PLACES)
def test_dspys_own_limits_of_replacing_by_name_are_kept(way: Way, place: str) -> None:
    with pytest.raises(ODD_PLACES[place]):
        way(programs.odd, place).map_named_predictors(lambda predictor: predictor)


def test_a_number_as_a_key_becomes_text(way: Way) -> None:
    program = way(programs.odd, "int")
    program.map_named_predictors(lambda predictor: predictor)
    assert sorted(map(repr, program.place)) == ["'3'", "3"]


def test_an_attribute_can_be_set_by_name(way: Way) -> None:
    program = way(programs.outer)
    set_attribute_by_name(program, "hops.one.demos", [{"question": "q", "query": "a"}])
    set_attribute_by_name(program, "named['x'].demos", [{"a": "1", "b": "2"}])
    assert program.dump_state()["hops.one"]["demos"] == [{"question": "q", "query": "a"}]
    assert program.dump_state()["named['x']"]["demos"] == [{"a": "1", "b": "2"}]


def test_the_lm_of_its_predictors_is_set_and_asked(way: Way) -> None:
    program, lm = way(programs.hops), programs.answering()
    assert program.get_lm() is None
    program.set_lm(lm)
    assert program.get_lm() is lm
    assert program(question="?").answer == "yes"
    assert len(lm.history) == 2
    program.one.lm = programs.answering(query="other")
    assert program.one(question="?").query == "other"
    with pytest.raises(ValueError, match="Multiple LMs are being used"):
        program.get_lm()


def test_no_predictors_have_no_unique_lm(way: Way) -> None:
    with pytest.raises(ValueError, match="Multiple LMs are being used"):
        way(programs.doubling).get_lm()


def test_its_text_lists_its_predictors(way: Way) -> None:
    program = way(programs.hops)
    lines = "\n".join(f"{name} = {predictor}" for name, predictor in program.named_predictors())
    assert repr(program) == lines
    assert "two.predict = Predict(StringSignature(query -> reasoning, answer" in lines


def test_plain_attributes_are_the_programs(way: Way) -> None:
    program = way(programs.counter)
    program.mark = "mine"
    assert program.mark == "mine"
    assert program(item=1).count == 1
    if way.differs("attributes"):
        with pytest.raises(AttributeError):
            _ = program.count
        with pytest.raises(AttributeError, match="'count' is a plain attribute"):
            program.count = 5
    else:
        assert program.count == 1


def test_a_program_is_a_part_of_another(way: Way) -> None:
    class Around(dspy.Module):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner
            self.own = dspy.Predict("answer -> a")

        def forward(self, question: str) -> Any:
            return self.own(answer=self.inner(question=question).answer)

    inner = way(programs.hops)
    program = Around(inner)
    assert names(program.named_parameters()) == ["inner.one", "inner.two.predict", "own"]
    assert names(program.named_sub_modules())[:4] == ["self", "self.inner", "self.own", "self.inner.one"]
    lm = programs.answering()
    program.set_lm(lm)
    assert program(question="?").a == "A"
    assert len(lm.history) == len(program.history) == 3
    inner._compiled = True
    assert names(program.named_parameters()) == ["own"]


def test_a_predict_with_another_inside(way: Way) -> None:
    assert names(way.builtin(programs.TwoPredictors).named_parameters()) == ["self", "inner"]
    assert names(way(programs.parent_of_predictors).named_parameters()) == ["ps"]
