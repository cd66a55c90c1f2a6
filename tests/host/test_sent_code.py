"""What a client sends for another process to open: what goes by name is found in the client's folders, behind the module's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dspex_runtime.errors import StartError
from dspex_runtime.host import sent_code


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return sys.path


def test_a_value_that_goes_by_name_is_found_behind_the_modules_own(paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "of_the_client_only.py").write_text("def double(n):\n    return 2 * n\n")
    own = list(paths)
    function = sent_code.opened([*own, str(tmp_path)], b"cof_the_client_only\ndouble\n.")
    assert function(3) == 6
    assert paths == [*own, str(tmp_path)]


def test_a_function_is_found_by_its_file_or_module(paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "moves.py").write_text("def up(state):\n    return state + 1\n\nLIMIT = 3\n")
    assert sent_code.named([], f"{tmp_path}/moves.py:up")(1) == 2
    assert sent_code.named([], "operator:neg")(1) == -1
    with pytest.raises(StartError, match=r"moves.py has no 'down'; its functions: up"):
        sent_code.named([], f"{tmp_path}/moves.py:down")
