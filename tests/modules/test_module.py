"""dx.Module: declared parameters on a dspy.Module, in every form that dspy copies, saves and loads."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import numpy as np
import pytest
from dspy.utils import DummyLM

import dspex_runtime as dx


class Retriever(dx.Module):
    k = dx.Parameter(int, default=3, min=1)

    def forward(self, query: str) -> Any:
        return dspy.Prediction(passages=[query] * self.k)


class Answerer(dx.Module):
    temperature = dx.Parameter(float, default=0.2, min=0.0, max=2.0)
    bias = dx.Parameter("array", default=[0.0, 0.0], requires_grad=True, learning_rate=0.1, momentum=0.9)
    words = dx.Parameter(list, default=["a"])

    def __init__(self, temperature: float | None = None) -> None:  # no super().__init__(), as dspy allows
        self.answer = dspy.ChainOfThought("question -> answer")
        self.retriever = Retriever()
        if temperature is not None:
            self.temperature = temperature

    def forward(self, question: str) -> Any:
        return self.answer(question=question)


class ByClass(dx.Module):
    """Everything a program can hold a parameter in."""

    def __init__(self) -> None:
        super().__init__()
        self.several = [Retriever(), Retriever()]
        self.named = {"x": Retriever()}
        self.pair = (Retriever(),)


def test_an_attribute_gives_the_value_and_dspy_finds_the_cell() -> None:
    module = Answerer()
    assert (module.temperature, module.retriever.k) == (0.2, 3)
    assert [name for name, _ in module.named_parameters()] == ["temperature", "bias", "words", "answer.predict", "retriever.k"]
    assert [name for name, _ in module.named_predictors()] == ["answer.predict"]
    assert isinstance(vars(module)["temperature"], dspy.predict.parameter.Parameter)


def test_parameters_in_lists_dicts_and_tuples_have_the_names_that_dspy_gives() -> None:
    assert [name for name, _ in ByClass().named_parameters()] == ["several[0].k", "several[1].k", "named['x'].k", "pair[0].k"]


def test_an_assignment_is_checked_and_a_refused_one_changes_nothing() -> None:
    module = Answerer()
    with pytest.raises(dx.ConstraintViolationError, match=r"temperature must be at most 2\.0 .*got 3\.0"):
        module.temperature = 3.0
    assert module.temperature == 0.2
    assert not vars(module)["temperature"].history


def test_what_the_constructor_assigns_is_the_initial_value_and_no_history() -> None:
    module = Answerer(temperature=0.9)
    cell = vars(module)["temperature"]
    assert (cell.value, cell.version, len(cell.history)) == (0.9, 1, 0)
    module.temperature = 1.5
    cell.reset()
    assert module.temperature == 0.9
    assert Answerer().temperature == 0.2


def test_a_refused_assignment_in_the_constructor_names_the_parameter() -> None:
    with pytest.raises(dx.ConstraintViolationError, match="temperature"):
        Answerer(temperature=-1.0)


def test_gradients_step_the_value() -> None:
    module = Answerer()
    vars(module)["bias"].apply_gradient([1.0, -1.0])
    assert module.bias == pytest.approx(np.array([-0.01, 0.01]))


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy of dspy": lambda module: module.deepcopy(),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "cloudpickle": lambda module: pickle.loads(cloudpickle.dumps(module)),
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_has_the_values_and_is_detached(make: Callable[[Any], Any]) -> None:
    module = Answerer()
    module.temperature = 0.9
    twin = make(module)
    assert type(twin) is Answerer
    assert twin.temperature == 0.9
    twin.temperature = 0.1
    twin.words.append("b")
    assert (module.temperature, module.words) == (0.9, ["a"])
    assert len(vars(module)["temperature"].history) == 1


class Writes:
    """What a bound cell asks of its owner."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []

    def set(self, name: str, value: Any, *, who: str) -> None:
        self.written.append((name, value))

    def apply_gradient(self, name: str, gradient: Any, *, who: str) -> None: ...
    def rollback(self, name: str, version: int, *, who: str) -> None: ...
    def reset(self, name: str, *, who: str) -> None: ...
    def version(self, name: str) -> int:
        return 7


