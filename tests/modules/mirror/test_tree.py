"""A tree made of an image is the program's, and stays made of the same objects while that changes."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Container
from typing import Any

import dspy
import pytest

from dspex_runtime.modules.mirror import image as mirror_image
from dspex_runtime.modules.mirror import values as mirror_values
from dspex_runtime.modules.mirror.tree import Part, Tree
from dspex_runtime.wire.codec import Codec
from helpers.mirrored_programs import Nested, TwoHops


class Root(dspy.Module):
    """Stands for a proxy."""


class Mirrored:
    def __init__(self, program: Any) -> None:
        self.program = program
        self.root = Root()
        self.tree = Tree(self.root, self.root.__dict__, None, "ref")  # type: ignore[arg-type]
        self.take()

    def take(self, edited: Container[str] = (), anew: Container[str] = ()) -> None:
        records = mirror_image.take(self.program)
        self.tree.take(Codec().unpack(Codec().pack([records]))[0], edited=edited, anew=anew)


def names(program: Any) -> list[str]:
    return [name for name, _ in program.named_sub_modules()] + [name for name, _ in program.named_parameters()]


def test_the_tree_has_the_programs_shape() -> None:
    it = Mirrored(Nested())
    assert names(it.root) == names(it.program)
    assert it.root.dump_state() == it.program.dump_state()
    assert "corpus" not in vars(it.root)
    assert isinstance(it.root.sub, Part)
    assert it.root.dup is it.root.sub
    assert (it.root.a[4], it.root.d["n"]) == (7, None)


def test_parts_stay_the_same_objects_while_they_change() -> None:
    it = Mirrored(Nested())
    before = {name: (part, dict(part.__dict__)) for name, part in it.tree.parts.items() if isinstance(part, dspy.Module)}
    it.program.cot.predict.demos = [{"question": "q", "answer": "a"}]
    it.program.sub._compiled = True
    it.take()
    for name, (part, attributes) in before.items():
        assert it.tree.parts[name] is part
        changed = {key for key, value in attributes.items() if part.__dict__[key] is not value}
        assert changed == {"cot.predict": {"demos"}, "sub": {"_compiled"}}.get(name, set()), name
    assert names(it.root) == names(it.program)


def test_parts_come_go_and_become_others() -> None:
    it = Mirrored(Nested())
    it.program.a.append(dspy.Predict("new -> one"))
    del it.program.d[3]
    it.program.cot = dspy.Predict("other -> kind")
    it.take()
    assert names(it.root) == names(it.program)
    assert type(it.root.cot) is dspy.Predict


def test_what_is_edited_here_stays_and_what_was_refused_goes() -> None:
    it = Mirrored(TwoHops())
    mine = it.root.rephrase.demos = [{"question": "mine"}]
    it.program.rephrase.demos = [{"question": "theirs"}]
    it.program.answer.predict.demos = [{"question": "theirs"}]
    it.take(edited={"rephrase"})
    assert it.root.rephrase.demos is mine
    assert it.root.answer.predict.demos == [{"question": "theirs"}]
    it.take(anew={"rephrase"})
    assert it.root.rephrase.demos == [{"question": "theirs"}]


def test_attributes_of_ones_own_stay() -> None:
    it = Mirrored(TwoHops())
    it.root.note = it.root.rephrase.note = "mine"
    it.program.rephrase.demos = [{}]
    it.take()
    assert (it.root.note, it.root.rephrase.note) == ("mine", "mine")


def test_a_parameter_of_a_part_is_an_attribute_with_a_value() -> None:
    outer = TwoHops()
    outer.inner = Nested()
    it = Mirrored(outer)
    assert (it.root.inner.temperature, it.root.inner.tags) == (0.2, ["a"])
    it.program.inner.temperature = 0.5
    it.take()
    assert it.root.inner.temperature == 0.5
    it.tree.parts["inner.temperature"].unbind()
    it.root.inner.temperature = 1
    assert it.root.inner.temperature == 1.0


class Own(dspy.Predict):
    """A predictor of the user's."""


def test_a_predictor_of_the_users_is_the_nearest_of_dspys() -> None:
    program = TwoHops()
    program.rephrase = Own("question -> query", n=2)
    it = Mirrored(program)
    assert type(it.root.rephrase) is dspy.Predict
    assert it.root.rephrase.config == {"n": 2}


def test_of_dspys_own_modules_what_they_were_built_with_can_be_asked() -> None:
    program = TwoHops()
    program.react = dspy.ReAct("question -> answer", tools=[max], max_iters=3)
    it = Mirrored(program)
    assert isinstance(it.root.react, dspy.ReAct)
    assert it.root.react.max_iters == 3
    assert names(it.root) == names(program)


def test_a_value_that_nothing_pickles_is_left_out() -> None:
    program = TwoHops()
    program.rephrase.config = {"lock": threading.Lock()}
    it = Mirrored(program)
    assert "config" not in it.root.rephrase.__dict__


SIGNATURE = """import dspy
class Sig(dspy.Signature):
    'Be brief.'
    q: str = dspy.InputField()
    a: str = dspy.OutputField()
"""


def test_a_class_that_cannot_be_imported_comes_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("nowhere_to_be_found")
    module.__file__ = "/nowhere_to_be_found.py"
    program = TwoHops()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        exec(SIGNATURE, vars(module))
        program.rephrase = dspy.Predict(module.Sig)
        by_name, whole = mirror_image.take(program), mirror_image.take(program, whole=True)
    tree = Tree(Root(), {}, None, "ref")  # type: ignore[arg-type]
    mirror_values._signatures.clear()
    with pytest.raises(ImportError, match="nowhere_to_be_found"):
        tree.take(by_name, edited=(), anew=())
    tree.take(whole, edited=(), anew=())
    assert tree.parts["rephrase"].signature.instructions == "Be brief."
