"""Commands that read a file and start nothing: validate, up --dry-run, schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
GOOD = """
version: 1
tree:
  children:
    - id: group
      supervisor: {strategy: rest_for_one, children: [{id: a, server: "counter.py:Counter", restart: transient}]}
    - {id: b, server: "counter.py:Counter"}
"""
BAD = """
version: 1
tree:
  strategy: one_for_on
  children:
    - {id: a, server: "counter.py:Counter", restrat: never}
    - {id: a, server: "missing.py:Counter"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "counter.py").write_text("raise SystemExit('validation imports nothing')\n")
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_a_valid_file_is_ok(dspex: Run, folder: Path) -> None:
    file = str(folder / "good.yaml")
    assert dspex("validate", file).out == f"{file}: ok, 3 children\n"
    result = dspex("validate", file, "-o", "json").json
    assert (result["valid"], result["problems"], result["name"]) == (True, [], "good")


def test_every_mistake_is_listed_with_its_place(dspex: Run, folder: Path) -> None:
    file = str(folder / "bad.yaml")
    outcome = dspex("validate", file)
    assert (outcome.code, outcome.out) == (2, "")
    lines = [line.strip() for line in outcome.err.splitlines() if line.strip().startswith(file)]
    assert [line.removeprefix(file).split(":")[1] for line in lines] == ["4", "6", "7", "7"]
    assert "did you mean 'restart'" in outcome.err
    error = dspex("validate", file, "-o", "json").json["error"]
    assert error["code"] == "config"
    assert len(error["problems"]) == 4
    assert "\n" not in error["message"]


@pytest.mark.parametrize("command", [("validate",), ("up",), ("up", "-d"), ("up", "--dry-run")], ids=" ".join)
def test_a_missing_file_is_2(dspex: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    outcome = dspex(*command, str(tmp_path / "none.yaml"))
    assert outcome.code == 2
    assert "no such file" in outcome.err


def test_a_dry_run_prints_the_start_order_and_starts_nothing(dspex: Run, folder: Path) -> None:
    file = str(folder / "good.yaml")
    assert [line.split()[:3] for line in dspex("up", "--dry-run", file).out.splitlines()] == [
        ["STEP", "ID", "KIND"],
        ["1", "group", "supervisor"],
        ["1.1", "group/a", "server"],
        ["2", "b", "server"],
    ]
    order = dspex("up", "--dry-run", file, "-o", "json").json
    assert order[0] == {
        "id": "group", "kind": "supervisor", "target": None, "strategy": "rest_for_one", "restart": "permanent", "step": "1",
        "depends_on": {},
    }  # fmt: skip
    assert order[1]["target"] == f"{folder}/counter.py:Counter"


def test_a_dry_run_shows_who_waits_for_whom_and_what_starts_side_by_side(dspex: Run, folder: Path) -> None:
    (folder / "deps.yaml").write_text(
        """
tree:
  children:
    - {id: qa, server: "counter.py:Counter", depends_on: {store: , cache: {on_down: fail}}}
    - {id: group, supervisor: {children: [{id: x, server: "counter.py:Counter"}, {id: y, server: "counter.py:Counter"}]}}
    - {id: store, server: "counter.py:Counter", depends_on: [group/x], replicas: 2}
    - {id: cache, server: "counter.py:Counter"}
"""
    )
    file = str(folder / "deps.yaml")
    order = dspex("up", "--dry-run", file, "-o", "json").json
    assert [(child["step"], child["id"]) for child in order] == [
        *(("1", "group"), ("1.1", "group/x"), ("1.2", "group/y"), ("2", "store#0"), ("2", "store#1"), ("1", "cache"), ("3", "qa")),
    ]
    assert order[-1]["depends_on"] == {"store": "wait", "cache": "fail"}
    last = dspex("up", "--dry-run", file).out.splitlines()[-1].split()
    assert last == ["3", "qa", "server", "permanent", "-", "store,", "cache", "(fail)", f"{folder}/counter.py:Counter"]
    assert dspex("validate", file).out == f"{file}: ok, 7 children\n"


def test_a_circle_of_dependencies_is_2_and_names_its_path(dspex: Run, folder: Path) -> None:
    children = '[{id: a, server: "counter.py:Counter", depends_on: [b]}, {id: b, server: "counter.py:Counter", depends_on: [a]}]'
    (folder / "circle.yaml").write_text(f"tree: {{children: {children}}}\n")
    for command in (("validate",), ("up",), ("up", "--dry-run")):
        outcome = dspex(*command, str(folder / "circle.yaml"))
        assert outcome.code == 2
        assert "found a cycle: a -> b -> a" in outcome.err


def test_the_schema_is_json_schema(dspex: Run) -> None:
    assert "tree" in dspex("schema").json["properties"]


def test_the_quickstart_is_valid_without_warnings(dspex: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    result = dspex("validate", "configs/quickstart.yaml", "-o", "json").json
    assert (result["valid"], result["warnings"], result["children"]) == (True, [], 3)