@pytest.mark.parametrize("make", [*COPIES.values(), lambda module: module.reset_copy()], ids=[*COPIES, "reset_copy"])
def test_a_copy_of_a_bound_module_does_not_write_for_everybody(make: Callable[[Any], Any]) -> None:
    module, owner = Answerer(), Writes()
    vars(module)["temperature"].bind(owner, "temperature")
    twin = make(module)
    twin.temperature = 1.0
    assert owner.written == []
    module.temperature = 0.5
    assert owner.written == [("temperature", 0.5)]


def test_a_module_that_cannot_be_copied_whole_is_copied_attribute_by_attribute() -> None:
    module = Answerer()
    module.lock = threading.Lock()
    module.temperature = 0.9
    twin = module.deepcopy()
    assert twin.lock is module.lock
    twin.temperature = 0.1
    assert module.temperature == 0.9


def test_reset_copy_gives_the_initial_values_back() -> None:
    module = Answerer(temperature=0.5)
    module.temperature, module.retriever.k = 1.0, 9
    twin = module.reset_copy()
    assert (twin.temperature, twin.retriever.k, module.temperature, module.retriever.k) == (0.5, 3, 1.0, 9)


def trained() -> Answerer:
    module = Answerer()
    module.temperature, module.retriever.k, module.words = 0.9, 5, ["x", "y"]
    vars(module)["bias"].apply_gradient([1.0, -1.0])
    module.answer.predict.demos = [dspy.Example(question="q", answer="a", reasoning="r").with_inputs("question")]
    return module


def assert_same_values(one: Answerer, other: Answerer) -> None:
    assert one.dump_state() == other.dump_state()
    assert (one.temperature, one.retriever.k, one.words) == (other.temperature, other.retriever.k, other.words)
    assert one.bias.dtype == other.bias.dtype
    assert (one.bias == other.bias).all()


@pytest.mark.parametrize("json_mode", [True, False])
def test_a_dumped_state_loads_into_another_instance(json_mode: bool) -> None:
    module, other = trained(), Answerer()
    other.load_state(module.dump_state(json_mode=json_mode))
    assert_same_values(module, other)


@pytest.mark.parametrize("file", ["state.json", "state.pkl"])
def test_a_saved_state_loads_from_its_file(tmp_path: Path, file: str) -> None:
    module, other = trained(), Answerer()
    module.save(tmp_path / file)
    other.load(tmp_path / file, allow_pickle=True)
    assert_same_values(module, other)


def test_a_saved_program_loads_whole(tmp_path: Path) -> None:
    module = trained()
    module.save(tmp_path / "program", save_program=True)
    assert_same_values(module, dspy.load(tmp_path / "program", allow_pickle=True))


def test_a_loaded_gradient_is_continued() -> None:
    module, other = trained(), Answerer()
    other.load_state(module.dump_state())
    for each in (module, other):
        vars(each)["bias"].apply_gradient([1.0, 1.0])
    assert (module.bias == other.bias).all()


def test_a_state_from_before_a_parameter_existed_loads_with_its_default() -> None:
    state = trained().dump_state()
    del state["temperature"], state["retriever.k"]
    module = Answerer(temperature=0.5)
    module.temperature, module.retriever.k = 1.0, 9
    module.load_state(state)
    assert (module.temperature, module.retriever.k, module.words) == (0.5, 3, ["x", "y"])


def test_a_program_pickled_before_a_parameter_existed_has_its_default() -> None:
    module = Answerer()
    state = module.__getstate__()
    del state["temperature"]
    old = Answerer.__new__(Answerer)
    old.__setstate__(state)
    assert old.temperature == 0.2
    assert "temperature" in dict(old.named_parameters())


def test_a_program_pickled_under_other_limits_has_those_of_today() -> None:
    module = Answerer(temperature=1.5)
    data = cloudpickle.dumps(module)
    old, Answerer.temperature = Answerer.temperature, dx.Parameter(float, default=0.0, max=1.0)
    Answerer.temperature.__set_name__(Answerer, "temperature")
    try:
        from dspex_runtime.modules import members

        del members._declared[Answerer]
        loaded = pickle.loads(data)
        assert loaded.temperature == 1.5, "what was saved stays"
        with pytest.raises(dx.ConstraintViolationError):
            loaded.temperature = 1.4
    finally:
        Answerer.temperature = old
        del members._declared[Answerer]


