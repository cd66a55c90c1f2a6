"""From the arguments of `Runtime(...)` to the configuration that boots."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dspex_runtime.client.boot_config import boot_config
from dspex_runtime.errors import ConfigError


def config(tree: object = None, **overrides: object) -> dict[str, object]:
    return boot_config(tree, **{"name": None, "state_dir": None, "preload": None, **overrides})  # type: ignore[arg-type]


def test_nothing_is_an_empty_root_with_a_name_of_its_own() -> None:
    first, second = config(), config()
    assert first["tree"]["children"] == []  # type: ignore[index]
    assert str(os.getpid()) in str(first["name"])
    assert first["name"] != second["name"]


def test_arguments_go_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = tmp_path / "tree.yaml"
    tree.write_text("version: 1\nname: a\nruntime: {preload: [dspy], spares: 2}\ntree: {children: []}\n")
    assert config(tree)["name"] == "a"
    found = config(tree, name="b", state_dir="state", preload=["json"])
    assert found["name"] == "b"
    assert found["runtime"] == {"preload": ["json"], "spares": 2, "state_dir": str(tmp_path / "state")}
    assert found["given"] == ["name", "state_dir", "preload"]
    assert "given" not in config(tree)


def test_a_name_that_was_made_up_is_not_the_trees() -> None:
    assert config({"tree": {"children": []}})["given"] == ["name"]
    assert "given" not in config({"name": "mine", "tree": {"children": []}})


@pytest.mark.parametrize(
    ("imported", "given", "preloaded"),
    [
        (True, {}, ["dspy"]),
        (False, {}, None),
        (True, {"preload": []}, []),
        (True, {"tree": {"tree": {"children": []}}}, None),
    ],
    ids=["a client with dspy", "one without", "asked for nothing", "with a tree, which says what it needs"],
)
def test_an_empty_runtime_of_a_client_that_has_dspy_preloads_it(
    monkeypatch: pytest.MonkeyPatch, imported: bool, given: dict[str, object], preloaded: object
) -> None:
    monkeypatch.delitem(sys.modules, "dspy", raising=False)
    if imported:
        monkeypatch.setitem(sys.modules, "dspy", ModuleType("dspy"))
    runtime = config(**given).get("runtime") or {}
    assert runtime.get("preload") == preloaded  # type: ignore[attr-defined]


def test_files_in_a_tree_are_found_beside_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    tree = tmp_path / "tree.yaml"
    tree.write_text('version: 1\ntree: {children: [{id: a, module: "mine.py:Mine"}]}\n')
    assert config(tree)["tree"]["children"][0]["module"] == f"{tmp_path}/mine.py:Mine"  # type: ignore[index]


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config({"tree": {"strategy": "one", "children": [{"id": "a"}]}})
    assert len(caught.value.problems) == 2
