from __future__ import annotations

from pathlib import Path

import pytest

from dspex_runtime.config.targets import Target, resolve_state, resolve_target


@pytest.mark.parametrize(
    "text", ["p:C", "pkg.mod:Outer.Inner", "file.py:C", "/abs/dir with space/file.py:C", "../up.py:C", "a:b.py:C"]
)
def test_these_are_targets(text: str) -> None:
    assert Target().read(text) == text


@pytest.mark.parametrize("text", ["", " ", ":C", "p:", "p:C D", "p-q:C", "dir/file:C", "p.:C", "p:C\0", "file.py", "p", "p:1C"])
def test_these_are_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a target|no name"):
        Target().read(text)


def test_files_and_directories_become_absolute_and_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text("")
    (tmp_path / "two" / "saved").mkdir()
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert resolve_target("m.py:C", folders) == f"{tmp_path}/one/m.py:C"
    assert resolve_target("saved/", folders) == f"{tmp_path}/two/saved"
    assert resolve_target(f"{tmp_path}/two/m.py:C", folders) == f"{tmp_path}/two/m.py:C"
    assert resolve_target("pkg.mod:C", folders) == "pkg.mod:C"


def test_a_saved_state_becomes_absolute_and_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "qa.json").write_text("{}")
    assert resolve_state("qa.json", ["/nowhere", str(tmp_path)]) == f"{tmp_path}/qa.json"
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ValueError, match=r"there is no file .*folder\.json; allowed: a \.json that module\.save"):
        resolve_state("folder.json", [str(tmp_path)])
