from __future__ import annotations

import pytest

from dspex_runtime.config.names import is_id, is_runtime_name, name_from_stem


@pytest.mark.parametrize("text", ["a", "qa", "Worker-1", "a_c-d", "0", "_x", "a" * 100])
def test_these_are_ids(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a#0", ".", "..", ".hidden", "-x", "é", "a\n", "a\0", "a" * 101, "a.b", "root"])
def test_these_are_not(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize(
    ("stem", "name"),
    [("qa", "qa"), ("my tree", "my-tree"), ("qa.prod", "qa.prod"), ("...", "runtime"), ("é", "runtime"), ("", "runtime")],
)
def test_a_file_name_becomes_a_legal_name(stem: str, name: str) -> None:
    assert name_from_stem(stem) == name
    assert is_runtime_name(name_from_stem(stem))
