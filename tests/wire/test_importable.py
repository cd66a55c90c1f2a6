"""Which modules another process would find."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from dspex_runtime.wire.importable import can_be_imported


@pytest.mark.parametrize("name", ["json.decoder", "sys", "dspy", "dspex_runtime.wire"])
def test_what_is_on_the_path_can_be_imported(name: str) -> None:
    __import__(name)
    assert can_be_imported(name)


def test_another_file_of_the_same_name_is_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "same_name.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = ModuleType("same_name")
    loaded.__file__ = "/somewhere/else/same_name.py"
    monkeypatch.setitem(sys.modules, "same_name", loaded)
    assert not can_be_imported("same_name")
    loaded.__file__ = str(tmp_path / "same_name.py")
    assert can_be_imported("same_name")


def test_what_nobody_finds_cannot() -> None:
    assert not can_be_imported("loaded_past_sys_path")
    assert not can_be_imported("json.no_such_part")
