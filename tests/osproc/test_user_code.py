"""The user's own files are imported as they are, whatever their times and their bytecode say."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import os
import py_compile
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dspex_runtime.core.child_spec import GIVEN
from dspex_runtime.osproc import user_code


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the imports of this process as those of a module process, and undo it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path_importer_cache", {})
    modules = dict(sys.modules)
    records: tuple[Any, ...] = (user_code.loaded, user_code.given, user_code.finders)
    before = [record.copy() for record in records]
    for record in records:
        record.clear()
    user_code.install()
    yield
    for record in records:
        record.clear()
    user_code.loaded.update(before[0])
    user_code.given.update(before[1])
    user_code.finders.extend(before[2])
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    linecache.clearcache()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the user's, first on the path."""
    sys.path.insert(0, str(tmp_path))
    return tmp_path


SECOND = 1_700_000_000  # all edits were made in it


def edit(path: Path, text: str, at: float = SECOND) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def anew(name: str) -> Any:
    """Import a module as the next process would."""
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]
    importlib.invalidate_caches()
    return importlib.import_module(name)


def bytecode_of(path: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(path)))


def flags_of(path: Path) -> int:
    return int.from_bytes(bytecode_of(path).read_bytes()[4:8], "little")


class TestBytecode:
    def test_an_edit_of_the_same_size_within_the_second_is_seen(self, folder: Path) -> None:
        seen = []
        for value in (1, 2, 3):
            edit(folder / "uc_edit.py", f"VALUE = {value}\n")
            seen.append(anew("uc_edit").VALUE)
        assert seen == [1, 2, 3]

    def test_bytecode_by_time_is_not_believed_and_made_anew(self, folder: Path) -> None:
        path = edit(folder / "uc_stale.py", "VALUE = 1\n")
        py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
        edit(path, "VALUE = 2\n")
        assert anew("uc_stale").VALUE == 2
        assert flags_of(path) == 0b11

    def test_bytecode_that_asks_not_to_be_checked_is_checked(self, folder: Path) -> None:
        path = edit(folder / "uc_unchecked.py", "VALUE = 1\n")
        py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        edit(path, "VALUE = 2\n")
        assert anew("uc_unchecked").VALUE == 2

    def test_a_text_is_compiled_once(self, folder: Path) -> None:
        path = edit(folder / "uc_once.py", "VALUE = 1\n")
        anew("uc_once")
        made = bytecode_of(path).stat().st_ino
        edit(path, "VALUE = 1\n", at=SECOND + 60)
        assert anew("uc_once").VALUE == 1
        assert bytecode_of(path).stat().st_ino == made

    def test_ordinary_python_reads_what_is_kept(self, folder: Path) -> None:
        path = edit(folder / "uc_plain.py", "VALUE = 1\n")
        anew("uc_plain")
        sys.path_hooks.remove(user_code._hook)
        sys.path_importer_cache.clear()
        made = bytecode_of(path).stat().st_ino
        assert anew("uc_plain").VALUE == 1
        assert bytecode_of(path).stat().st_ino == made
        edit(path, "VALUE = 2\n")
        assert anew("uc_plain").VALUE == 2

    def test_what_cannot_be_replaced_counts_by_its_time(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = edit(folder / "uc_readonly.py", "VALUE = 1\n")
        py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
        made = bytecode_of(path).stat().st_ino
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
        monkeypatch.setattr(user_code.UserLoader, "source_to_code", None)
        assert anew("uc_readonly").VALUE == 1
        assert bytecode_of(path).stat().st_ino == made
        assert user_code.loaded["uc_readonly"].size == path.stat().st_size

    def test_a_folder_that_cannot_be_written_is_no_hindrance(self, folder: Path) -> None:
        edit(folder / "uc_blocked.py", "VALUE = 1\n")
        (folder / "__pycache__").write_text("in the way")
        assert anew("uc_blocked").VALUE == 1

    def test_none_is_written_where_python_is_told_not_to(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        edit(folder / "uc_unwritten.py", "VALUE = 1\n")
        assert anew("uc_unwritten").VALUE == 1
        assert not (folder / "__pycache__").exists()

    def test_a_moved_folder_shows_its_new_place(self, folder: Path) -> None:
        edit(folder / "uc_here" / "__init__.py", "def where(): return where.__code__.co_filename\n")
        anew("uc_here")
        (folder / "uc_here").rename(folder / "uc_there")
        assert anew("uc_there").where() == str(folder / "uc_there" / "__init__.py")


class TestRecord:
    def test_packages_and_their_parts_are_noted_as_they_were_read(self, folder: Path) -> None:
        init = edit(folder / "uc_pkg" / "__init__.py", "from uc_pkg import part\n")
        part = edit(folder / "uc_pkg" / "part.py", "X = 1\n")
        anew("uc_pkg")
        edit(part, "X = 1000\n", at=SECOND + 1)
        reads = user_code.loaded
        assert list(reads) == ["uc_pkg", "uc_pkg.part"]
        assert reads["uc_pkg"][:3] == (str(init), SECOND * 10**9, init.stat().st_size)
        assert reads["uc_pkg.part"][:4] == (str(part), SECOND * 10**9, 6, importlib.util.source_hash(b"X = 1\n"))

    def test_other_peoples_files_are_imported_as_ever(self, folder: Path) -> None:
        other = folder / "lib" / "site-packages"
        path = edit(other / "uc_others.py", "VALUE = 1\n")
        sys.path.insert(0, str(other))
        assert type(anew("uc_others").__loader__).__name__ == "SourceFileLoader"
        assert flags_of(path) == 0
        assert not user_code.loaded

    def test_what_an_editable_install_finds_is_the_users(self, folder: Path) -> None:
        class Finder:
            @classmethod
            def find_spec(cls, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
                place = {"uc_mine": folder / "src" / "uc_mine.py", "uc_theirs": folder / "site-packages" / "uc_theirs.py"}.get(name)
                return place and importlib.util.spec_from_file_location(name, place)

        edit(folder / "src" / "uc_mine.py", "VALUE = 1\n")
        edit(folder / "site-packages" / "uc_theirs.py", "VALUE = 1\n")
        sys.meta_path.append(Finder)  # type: ignore[arg-type]
        anew("uc_mine")
        anew("uc_theirs")
        assert list(user_code.loaded) == ["uc_mine"]
        with pytest.raises(ModuleNotFoundError):
            anew("uc_nobodys")

    @pytest.mark.parametrize(
        ("place", "own"),
        [
            ("/home/me/app", True),
            ("/home/me/app/.venv/lib/python3.11/site-packages", False),
            ("/usr/lib/python3/dist-packages/yaml", False),
            (os.path.dirname(os.__file__), False),
            (os.path.dirname(os.path.dirname(user_code.__file__)) + "/host", False),
            (os.path.dirname(os.path.dirname(user_code.__file__)) + "_tools", True),
        ],
    )
    def test_whose_a_folder_is(self, place: str, own: bool) -> None:
        assert user_code.is_users(place) is own

    def test_installing_twice_is_once(self) -> None:
        hooks, finders = list(sys.path_hooks), list(sys.meta_path)
        user_code.install()
        assert (sys.path_hooks, sys.meta_path) == (hooks, finders)


class TestGiven:
    def test_a_given_text_runs_in_place_of_the_file(self, folder: Path) -> None:
        path = edit(folder / "uc_given.py", "VALUE = 'new'\n")
        anew("uc_given")
        kept = bytecode_of(path).read_bytes()
        user_code.given[str(path)] = b"VALUE = 'old'\n"
        module = anew("uc_given")
        assert (module.VALUE, module.__file__) == ("old", str(path))
        assert bytecode_of(path).read_bytes() == kept
        assert user_code.loaded["uc_given"][:3] == (str(path), GIVEN, 14)

    def test_what_is_not_given_comes_from_the_disk(self, folder: Path) -> None:
        edit(folder / "uc_from_disk.py", "VALUE = 'disk'\n")
        user_code.given[str(folder / "uc_uses.py")] = b"import uc_from_disk\nVALUE = uc_from_disk.VALUE\n"
        assert anew("uc_uses").VALUE == "disk"

    def test_files_and_packages_that_are_gone_are_found(self, folder: Path) -> None:
        for name, text in (("uc_gone/__init__.py", ""), ("uc_gone/part.py", "X = 1"), ("uc_bare/inner/deep.py", "X = 2")):
            user_code.given[str(folder / name)] = text.encode()
        assert anew("uc_gone.part").X == 1
        assert anew("uc_bare.inner.deep").X == 2

    def test_a_module_that_is_a_package_by_now_is_the_module(self, folder: Path) -> None:
        edit(folder / "uc_grown" / "__init__.py", "VALUE = 'new'\n")
        user_code.given[str(folder / "uc_grown.py")] = b"VALUE = 'old'\n"
        assert anew("uc_grown").VALUE == "old"

    def test_tracebacks_and_inspect_show_what_runs(self, folder: Path) -> None:
        path = edit(folder / "uc_shown.py", "# another text\n" * 5)
        user_code.given[str(path)] = "# für\ndef fail():\n    raise ValueError('of old')\n".encode()
        module = anew("uc_shown")
        assert inspect.getsource(module.fail) == "def fail():\n    raise ValueError('of old')\n"
        with pytest.raises(ValueError, match="of old") as caught:
            module.fail()
        assert "raise ValueError('of old')" in "".join(traceback.format_exception(caught.value))
        assert module.__loader__.get_source("uc_shown").startswith("# für")

    def test_data_beside_it_are_found(self, folder: Path) -> None:
        (folder / "uc_data.txt").write_text("data")
        user_code.given[str(folder / "uc_reads.py")] = (
            b"import pathlib\nBESIDE = pathlib.Path(__file__).with_name('uc_data.txt').read_text()\n"
        )
        module = anew("uc_reads")
        assert (module.BESIDE, module.__loader__.get_data(str(folder / "uc_data.txt"))) == ("data", b"data")

    @pytest.mark.parametrize("text", [b"def broken(:\n", b"# coding: no-such\n", b"\xff\xfe"])
    def test_a_text_that_is_no_python_says_so(self, folder: Path, text: bytes) -> None:
        user_code.given[str(folder / "uc_broken.py")] = text
        with pytest.raises(SyntaxError) as caught:
            anew("uc_broken")
        assert [frame for frame in traceback.extract_tb(caught.value.__traceback__) if frame.filename == user_code.__file__] == []
