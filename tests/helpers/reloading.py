"""What the tests of reloads between real processes share: a tree in a file, whose children are lines of YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx

TREE = """
version: 1
name: reloaded
runtime: {{spares: 1}}
tree:
  max_restarts: {restarts}
  children:
{children}
"""

Up = Callable[..., dx.Runtime]
Write = Callable[..., Path]


@pytest.fixture
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Write the tree: each child as a line of YAML; beside it is the CODE of the test's file."""
    (tmp_path / "code.py").write_text(request.module.CODE)

    def write(*children: str, restarts: int = 3, name: str = "tree.yaml") -> Path:
        path = tmp_path / name
        path.write_text(TREE.format(restarts=restarts, children="\n".join(f"    - {{{child}}}" for child in children)))
        return path

    return write


@pytest.fixture
def up(write: Write) -> Iterator[Up]:
    """Start a runtime with such a tree."""
    started: list[dx.Runtime] = []

    def up(*children: str, **options: Any) -> dx.Runtime:
        started.append(dx.Runtime(write(*children, **options)))
        return started[-1]

    yield up
    for rt in started:
        rt.close()


def counter(id: str, more: str = "") -> str:
    return f'id: {id}, server: "code.py:Counter"{more and ", "}{more}'


def done(result: dx.ReloadResult) -> list[str]:
    return [f"{step.state} {step.action} {step.id}" for step in result.steps]
