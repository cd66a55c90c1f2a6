"""Every example tree of the repository is legal, with a key and (where it needs none) without."""

from __future__ import annotations

from pathlib import Path

import pytest

from dspex_runtime.config import inspect, parse
from dspex_runtime.types import Kind, RestartType, Strategy

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_example_trees_are_legal(path: Path) -> None:
    report = inspect(path, environ={"LM_API_KEY": "none", "OPENAI_API_KEY": "none"})
    assert report.problems == ()
    parse(report.config)


@pytest.mark.parametrize(
    "name", ["minimal.yaml", "openai.yaml", "tree.yaml", "react.yaml", "compiled.yaml", "served.yaml", "composite.yaml"]
)
def test_these_have_no_warnings(name: str) -> None:
    assert inspect(CONFIGS / name, environ={"LM_API_KEY": "none"}).warnings == ()


def test_the_endpoint_example_asks_for_its_key() -> None:
    problems = inspect(CONFIGS / "openai.yaml", environ={}).problems
    assert len(problems) == 1
    assert "lm.api_key: the environment variable LM_API_KEY is not set" in problems[0]


def test_the_tree_example_shows_every_strategy_and_restart_type() -> None:
    spec = parse(inspect(CONFIGS / "tree.yaml").config)
    supervisors, children = [spec.tree], list(spec.tree.children)
    for child in children:
        if child.supervisor is not None:
            supervisors.append(child.supervisor)
            children.extend(child.supervisor.children)
    assert {supervisor.strategy for supervisor in supervisors} == set(Strategy)
    assert {supervisor.dynamic for supervisor in supervisors} == {True, False}
    assert [child.id for child in children if child.significant] == ["first", "second"]
    assert {child.restart for child in children if child.kind is Kind.SERVER} == set(RestartType)
    assert spec.preload == ()
