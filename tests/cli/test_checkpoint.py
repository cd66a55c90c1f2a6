"""dspex checkpoint: what it asks for, what it prints, how it exits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from dspex_cli import completing
from dspex_cli.commands import checkpoint
from dspex_cli.commands.param import when
from dspex_cli.options import Settings

Run = Callable[..., Any]


@pytest.fixture
def three(runtime: Any) -> Any:
    for _ in range(3):
        runtime.checkpoint("qa")
    return runtime


def test_create_says_the_number(dspex: Run, runtime: Any) -> None:
    assert dspex("checkpoint", "create", "qa").out == "saved qa as checkpoint 1  (2.0 KiB)\n"
    assert dspex("checkpoint", "create", "qa", "-o", "json").json == {
        "id": "qa", "number": 2, "created_at": 86_400.0, "kind": "manual", "size": 2048, "version": "2.1.0", "note": None,
        "parts": {}, "of": None,
    }  # fmt: skip


def test_list_is_newest_first(dspex: Run, three: Any) -> None:
    lines = dspex("checkpoint", "list", "qa").out.splitlines()
    assert lines[0].split() == ["NUMBER", "CREATED", "KIND", "SIZE", "VERSION", "NOTE"]
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert [info["number"] for info in dspex("checkpoint", "list", "qa", "-o", "json").json] == [3, 2, 1]


def test_an_owner_is_saved_and_put_back_with_its_parts_and_that_is_said(dspex: Run, runtime: Any) -> None:
    runtime.kept_parts = {"qa/retriever": 4, "qa/far/rank": 1}
    assert dspex("checkpoint", "create", "qa").out == "saved qa as checkpoint 1  (2.0 KiB), with retriever 4, far/rank 1\n"
    lines = dspex("checkpoint", "list", "qa").out.splitlines()
    assert lines[0].split()[-1] == "WITH"
    assert lines[1].endswith("retriever 4, far/rank 1")
    assert dspex("checkpoint", "restore", "qa").out == "qa is what it was at checkpoint 1, and so are retriever 4, far/rank 1\n"
    assert dspex("checkpoint", "list", "qa", "-o", "json").json[0]["parts"] == {"qa/retriever": 4, "qa/far/rank": 1}
    assert "with       retriever 4, far/rank 1" in dspex("checkpoint", "show", "qa").out
    runtime.kept[0] = replace(runtime.kept[0], parts={}, of=("sup", 7))
    assert dspex("checkpoint", "list", "qa").out.splitlines()[1].endswith("sup 7")


def test_show_has_parameters_mode_and_the_modules_own_state(dspex: Run, three: Any) -> None:
    out = dspex("checkpoint", "show", "qa", "2").out
    for told in ("number     2", "mode       train", "own state  [1]", "temperature  0.2"):
        assert told in out
    assert dspex("checkpoint", "show", "qa", "-o", "json").json["number"] == 3


def test_diff_is_between_two_or_with_what_is_now(dspex: Run, three: Any) -> None:
    assert dspex("checkpoint", "diff", "qa", "1", "2").out.splitlines()[1].split() == ["temperature", "changed", "1", "2"]
    assert dspex("checkpoint", "diff", "qa", "1", "-o", "json").json == [
        {"name": "temperature", "change": "changed", "old": 1, "new": None}
    ]


def test_restore_takes_the_newest_or_a_number(dspex: Run, three: Any) -> None:
    assert dspex("checkpoint", "restore", "qa").out == "qa is what it was at checkpoint 3\n"
    assert dspex("checkpoint", "restore", "qa", "1", "-o", "json").json["number"] == 1
    outcome = dspex("checkpoint", "restore", "qa", "9")
    assert (outcome.code, "there is no checkpoint 9" in outcome.err) == (1, True)


def test_numbers_are_completed(three: Any) -> None:
    context = click.Context(checkpoint.restore, obj=Settings())
    context.params["id"] = "qa"
    argument = checkpoint.restore.params[1]
    assert [item.value for item in completing.checkpoints(context, argument, "")] == ["3", "2", "1"]
    assert [(item.value, item.help) for item in argument.shell_complete(context, "2")] == [("2", f"{when(86_400.0)} manual")]
    context.params = {}
    assert completing.checkpoints(context, argument, "") == []


def test_prune_forgets_numbers_or_all_but_the_newest(dspex: Run, three: Any) -> None:
    assert dspex("checkpoint", "prune", "qa", "2").out == "removed checkpoints of qa: 2\n"
    assert dspex("checkpoint", "prune", "qa", "--keep", "1", "-o", "json").json == {"id": "qa", "removed": [1]}
    assert dspex("checkpoint", "prune", "qa", "--keep", "5").out == "removed checkpoints of qa: none\n"


@pytest.mark.parametrize("words", [["prune", "qa"], ["prune", "qa", "1", "--keep", "2"], ["diff", "qa"], ["import", "qa", "/no"]])
def test_wrong_words_are_2(dspex: Run, three: Any, words: list[str]) -> None:
    assert dspex("checkpoint", *words).code == 2


def test_export_and_import_name_the_file(dspex: Run, three: Any, tmp_path: Path) -> None:
    file = tmp_path / "qa.ckpt"
    assert dspex("checkpoint", "export", "qa", "2", "--to", str(file)).out == f"wrote checkpoint 2 of qa to {file}\n"
    file.touch()
    assert dspex("checkpoint", "import", "qa", str(file)).out == f"took in {file} as checkpoint 4 of qa\n"
