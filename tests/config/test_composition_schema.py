"""`depends_on` and `replicas`: every short form means one whole form; what is none says what is allowed, with its line."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config import normalize
from dspex_runtime.config.composition_schema import DependsOn, Replicas
from dspex_runtime.config.problems import INVALID, Problems


def check(kind: Any, value: Any) -> tuple[Any, tuple[str, ...]]:
    problems = Problems()
    return kind.check(value, ("k",), problems), problems.problems


WAITS = {"on_down": "wait"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([], {}),
        ({}, {}),
        (["a", "s/b"], {"a": WAITS, "s/b": WAITS}),
        ({"a": None}, {"a": WAITS}),
        ({"a": {}}, {"a": WAITS}),
        ({"a": "degrade"}, {"a": {"on_down": "degrade"}}),
        ({"a": {"on_down": "restart"}}, {"a": {"on_down": "restart"}}),
        ({"a": {"on_down": "degrade", "fallback": "b"}}, {"a": {"on_down": "degrade", "fallback": "b"}}),
    ],
)
def test_forms_of_depends_on(written: Any, meant: Any) -> None:
    assert check(DependsOn(), written) == (meant, ())
    assert check(DependsOn(), meant) == (meant, ())


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (
            "a",
            "k: found 'a' (text); allowed: a list of ids, or a map of ids to on_down (wait, fail, degrade, restart, stop); write [",
        ),
        (None, "k: found nothing (null); allowed: a list of ids"),
        ([1], "k[0]: found 1 (a whole number); allowed: an id"),
        ([{"a": "fail"}], "k[0]: found a map; allowed: ids in a list, or one map of ids to on_down in place of the list"),
        (["a", "a"], "k[1]: found 'a' again; allowed: each id once"),
        ({1: "wait"}, "k[1]: found 1 (a whole number) as a key; allowed: ids"),
        ({"a": "degrad"}, "k.a: found 'degrad' (text); allowed: wait, fail, degrade, restart, stop; did you mean 'degrade'?"),
        ({"a": "block"}, "write wait"),
        (
            {"a": {"on_dwn": "fail"}},
            "k.a.on_dwn: found the unknown key 'on_dwn'; allowed: on_down, fallback; did you mean 'on_down'?",
        ),
        ({"a": {"fallback": "b"}}, "k.a.fallback: found with no on_down, which is wait; allowed: with on_down: degrade"),
        ({"a": {"on_down": "stop", "fallback": "b"}}, "k.a.fallback: found with on_down: stop; allowed: with on_down: degrade"),
    ],
)
def test_what_is_no_depends_on(written: Any, problem: str) -> None:
    _, problems = check(DependsOn(), written)
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (1, {"count": 1, "params": "shared"}),
        (3, {"count": 3, "params": "shared"}),
        ({"count": 3}, {"count": 3, "params": "shared"}),
        ({"count": 3, "params": "own"}, {"count": 3, "params": "own"}),
    ],
)
def test_forms_of_replicas(written: Any, meant: Any) -> None:
    assert check(Replicas(), written) == (meant, ())
    assert check(Replicas(), meant) == (meant, ())


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (0, "k: found 0 (a whole number); allowed: a whole number from 1 to 1000, or a map with count, params; without the key"),
        ("3", "k: found '3' (text); allowed: a whole number from 1 to 1000"),
        (True, "k: found true (true/false); allowed: a whole number from 1 to 1000"),
        ({"params": "own"}, "k: replicas needs count: (a whole number from 1 to 1000)"),
        ({"count": 0}, "k.count: found 0 (a whole number); allowed: a whole number from 1 to 1000"),
        ({"count": 2, "params": "separate"}, "k.params: found 'separate' (text); allowed: shared, own; write own"),
    ],
)
def test_what_is_no_replicas(written: Any, problem: str) -> None:
    clean, problems = check(Replicas(), written)
    assert len(problems) == 1
    assert problem in problems[0]
    assert clean is INVALID or "params" not in problems[0] or clean["params"] == "shared"


def test_every_mistake_has_its_line(check: Any) -> None:
    problems = check(
        """\
tree:
  children:
    - id: a
      module: p:C
      depends_on:
        b: degrad
        c: {fallback: d}
      replicas:
        count: many
    - id: g
      supervisor: {}
      depends_on: [a]
      replicas: 2
"""
    ).problems
    assert [problem.partition(":")[2].partition(": ")[0] for problem in problems] == ["6:12", "7:13", "9:16", "12:7", "13:7"]
    assert "depends_on: found on a supervisor; allowed: on a module and server only" in problems[3]


def test_variables_may_be_numbers(check: Any) -> None:
    report = check("tree: {children: [{id: a, server: p:C, replicas: '${N}'}]}", {"N": "2"})
    assert report.problems == ()
    assert report.config["tree"]["children"][0]["replicas"] == {"count": 2, "params": "shared"}


def test_what_normalised_normalises_to_itself() -> None:
    children = [
        {"id": "a", "server": "p:C", "replicas": 2},
        {"id": "b", "module": "p:C", "depends_on": ["a"], "parts": {"strategy": "one_for_all", "x": {"shutdown": "3s"}}},
    ]
    once = normalize({"tree": {"children": children}})
    assert normalize(once) == once
    assert once["tree"]["children"][1]["parts"] == {"strategy": "one_for_all", "x": {"shutdown": 3.0}}
