"""What an owner asks for becomes specs: with what the owner has, and what its YAML says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dspex_runtime.config import parse
from dspex_runtime.core.child_spec import ChildSpec, Dependency, LaunchSpec, PartsSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.node.part_specs import Wanted, wanted
from dspex_runtime.types import ChildId, Durability, Kind, OnDown, Strategy

LAUNCH = LaunchSpec(
    Kind.MODULE, target="pkg:Owner", lm={"model": "own"}, dspy={"track_usage": True}, env={"A": "1"}, durability=Durability.MEMORY
)


def asked(*parts: dict[str, Any], **how: Any) -> dict[str, Any]:
    return {"parts": list(parts), "strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5.0, **how}


def part(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "spec": {"module": "pkg:Part", **keys}}


def made(request: dict[str, Any], parts: PartsSpec | None = None, **config: Any) -> Wanted:
    owner = ChildSpec(ChildId("qa"), Kind.MODULE, launch=LAUNCH, parts=parts)
    return wanted(request, parse({"tree": {"children": []}, **config}), owner, LAUNCH)


def test_a_part_has_what_its_owner_has() -> None:
    spec = made(asked(part("a")), lm={"model": "all"}, defaults={"restart": "transient", "durability": "fsync"}).specs["a"]
    assert spec.launch is not None
    assert (spec.launch.lm, spec.launch.durability, spec.launch.env["A"]) == ({"model": "own"}, Durability.MEMORY, "1")
    assert spec.launch.dspy == {"track_usage": True}
    assert spec.restart == "transient"


def test_what_is_said_of_it_goes_before_that() -> None:
    spec = made(asked(part("a", lm={"model": "mine"}, durability="fsync", concurrency=3))).specs["a"]
    assert spec.launch is not None
    assert (spec.launch.lm, spec.launch.durability, spec.launch.concurrency) == ({"model": "mine"}, Durability.FSYNC, 3)


def test_what_the_yaml_says_goes_before_the_class() -> None:
    parts = PartsSpec(Strategy.ONE_FOR_ALL, overrides={"a": {"args": {"k": 9}, "limits": {"nice": 2}, "on_down": "fail"}})
    found = made(asked(part("a", args={"k": 1, "prefix": "p"}, on_down="degrade"), strategy="rest_for_one", max_restarts=7), parts)
    spec = found.specs["a"]
    assert spec.launch is not None
    assert (spec.launch.kwargs, spec.launch.limits.nice) == ({"k": 9, "prefix": "p"}, 2)
    assert found.edges == {"a": Dependency(OnDown.FAIL)}
    assert (found.supervision.strategy, found.supervision.max_restarts) == (Strategy.ONE_FOR_ALL, 7)


def test_another_target_leaves_nothing_of_the_first() -> None:
    parts = PartsSpec(overrides={"a": {"module": "pkg:Other"}})
    spec = made(asked(part("a", pickled=b"x")), parts).specs["a"]
    assert spec.launch is not None
    assert (spec.launch.target, spec.launch.pickled) == ("pkg:Other", None)


def test_the_edge_says_what_the_owner_does_without_it() -> None:
    found = made(asked(part("a"), part("b", on_down="degrade", fallback="other")))
    assert found.edges == {"a": Dependency(), "b": Dependency(OnDown.DEGRADE, "other")}


@pytest.mark.parametrize(
    ("request_", "parts", "message"),
    [
        (asked(part("a")), PartsSpec(overrides={"b": {}}), r"parts\.b: 'qa' has no sub-module of that name as a process; it has a"),
        (asked(part("a", on_down="never")), None, r"a: on_down is one of wait, .*; got 'never'"),
        (asked(part("a", fallback="other")), None, r"a: fallback goes with on_down: degrade; got wait"),
        (asked(part("a", restrat="permanent")), None, r"did you mean 'restart'\?"),
    ],
)
def test_what_is_wrong_is_named(request_: dict[str, Any], parts: PartsSpec | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(request_, parts)


def test_the_same_request_is_the_same_spec() -> None:
    assert made(asked(part("a"))).specs == made(asked(part("a"))).specs
    assert made(asked(part("a"))).specs != made(asked(part("a", concurrency=2))).specs
    assert replace(made(asked(part("a"))).specs["a"], after=frozenset()).after == frozenset()