BROKEN = {
    "a predictor is missing": lambda state: state.pop("answer.predict"),
    "a value is refused": lambda state: state["retriever.k"].update(value=0),
    "a value has the wrong type": lambda state: state["temperature"].update(value="hot"),
    "it is no cell's state": lambda state: state.update(temperature={}),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_loading_is_all_or_nothing(damage: Callable[[Any], Any]) -> None:
    state = trained().dump_state()
    damage(state)
    module = Answerer()
    before, signature = module.dump_state(), module.answer.predict.signature
    with pytest.raises((KeyError, dx.ConstraintViolationError)):
        module.load_state(state)
    assert module.dump_state() == before
    assert module.answer.predict.signature is signature


def test_loading_the_values_that_are_there_is_no_write() -> None:
    module = trained()
    versions = [vars(module)[name].version for name in ("temperature", "bias", "words")]
    module.load_state(module.dump_state(json_mode=False))
    assert [vars(module)[name].version for name in ("temperature", "bias", "words")] == versions


def test_a_module_is_loaded_any_number_of_times() -> None:
    state, module = trained().dump_state(), Answerer()
    module.load_state(state)
    size = len(cloudpickle.dumps(module))
    for _ in range(200):  # dspy's own ends in a RecursionError at the 141st
        module.load_state(state)
    assert len(cloudpickle.dumps(module)) <= size + 100
    assert module.dump_state() == state


def test_loading_with_instructions_changed_in_between_does_not_pile_up() -> None:
    module, state = Answerer(), Answerer().dump_state()
    predictor = module.answer.predict
    for n in range(200):
        predictor.signature = predictor.signature.with_instructions(str(n))
        module.load_state(state)
    assert module.dump_state() == state


def test_a_predictor_with_parameters_is_both() -> None:
    class Tuned(dx.Module, dspy.Predict):
        temperature = dx.Parameter(float, default=0.2)

    module = Tuned("question -> answer")
    module.temperature = 0.5
    assert [name for name, _ in module.named_parameters()] == ["self", "temperature"]
    other = Tuned("question -> answer")
    assert other.load_state(module.dump_state()) is other


def test_the_mode_goes_through_the_tree_and_into_copies() -> None:
    module = ByClass()
    assert not module.training
    assert module.train() is module
    parts = [module, *module.several, module.named["x"], module.pair[0]]
    assert [part.training for part in parts] == [True] * 5
    assert module.deepcopy().several[0].training
    assert module.eval() is module
    assert [part.training for part in parts] == [False] * 5


def test_a_subclass_inherits_overrides_and_drops_parameters() -> None:
    class Special(Answerer):
        temperature = dx.Parameter(float, default=1.0, max=1.0)
        words = ["fixed"]  # noqa: RUF012 (no parameter any more)
        extra = dx.Parameter(str, default="x")

    module = Special()
    assert [name for name, _ in module.named_parameters()] == ["temperature", "bias", "extra", "answer.predict", "retriever.k"]
    assert (module.temperature, module.words, module.extra) == (1.0, ["fixed"], "x")
    assert Special.temperature_opts() == {"default": 1.0, "max": 1.0}
    assert Answerer.temperature_opts() == {"default": 0.2, "min": 0.0, "max": 2.0}
    with pytest.raises(AttributeError, match=r"words is no dx\.Parameter any more"):
        Special.words_type()


def test_a_mixin_that_is_no_module_may_declare() -> None:
    class Tempered:
        temperature = dx.Parameter(float, default=0.7)

    class Mixed(Tempered, dx.Module):
        pass

    module = Mixed()
    assert [name for name, _ in module.named_parameters()] == ["temperature"]
    assert module.get_temperature() == 0.7


def test_a_constructor_of_the_users_own_new_keeps_working() -> None:
    class Single(dx.Module):
        only: Any = None
        k = dx.Parameter(int, default=1)

        def __new__(cls, start: int) -> Any:
            if cls.only is None:
                cls.only = super().__new__(cls, start)
            return cls.only

        def __init__(self, start: int) -> None:
            self.start = start

    first = Single(1)
    first.k = 5
    assert Single(2) is first
    assert first.k == 5


def declare(**members: Any) -> type:
    return type(dx.Module)("Program", (dx.Module,), members)


@pytest.mark.parametrize(
    "name",
    ["lm", "history", "callbacks", "batch", "config", "forward", "parameters", "state", "metadata", "demos", "train", "mode", "dx"],
)
def test_a_name_that_dspy_or_the_runtime_uses_is_refused_when_the_class_is_made(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Program\.{name} needs another name"):
        declare(**{name: dx.Parameter(float)})
    with pytest.raises(TypeError, match=rf"Program\.{name} needs another name"):
        declare(**{name: dx.Shared("x")})


def test_a_parameter_named_like_an_accessor_of_another_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Program\.x needs another name: its accessor 'x_type' is declared too"):
        declare(x=dx.Parameter(int), x_type=dx.Parameter(str))


WRONG: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "unknown type": (lambda: dx.Parameter("flaot"), TypeError),
    "default of another type": (lambda: dx.Parameter(int, default="x"), ValueError),
    "default outside its limits": (lambda: dx.Parameter(float, default=3.0, max=2.0), ValueError),
    "limits that exclude each other": (lambda: dx.Parameter(float, min=2.0, max=1.0), ValueError),
    "a limit of another type": (lambda: dx.Parameter(str, default="x", min=1), ValueError),
}


@pytest.mark.parametrize(("make", "error"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_refused_when_the_class_is_made(make: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^Program\.rate: "):
        declare(rate=make())


def test_a_parameter_cannot_be_deleted() -> None:
    with pytest.raises(AttributeError, match="temperature"):
        del Answerer().temperature


def test_a_shared_parameter_is_read_only_and_needs_a_runtime() -> None:
    class Styled(dx.Module):
        style = dx.Shared("style")
        tone = dx.Shared("tone", default="dry")

    module = Styled()
    assert module.tone == "dry"
    with pytest.raises(dx.ParameterError, match=r"Styled\.style is the runtime's shared parameter 'style'"):
        module.style  # noqa: B018
    with pytest.raises(AttributeError, match="not written by a module"):
        module.style = "x"
    assert [name for name, _ in module.named_parameters()] == []


def test_a_class_that_cannot_be_imported_is_pickled_with_its_parameters() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "dx": dx}
    exec(
        "class Local(dx.Module):\n"
        "    k = dx.Parameter(int, default=1, check=lambda k: k < 10)\n"
        "    def forward(self):\n        return self.k\n",
        namespace,
    )
    module = namespace["Local"]()
    module.k = 4
    data = cloudpickle.dumps(module)
    cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()  # as in another process
    loaded = pickle.loads(data)
    assert type(loaded) is not type(module)
    assert (loaded.k, loaded(), loaded.get_k(), type(loaded).k_type()) == (4, 4, 4, "int")
    assert [name for name, _ in loaded.named_parameters()] == ["k"]
    with pytest.raises(dx.ConstraintViolationError):
        loaded.k = 11
    assert type(loaded)().k == 1


QUESTIONS = [dspy.Example(question=f"{n}?", answer=str(n)).with_inputs("question") for n in range(6)]


def test_an_optimizer_sees_plain_objects_and_gives_back_a_program_with_parameters() -> None:
    module = Answerer(temperature=0.5)
    lm = DummyLM([{"reasoning": "r", "answer": str(n)} for n in range(6)] * 20)
    with dspy.context(lm=lm):
        optimizer = dspy.BootstrapFewShot(metric=lambda *_: True, max_bootstrapped_demos=2, max_labeled_demos=2)
        compiled = optimizer.compile(module, trainset=QUESTIONS)
    assert compiled._compiled
    assert len(compiled.answer.predict.demos) == 2
    assert compiled.temperature == 0.5
    compiled.temperature = 1.0
    assert module.temperature == 0.5
    assert dspy.LabeledFewShot(k=3).compile(module, trainset=QUESTIONS).temperature == 0.5


def test_calls_batches_and_awaits_as_any_module() -> None:
    class Echo(dx.Module):
        k = dx.Parameter(int, default=2)

        def forward(self, question: str) -> Any:
            return dspy.Prediction(answer=question * self.k)

        async def aforward(self, question: str) -> Any:
            return self.forward_twice(question)

        def forward_twice(self, question: str) -> Any:
            return dspy.Prediction(answer=question * self.k)

    module = Echo()
    examples = [dspy.Example(question=c).with_inputs("question") for c in "abc"]
    assert [p.answer for p in module.batch(examples, num_threads=2, disable_progress_bar=True)] == ["aa", "bb", "cc"]
    assert asyncio.run(module.acall(question="x")).answer == "xx"
