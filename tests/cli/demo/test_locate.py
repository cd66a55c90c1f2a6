from __future__ import annotations

import importlib.util
from pathlib import Path

import click
import pytest

from dspex_cli.demo import locate


def test_the_quickstart_is_found_from_anywhere_in_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate.quickstart().name == "quickstart.yaml"


def test_the_current_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert locate.quickstart() == tmp_path / "configs" / "quickstart.yaml"


def test_where_it_was_looked_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "RELATIVE", Path("configs") / "nothing.yaml")
    with pytest.raises(click.ClickException, match=str(tmp_path)):
        locate.quickstart()


def test_a_missing_library_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(click.ClickException, match=r"pip install 'dspex-runtime\[quickstart\]'"):
        locate.check_libraries()
