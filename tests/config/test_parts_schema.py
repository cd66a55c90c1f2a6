"""`parts`: a supervisor's numbers, and child keys by the names of sub-modules."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config import parse
from dspex_runtime.core.child_spec import ChildSpec, PartsSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import Strategy


def owner(parts: Any) -> ChildSpec:
    (child,) = parse({"tree": {"children": [{"id": "qa", "module": "p:C", "parts": parts}]}}).tree.children
    return child


def problems(parts: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        owner(parts)
    return tuple(problem.removeprefix("tree.children[0].parts") for problem in caught.value.problems)


def test_without_the_key_the_class_decides() -> None:
    (child,) = parse({"tree": {"children": [{"id": "qa", "module": "p:C"}]}}).tree.children
    assert child.parts is None


def test_a_supervisor_and_keys_by_name() -> None:
    parts = owner(
        {"strategy": "rest_for_one", "max_restarts": 1, "retriever": {"restart": "transient", "limits": {"mailbox": 5}}}
    ).parts
    keys = {"retriever": {"restart": "transient", "limits": {"mailbox": 5}}}
    assert parts == PartsSpec(Strategy.REST_FOR_ONE, 1, None, keys)


def test_what_is_not_said_is_the_classs_and_what_is_said_wins_even_where_it_is_the_default() -> None:
    assert owner({}).parts == PartsSpec(None, None, None, {})
    assert owner({"strategy": "one_for_one", "max_restarts": 3}).parts == PartsSpec(Strategy.ONE_FOR_ONE, 3, None, {})


def test_units_are_resolved_and_files_found(tmp_path: Any) -> None:
    (tmp_path / "other.py").write_text("")
    child = {"id": "qa", "module": "p:C", "parts": {"x": {"module": "other.py:Name", "start_timeout": "1m"}}}
    (spec,) = parse({"base_dir": str(tmp_path), "tree": {"children": [child]}}).tree.children
    assert spec.parts is not None
    assert spec.parts.overrides["x"] == {"module": f"{tmp_path}/other.py:Name", "start_timeout": 60.0}


def test_parts_of_parts() -> None:
    parts = owner({"x": {"parts": {"max_restarts": 0, "y": {"concurrency": 2}}}}).parts
    assert parts is not None
    assert parts.overrides["x"]["parts"] == {"max_restarts": 0, "y": {"concurrency": 2}}


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (3, ": found 3 (a whole number); allowed: a map with strategy, max_restarts, max_seconds, and maps of child keys"),
        ({"strategy": "one_for_two"}, ".strategy: found 'one_for_two' (text)"),
        ({"stratgy": "one_for_all"}, "did you mean 'strategy'?"),
        ({"max_restart": 3}, "did you mean 'max_restarts'?"),
        ({"a b": {}}, "found 'a b' (text) as the name of a sub-module; allowed: letters, digits, _ and -"),
        ({"x": {"restrat": "permanent"}}, "did you mean 'restart'?"),
        ({"x": {"id": "y"}}, ".x.id: found the unknown key 'id'"),
        ({"x": {"replicas": 2}}, ".x.replicas: found the unknown key 'replicas'"),
        ({"x": {"on_down": "no"}}, ".x.on_down: found 'no' (text); allowed: wait, fail, degrade, restart, stop"),
        ({"x": {"fallback": "b"}}, ".x.fallback: found with no on_down, which is wait; allowed: with on_down: degrade"),
        ({"x": {"module": "none.py:X"}}, ".x.module: found 'none.py:X', but there is no file"),
        ({"x": {"module": "p:X", "server": "p:Y"}}, ".x: found module: and server:; allowed: one of them"),
        ({"x": {"server": "p:Y", "concurrency": 2}}, ".x.concurrency: found 2; allowed: 1"),
        ({"x": {"server": "p:Y", "lm": {"model": "m"}}}, ".x.lm: found on a server; allowed: on a module only"),
        ({"x": {"shutdown": {"drain": "9s", "timeout": "5s"}}}, ".x.shutdown.drain: found 9s, longer than the time-out"),
        ({"x": {"parts": {"y": {"module": "none.py:X"}}}}, ".x.parts.y.module: found 'none.py:X'"),
    ],
)
def test_what_is_no_parts(parts: Any, problem: str) -> None:
    (found,) = problems(parts)
    assert problem in found


def test_an_lm_of_a_part_may_be_a_part_of_one() -> None:
    parts = owner({"x": {"lm": {"temperature": 1}}}).parts
    assert parts is not None
    assert parts.overrides["x"] == {"lm": {"temperature": 1}}


def test_parts_are_a_modules() -> None:
    with pytest.raises(ConfigError, match=r"parts: found on a server; allowed: on a module only"):
        parse({"tree": {"children": [{"id": "a", "server": "p:C", "parts": {}}]}})
