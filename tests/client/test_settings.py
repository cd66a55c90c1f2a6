"""Objects that a program put into `lm` and `dspy` are found and handed on; all else stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.client.settings import portable
from dspex_runtime.client.target import child_spec
from dspex_runtime.errors import UnserialisableError


class Thing:
    """An LM, an adapter, a callback: an object."""

    def __init__(self, key: str = "sk-secret") -> None:
        self.key = key
        self.history = ["a call"]

    def __repr__(self) -> str:
        return self.key

    def copy(self) -> Thing:
        fresh = Thing(self.key)
        fresh.history = []
        return fresh


class Unwilling(Thing):
    def __reduce__(self) -> Any:
        raise TypeError("it stays here")

    def copy(self) -> Unwilling:
        return self


def carry(value: Any, what: str) -> dict[str, Any]:
    return {"what": what, "history": value.history}


THING = Thing()
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({"id": "a"}, {"id": "a"}),
    "text and maps": ({"lm": "openai/m", "dspy": {"adapter": "p:A"}}, {"lm": "openai/m", "dspy": {"adapter": "p:A"}}),
    "no LM": ({"lm": None}, {"lm": None}),
    "an LM, without its calls": ({"lm": THING}, {"lm": {"what": "lm", "history": []}}),
    "callbacks of an LM": (
        {"lm": {"model": "m", "callbacks": [THING, "p:C"]}},
        {"lm": {"model": "m", "callbacks": [{"what": "lm.callbacks", "history": ["a call"]}, "p:C"]}},
    ),
    "an adapter": ({"dspy": {"adapter": THING}}, {"dspy": {"adapter": {"what": "dspy.adapter", "history": ["a call"]}}}),
    "callbacks": (
        {"dspy": {"callbacks": (THING,), "num_threads": 2}},
        {"dspy": {"callbacks": [{"what": "dspy.callbacks", "history": ["a call"]}], "num_threads": 2}},
    ),
    "what is wrong": ({"lm": 4, "dspy": 5}, {"lm": 4, "dspy": 5}),
}


@pytest.mark.parametrize(("keys", "ready"), CASES.values(), ids=CASES)
def test_objects_are_carried(keys: dict[str, Any], ready: dict[str, Any]) -> None:
    assert portable(keys, carry) == ready


def test_a_start_and_a_whole_configuration_carry_them() -> None:
    keys = {"lm": THING, "dspy": {"adapter": THING}}
    spec = child_spec("p:M", id="a", args=(), kwargs={}, keys=keys)
    assert spec["lm"].keys() == spec["dspy"]["adapter"].keys() == {"class", "pickled"}
    tree = {**keys, "defaults": keys, "tree": {"children": [{"id": "a", "module": "p:M", **keys}]}}
    config = boot_config(tree, name="n", state_dir=None, preload=None)
    for part in (config, config["defaults"], config["tree"]["children"][0]):
        assert isinstance(part["lm"]["pickled"], bytes)
        assert part["dspy"]["adapter"]["class"].endswith(":Thing")


def test_one_that_cannot_be_sent_is_named_and_not_shown() -> None:
    with pytest.raises(UnserialisableError, match="it stays here") as caught:
        child_spec("p:M", id="a", args=(), kwargs={}, keys={"lm": Unwilling()})
    assert "lm" in str(caught.value)
    assert "sk-secret" not in str(caught.value)
