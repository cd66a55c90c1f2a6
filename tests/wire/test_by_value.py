"""One dump: what only this process can import goes by value, wherever it is."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest

from dspex_runtime.wire.by_value import ByValuePickler


def dumps(value: Any) -> bytes:
    file = io.BytesIO()
    ByValuePickler(file).dump(value)
    return file.getvalue()


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[Any]:
    """A module under a name that no other process can import, as pytest and notebooks load them."""
    path = tmp_path / "by_hand_source.py"
    path.write_text("class Tool:\n    factor = 2\n\ndef double(n):\n    return Tool.factor * n\n")
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
    code = "import sys, pickle; print(pickle.loads(sys.stdin.buffer.read()).tools['double'](n=21))"
    found = subprocess.run([sys.executable, "-P", "-c", code], input=dumps(program), capture_output=True, cwd="/", check=True)
    assert found.stdout.strip() == b"42"


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
