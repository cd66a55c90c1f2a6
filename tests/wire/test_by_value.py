"""One dump: what only this process can import goes by value, wherever it is."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest

from dspex_runtime.wire.by_value import ByValuePickler, dumps_whole
from dspex_runtime.wire.by_value import dumps as dumps_plain


def dumps(value: Any) -> bytes:
    file = io.BytesIO()
    ByValuePickler(file).dump(value)
    return file.getvalue()


def loaded_elsewhere(data: bytes, shown: str) -> str:
    """Return what a process without our files says of the value."""
    code = f"import sys, pickle; it = pickle.loads(sys.stdin.buffer.read()); print({shown})"
    found = subprocess.run([sys.executable, "-P", "-c", code], input=data, capture_output=True, cwd="/", check=True)
    return found.stdout.decode().strip()


SOURCE = """
import enum, sys, typing

T = typing.TypeVar("T", bound=int)

class Tool:
    factor = 2

class Box(typing.Generic[T]):
    def get(self) -> T: ...

class Colour(enum.Enum):
    RED = 1

def double(n):
    return Tool.factor * n

def through_its_module(n):
    return this.double(n)

def of(item: T) -> T:
    return typing.cast(T, item)

this = sys.modules[__name__]
"""


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[Any]:
    """A module under a name that no other process can import, as pytest and notebooks load them."""
    path = tmp_path / "by_hand_source.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("loaded_by_hand_only", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loaded_by_hand_only"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["loaded_by_hand_only"]


def test_a_function_of_such_a_file_travels_inside_an_object_of_another(by_hand: Any) -> None:
    program = dspy.ReAct("question -> answer", tools=[by_hand.double])
    assert loaded_elsewhere(dumps(program), "it.tools['double'](n=21)") == "42"


@pytest.mark.parametrize(
    ("name", "shown", "expected"),
    [
        ("Tool", "it().factor", "2"),
        ("Box", "it.__parameters__[0].__bound__.__name__", "int"),
        ("Colour", "it.RED.value", "1"),
        ("through_its_module", "it(21)", "42"),
        ("of", "it(1), it.__annotations__['item']", "1 ~T"),
        ("T", "it.__bound__.__name__", "int"),
        ("this", "it.double(2)", "4"),
    ],
)
def test_whatever_is_in_such_a_file_can_be_sent(by_hand: Any, name: str, shown: str, expected: str) -> None:
    assert loaded_elsewhere(dumps(getattr(by_hand, name)), shown) == expected


class Elsewhere:
    """Pickles a class plainly, on another thread, while it is pickled itself."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.found: list[bytes] = []

    def __reduce__(self) -> Any:
        thread = threading.Thread(target=lambda: self.found.append(cloudpickle.dumps(self.cls)))
        thread.start()
        thread.join()
        return (int, ())


def test_other_threads_pickle_as_ever_meanwhile(by_hand: Any) -> None:
    elsewhere = Elsewhere(by_hand.Tool)
    dumps([by_hand.Tool, elsewhere])
    assert elsewhere.found == [cloudpickle.dumps(by_hand.Tool)]


def test_whole_is_all_that_is_the_users() -> None:
    elsewhere = Elsewhere(Elsewhere)
    whole = dumps_whole([Elsewhere, elsewhere])
    assert loaded_elsewhere(whole, "it[0].__name__") == "Elsewhere"
    assert elsewhere.found == [cloudpickle.dumps(Elsewhere)]
    assert len(elsewhere.found[0]) < 100
    assert len(dumps_whole([dspy.Predict, ByValuePickler, dict])) < 200


def test_what_can_be_imported_travels_by_name() -> None:
    assert b"dspy.predict.predict" in dumps(dspy.Predict)
    assert len(dumps(dspy.Predict)) < 100


def test_the_registry_of_cloudpickle_is_as_it_was(by_hand: Any) -> None:
    cloudpickle.register_pickle_by_value(by_hand)
    try:
        dumps(by_hand.Tool)
        assert "loaded_by_hand_only" in cloudpickle.list_registry_pickle_by_value(), "the user's own stays"
    finally:
        cloudpickle.unregister_pickle_by_value(by_hand)
    dumps(by_hand.Tool())
    with pytest.raises(TypeError):
        dumps([by_hand.Tool(), (n for n in ())])
    assert "loaded_by_hand_only" not in cloudpickle.list_registry_pickle_by_value()


@pytest.mark.parametrize("way", [dumps, dumps_plain, dumps_whole])
def test_code_says_which_file_it_is_of(way: Any) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def adder(n):\n    return lambda m: m + n", "cell 7", "exec"), namespace)
    shown = "it.__code__.co_filename, it(1).__code__.co_filename, it(1)(2)"
    assert loaded_elsewhere(way(namespace["adder"]), shown) == "cell 7 cell 7 3"
