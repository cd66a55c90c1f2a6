"""Declarations in class bodies: attribute access, inheritance, mistakes, and shared parameters."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dspex_runtime.errors import ConstraintViolationError, ParameterError
from dspex_runtime.params.parameter import Cell, Parameter, Shared, declared, read_shared_with


class Answerer:
    temperature = Parameter(float, default=0.2, min=0.0, max=2.0, doc="how warm")
    bias = Parameter("array", default=[0.0, 0.0], requires_grad=True, learning_rate=0.1, momentum=0.9)


@pytest.fixture
def no_runtime() -> Iterator[None]:
    read_shared_with(None)
    yield
    read_shared_with(None)


def test_an_attribute_reads_as_the_value_and_is_set_with_a_check() -> None:
    answerer = Answerer()
    assert answerer.temperature == 0.2
    answerer.temperature = 1
    assert type(answerer.temperature) is float
    with pytest.raises(ConstraintViolationError, match=r"temperature must be at most 2.0 \(max\); got 3"):
        answerer.temperature = 3
    assert answerer.temperature == 1.0
    assert Answerer().temperature == 0.2


def test_the_class_has_the_declaration_and_the_object_the_cell() -> None:
    assert isinstance(Answerer.temperature, Parameter)
    assert (Answerer.temperature.name, Answerer.temperature.__doc__) == ("temperature", "how warm")
    answerer = Answerer()
    cell = Answerer.temperature.cell(answerer)
    assert answerer.__dict__["temperature"] is cell
    assert (cell.name, cell.spec.default) == ("temperature", 0.2)
    assert repr(Answerer.temperature) == "<Parameter Answerer.temperature>"


def test_a_cell_that_is_assigned_takes_the_place_of_the_one_there() -> None:
    answerer = Answerer()
    answerer.temperature = Cell(Answerer.temperature.spec, "temperature")
    answerer.temperature = 0.9
    assert answerer.temperature == 0.9


def test_objects_copy_and_pickle_with_their_values() -> None:
    answerer = Answerer()
    answerer.temperature = 0.9
    for twin in (copy.deepcopy(answerer), pickle.loads(pickle.dumps(answerer))):
        assert twin.temperature == 0.9
        twin.temperature = 0.1
    assert answerer.temperature == 0.9


def test_a_parameter_cannot_be_deleted() -> None:
    with pytest.raises(AttributeError, match=r"Answerer.temperature is a declared parameter and cannot be deleted"):
        del Answerer().temperature


def test_a_subclass_has_what_its_bases_declare_and_what_it_overrides() -> None:
    class Base:
        a = Parameter(int, 1)
        b = Parameter(int, 2)
        c = Parameter(int, 3)

    class Derived(Base):
        b = Parameter(int, 20)
        c = "no parameter any more"
        d = Parameter(int, 4)

    assert {name: parameter.spec.default for name, parameter in declared(Derived).items()} == {"a": 1, "b": 20, "d": 4}
    assert list(declared(Base)) == ["a", "b", "c"]
    assert declared(int) == {}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((float,), {"default": "warm"}, ValueError, "Wrong.x: default must be a float or an int; got 'warm'"),
        ((float,), {"min": 2, "max": 1}, ValueError, "Wrong.x: min must not be above max; got 2 and 1"),
        ((set,), {}, TypeError, "Wrong.x: its type must be one of"),
        ((int,), {"check": 3}, TypeError, "Wrong.x: check must be a function"),
    ],
)
def test_a_wrong_declaration_is_an_error_that_names_class_and_attribute(
    arguments: tuple[object, ...], options: dict[str, object], error: type[Exception], text: str
) -> None:
    class Wrong:
        x = Parameter(*arguments, **options)  # type: ignore[arg-type]

    for use in (lambda: declared(Wrong), lambda: Wrong().x):
        with pytest.raises(error) as caught:
            use()
        assert text in str(caught.value).replace(Wrong.__qualname__, "Wrong")


def test_every_word_of_the_declaration_gets_into_the_spec() -> None:
    class All:
        text = Parameter(str, "ab", choices=["ab", "abc"], min_length=2, max_length=3, pattern="[a-c]+", metadata={"x": 1})
        array = Parameter("array", shape=(2, None), dtype="float32", durability="memory")
        exact = Parameter(list, [1], length=1)

    assert All.text.spec.to_meta() == {
        "type": "str", "default": "ab", "choices": ("ab", "abc"), "min_length": 2, "max_length": 3, "pattern": "[a-c]+",
        "metadata": {"x": 1},
    }  # fmt: skip
    assert All.array.spec.to_meta()["shape"] == (2, None)
    assert All.array.spec.to_meta()["dtype"] == "float32"
    assert All.array.spec.durability == "memory"
    assert All.exact.spec.to_meta()["length"] == 1


# -- shared


def test_a_shared_parameter_reads_what_the_process_reads_now(no_runtime: None) -> None:
    class Styled:
        style = Shared("style")

    values = {"style": "brief"}
    read_shared_with(values.__getitem__)
    assert Styled().style == "brief"
    values["style"] = "full"
    assert Styled().style == "full"
    assert isinstance(Styled.style, Shared)


def test_outside_a_runtime_a_shared_parameter_is_its_default_or_an_error(no_runtime: None) -> None:
    class Styled:
        style = Shared("style")
        tone = Shared("tone", default="kind")

    assert Styled().tone == "kind"
    with pytest.raises(
        ParameterError, match=r"Styled\.style is the runtime's shared parameter 'style', and none are shared here"
    ) as caught:
        _ = Styled().style
    assert "Shared('style', default=...)" in str(caught.value.hint)


def test_a_shared_parameter_is_not_written_by_a_module(no_runtime: None) -> None:
    class Styled:
        style = Shared("style")

    with pytest.raises(AttributeError, match=r"Styled.style is the runtime's shared parameter 'style' .* use rt.params\['style'\]"):
        Styled().style = "full"


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_shared_parameter_needs_a_name(name: object) -> None:
    with pytest.raises(TypeError, match="takes the name of a runtime-wide parameter"):
        Shared(name)  # type: ignore[arg-type]


@pytest.mark.process
def test_declaring_numbers_imports_no_numpy() -> None:
    code = (
        "import sys; from dspex_runtime.params.parameter import Parameter\n"
        "class A: x = Parameter(float, 0.5, min=0)\n"
        "a = A(); a.x = 0.7; print('numpy' in sys.modules, 'dspy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]
