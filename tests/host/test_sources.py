"""A module process runs the code that is there now, or the one it was given, and says which files that was."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.core.child_spec import GIVEN
from dspex_runtime.host import sources
from dspex_runtime.osproc import user_code
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.types import Kind

SERVER = """
import dspex_runtime.host.behaviours as dx
{imports}
class It(dx.GenServer):
    def init(self): return 0
    def handle_call(self, request, from_, state):
        {answer}
"""
SECOND = 1_700_000_000


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what importing changes in this process, which is the zygote of these tests; bytecode is kept."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path_importer_cache", {})
    modules, records = dict(sys.modules), dict(user_code.loaded)
    user_code.loaded.clear()
    yield
    user_code.loaded.clear()
    user_code.loaded.update(records)
    user_code.given.clear()
    user_code.finders.clear()
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(path: Path, text: str) -> str:
    """Write a file, always in the same second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (SECOND, SECOND))
    return str(path)


def server(path: Path, imports: str, answer: str) -> str:
    return write(path, SERVER.format(imports=imports, answer=f"return dx.Reply({answer}, state)"))


def fact(path: str, text: str | None = None) -> list[Any]:
    info = os.stat(path)
    data = Path(path).read_bytes()
    return [path, info.st_mtime_ns, info.st_size, importlib.util.source_hash(data)] if text is None else [path, GIVEN, len(text)]


def preload(*names: str) -> None:
    """Import modules as the zygote does."""
    user_code.install()
    for name in names:
        __import__(name)


def answer(fork: Any, target: str, **options: Any) -> Any:
    process = fork()
    process.start(f"{target}:It", kind=Kind.SERVER, **options)
    return process.client().call("$call", None)


@pytest.mark.process
class TestFiles:
    def test_ready_tells_the_file_and_what_it_imported(self, fork: Any, tmp_path: Path) -> None:
        helper, part = write(tmp_path / "src_helper.py", "X = 1"), write(tmp_path / "more" / "src_pkg" / "part.py", "Y = 1")
        target = server(tmp_path / "src_target.py", "import json, email.mime.audio, src_helper\nfrom src_pkg import part", "1")
        ready = fork(warmth=Warmth.SERVER).start(f"{target}:It", kind=Kind.SERVER, sys_path=(str(tmp_path / "more"),))
        assert sorted(ready["files"]) == sorted(map(fact, (target, helper, part)))

    def test_what_came_by_value_has_none(self, fork: Any) -> None:
        import dspex_runtime.host.behaviours as dx

        class It(dx.GenServer):
            def init(self) -> int:
                return 0

        It.__module__ = "__main__"  # sent whole
        assert fork().start(It, kind=Kind.SERVER)["files"] == []

    def test_a_file_is_told_as_it_was_read(self, fork: Any, tmp_path: Path) -> None:
        helper = write(tmp_path / "src_overwritten.py", "X = 1")
        known = fact(helper)
        target = server(tmp_path / "src_overwrites.py", f"import src_overwritten\nopen({helper!r}, 'w').close()", "1")
        assert known in fork().start(f"{target}:It", kind=Kind.SERVER)["files"]


