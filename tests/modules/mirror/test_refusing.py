"""What would reach nobody, or fits no predictor, is refused, with what was expected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.modules.mirror.proxy import ModuleProxy
from dspex_runtime.modules.mirror.refusing import check_state
from helpers.local_ref import LocalRef

NEW = dspy.Predict("x -> y")


class Sub(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k = 1
        self.p = dspy.Predict("q -> a")

    def forward(self, q: str) -> Any:
        return self.p(q=q)


class Program(Sub):
    def __init__(self) -> None:
        super().__init__()
        self.sub = Sub()
        self.steps = [dspy.Predict("q -> a")]
        self.empty: list[Any] = []
        self.candidate_programs: list[Any] = []


def change(value: Any, path: str) -> Callable[[Any], None]:
    def changed(program: Any) -> None:
        *outer, name = path.split(".")
        for each in outer:
            program = getattr(program, each)
        if value is None:
            delattr(program, name)
        else:
            setattr(program, name, value)

    return changed


REFUSED = {
    "k": (5, "'k' is a plain attribute of 'sup/qa'.*dx.Parameter"),
    "empty": ([NEW], "'empty' is a plain attribute"),
    "sub.k": (5, "'k' is a plain attribute of the program's 'sub'"),
    "new": (NEW, "'new' is no part of 'sup/qa'"),
    "news": ({"a": [NEW]}, "'news' is no part"),
    "sub.new": (NEW, "'new' is no part of the program's 'sub'"),
    "p": (5, "'p' is a part of 'sup/qa'.*cannot be taken out"),
}


@pytest.mark.parametrize(("path", "value", "text"), [(path, *each) for path, each in REFUSED.items()])
def test_what_would_not_reach_the_program_is_refused(path: str, value: Any, text: str) -> None:
    proxy = ModuleProxy(LocalRef(Program()))
    with pytest.raises(AttributeError, match=text):
        change(value, path)(proxy)
    assert [name for name, _ in proxy.named_predictors()] == [name for name, _ in Program().named_predictors()]


@pytest.mark.parametrize("path", ["k", "p", "sub", "sub.k", "sub.p"])
def test_what_is_the_programs_cannot_be_deleted(path: str) -> None:
    with pytest.raises(AttributeError, match="in its process"):
        change(None, path)(ModuleProxy(LocalRef(Program())))


def test_what_a_module_of_dspys_was_built_with_is_shown_and_cannot_be_set() -> None:
    proxy = ModuleProxy(LocalRef(dspy.ReAct("question -> answer", tools=[], max_iters=4)))
    with pytest.raises(AttributeError, match="'max_iters' is a plain attribute"):
        proxy.max_iters = 2
    assert proxy.max_iters == 4


def test_everything_else_is_free() -> None:
    proxy = ModuleProxy(LocalRef(Program()))
    free: dict[str, Any] = {
        "note": [1], "callbacks": [], "_compiled": True, "candidate_programs": [1], "p": NEW, "steps": [NEW], "forward": print,
    }  # fmt: skip
    for name, value in free.items():
        setattr(proxy, name, value)
        assert getattr(proxy, name) is value, name
    proxy.sub.note = 1
    del proxy.note, proxy.sub.note
    with pytest.raises(AttributeError, match="shows no attribute 'note'"):
        del proxy.note


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda proxy: proxy.reset_copy()])
def test_a_copy_takes_any_attribute(copied: Callable[[Any], Any]) -> None:
    twin = copied(ModuleProxy(LocalRef(Program())))
    for path in ("k", "sub.k", "new", "sub.new"):
        change(NEW, path)(twin)
    for path in ("k", "p", "sub.k", "sub.p"):
        change(None, path)(twin)


def test_a_bare_predict_has_what_dspy_sets_on_it() -> None:
    proxy = ModuleProxy(LocalRef(dspy.Predict("question -> answer")))
    proxy.demos, proxy.config, proxy.traces = [{"question": "q"}], {"n": 1}, []
    proxy.map_named_predictors(lambda predictor: predictor)
    assert proxy.demos == [{"question": "q"}]


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"signature": "q -> a, b"}, r"a.signature must be a dspy.Signature, as dspy.Signature\(text\).*got 'q -> a, b' \(str\)"),
        ({"signature": 5}, r"a.signature must be a dspy.Signature; got 5 \(int\)"),
        ({"demos": "abc"}, r"a.demos must be a list of Examples or dicts; got 'abc' \(str\)"),
        ({"demos": [{}, 2]}, r"a.demos\[1\] must be an Example or a dict; got 2 \(int\)"),
        ({"train": None}, r"a.train must be a list; got None"),
        ({"config": [1]}, r"a.config must be a dict; got \[1\] \(list\)"),
    ],
)
def test_what_no_predictor_can_have_is_named(attributes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConstraintViolationError, match=text):
        check_state("a", attributes)


def test_what_a_predictor_has_fits() -> None:
    check_state("", vars(dspy.Predict("question -> answer")))
    check_state("a", {"demos": (dspy.Example(q="1"), {"q": "2"})})