@pytest.mark.process
class TestPreloaded:
    """Modules of the user that the zygote has imported."""

    def test_one_that_did_not_change_is_shared_and_told(self, fork: Any, tmp_path: Path) -> None:
        sys.path.insert(0, str(tmp_path))
        path = write(tmp_path / "src_shared.py", "import os\nPID = os.getpid()")
        preload("src_shared")
        target = server(tmp_path / "src_uses_shared.py", "import src_shared", "src_shared.PID")
        process = fork()
        assert process.start(f"{target}:It", kind=Kind.SERVER)["files"] == [fact(path), fact(target)]
        assert process.client().call("$call", None) == os.getpid()

    def test_one_that_changed_is_imported_anew_and_so_is_who_took_from_it(self, fork: Any, tmp_path: Path) -> None:
        sys.path.insert(0, str(tmp_path))
        write(tmp_path / "src_pre" / "__init__.py", "")
        write(tmp_path / "src_pre" / "limit.py", "LIMIT = 1")
        write(tmp_path / "src_took.py", "from src_pre.limit import LIMIT")
        preload("src_pre.limit", "src_took")
        target = server(
            tmp_path / "src_asks.py",
            "import src_took\nfrom src_pre import limit",
            "[limit.LIMIT, src_took.LIMIT]",
        )
        assert answer(fork, target) == [1, 1]
        write(tmp_path / "src_pre" / "limit.py", "LIMIT = 2")  # same size, same time
        assert answer(fork, target) == [2, 2]

    def test_a_part_of_a_package_without_init_is_not_found_in_it_any_more(self, fork: Any, tmp_path: Path) -> None:
        sys.path.insert(0, str(tmp_path))
        write(tmp_path / "src_namespace" / "part.py", "X = 1")
        preload("src_namespace.part")
        write(tmp_path / "src_namespace" / "part.py", "X = 2")
        assert answer(fork, server(tmp_path / "src_of_namespace.py", "from src_namespace import part", "part.X")) == 2

    def test_one_that_is_gone_is_missed(self, fork: Any, tmp_path: Path) -> None:
        sys.path.insert(0, str(tmp_path))
        path = write(tmp_path / "src_removed.py", "X = 1")
        preload("src_removed")
        os.unlink(path)
        target = server(tmp_path / "src_misses.py", "import src_removed", "1")
        with pytest.raises(ModuleNotFoundError, match="src_removed"):
            fork().start(f"{target}:It", kind=Kind.SERVER)


@pytest.mark.process
class TestGiven:
    """Texts in the spec, in place of the disk's."""

    def texts(self, folder: Path) -> tuple[str, dict[str, bytes]]:
        """Return a target whose files were edited since, and what they were."""
        target = server(folder / "src_old.py", "import src_old_helper", "['old', src_old_helper.X]")
        helper = write(folder / "src_old_helper.py", "X = 'old'")
        texts = {path: Path(path).read_bytes() for path in (target, helper)}
        server(folder / "src_old.py", "import src_new_helper", "'new'")
        os.unlink(helper)
        return target, texts

    def test_they_run_and_run_again_after_kill_9(self, fork: Any, tmp_path: Path) -> None:
        target, texts = self.texts(tmp_path)
        for _ in range(2):
            process = fork()
            ready = process.start(f"{target}:It", kind=Kind.SERVER, sources=texts)
            assert process.client().call("$call", None) == ["old", "old"]
            assert [read[:3] for read in ready["files"]] == [[path, GIVEN, len(text)] for path, text in texts.items()]
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "__pycache__").exists()

    def test_a_file_that_is_gone_is_found_by_its_target(self, fork: Any, tmp_path: Path) -> None:
        target, texts = self.texts(tmp_path)
        os.unlink(target)
        assert answer(fork, target, sources=texts) == ["old", "old"]

    def test_a_folder_that_is_gone_is_searched(self, fork: Any, tmp_path: Path) -> None:
        package = str(tmp_path / "away" / "src_away" / "__init__.py")
        target = server(tmp_path / "src_goes.py", "import src_away", "src_away.X")
        sys.path_importer_cache[str(tmp_path / "away")] = None  # the zygote has looked
        assert answer(fork, target, sources={package: b"X = 1"}, sys_path=(str(tmp_path / "away"),)) == 1

    def test_they_come_before_what_the_zygote_has(self, fork: Any, tmp_path: Path) -> None:
        sys.path.insert(0, str(tmp_path))
        path = write(tmp_path / "src_had.py", "X = 'new'")
        preload("src_had")
        assert answer(fork, server(tmp_path / "src_wants.py", "import src_had", "src_had.X"), sources={path: b"X = 'old'"}) == "old"

    def test_a_traceback_shows_their_lines(self, fork: Any, tmp_path: Path) -> None:
        target = write(tmp_path / "src_fails.py", SERVER.format(imports="", answer="[1 / 0, 'of old']"))
        texts = {target: Path(target).read_bytes()}
        write(tmp_path / "src_fails.py", "# of new\n" * 20)
        process = fork()
        process.start(f"{target}:It", kind=Kind.SERVER, sources=texts)
        process.client().begin("$call", None)
        process.bye()
        assert "[1 / 0, 'of old']" in process.text()
        assert "# of new" not in process.text()


def test_nothing_is_looked_at_where_nothing_was_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "stat", None)
    before = set(sys.modules)
    user_code.install()
    sources.prepare({})
    assert (set(sys.modules), sources.loaded()) == (before, [])
