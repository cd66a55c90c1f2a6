"""What running modules were made of: read once, kept while a version holds it, never something else than what ran."""

from __future__ import annotations

import gc
import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.core.child_spec import GIVEN, LaunchSpec
from dspex_runtime.node.sources import MAX_FILE_BYTES, Archive, changed
from dspex_runtime.types import Kind

SECOND = 1_700_000_000


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the archive opens from now on."""
    paths: list[str] = []
    real = os.open

    def noting(path: Any, *args: Any, **options: Any) -> int:
        paths.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", noting)
    return paths


def write(path: Path, text: str, at: float = SECOND) -> list[Any]:
    """Write a file; return what a process that reads it now says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    info = path.stat()
    return [str(path), info.st_mtime_ns, info.st_size, importlib.util.source_hash(text.encode())]


def texts(facts: list[list[Any]], archive: Archive) -> Any:
    return archive.note(facts).texts


class TestArchive:
    def test_it_has_the_texts_and_a_hash_of_them(self, tmp_path: Path) -> None:
        facts = [write(tmp_path / "a.py", "A = 1\n"), write(tmp_path / "b.py", "B = 1\n")]
        noted = Archive().note(facts)
        assert noted.texts == {str(tmp_path / "a.py"): b"A = 1\n", str(tmp_path / "b.py"): b"B = 1\n"}
        assert noted.source_hash is not None
        assert (len(noted.source_hash), noted.missing) == (12, ())

    def test_the_hash_is_of_names_and_texts_not_of_places_times_or_order(self, tmp_path: Path) -> None:
        def hash_of(*facts: list[Any]) -> str | None:
            return Archive().note(facts).source_hash

        a, b = write(tmp_path / "a.py", "A"), write(tmp_path / "b.py", "B")
        moved = write(tmp_path / "moved" / "b.py", "B", at=SECOND + 9)
        assert hash_of(a, b) == hash_of(moved, a)
        others = (write(tmp_path / "other" / "b.py", "C"), write(tmp_path / "c.py", "B"))
        assert len({hash_of(a, b), hash_of(a), *(hash_of(a, other) for other in others)}) == 4

    def test_many_processes_of_one_file_cost_one_read(self, tmp_path: Path, opened: list[str]) -> None:
        fact, archive = write(tmp_path / "a.py", "A = 1"), Archive()
        noted = [archive.note([list(fact)]) for _ in range(1000)]
        assert opened == [fact[0]]
        assert all(each is noted[0] for each in noted)

    def test_a_process_without_files_has_no_hash_and_lacks_nothing(self) -> None:
        noted = Archive().note([])
        assert (noted.source_hash, noted.texts, noted.missing) == (None, {}, ())

    @pytest.mark.parametrize("hashed", [True, False])
    def test_a_file_that_changed_since_it_was_read_gives_no_version(self, tmp_path: Path, hashed: bool) -> None:
        fact, other = write(tmp_path / "a.py", "A = 1"), write(tmp_path / "b.py", "B = 1")
        write(tmp_path / "a.py", "A = 2", at=SECOND + 1)
        noted = Archive().note([fact if hashed else fact[:3], other])
        assert (noted.source_hash, noted.texts, noted.missing) == (None, None, (fact[0],))

    def test_another_file_of_the_same_times_and_size_is_not_taken_for_it(self, tmp_path: Path) -> None:
        archive = Archive()
        first = write(tmp_path / "a.py", "A = 1")
        noted = archive.note([first])
        second = write(tmp_path / "a.py", "A = 2")
        assert first[:3] == second[:3]
        assert texts([second], archive) == {first[0]: b"A = 2"}
        assert texts([first], archive) == noted.texts == {first[0]: b"A = 1"}

    def test_facts_without_a_hash_are_enough(self, tmp_path: Path) -> None:
        assert texts([write(tmp_path / "a.py", "A = 1")[:3]], Archive()) == {str(tmp_path / "a.py"): b"A = 1"}

    @pytest.mark.parametrize("became", ["gone", "a folder", "a pipe"])
    def test_what_is_no_file_any_more_is_missing_and_nobody_waits(self, tmp_path: Path, became: str) -> None:
        fact = write(tmp_path / "a.py", "")
        os.unlink(fact[0])
        {"gone": lambda _: None, "a folder": os.mkdir, "a pipe": os.mkfifo}[became](fact[0])
        assert Archive().note([fact]).missing == (fact[0],)

    def test_a_file_that_is_too_long_is_missing(self, tmp_path: Path) -> None:
        fits, long = (write(tmp_path / f"{size}.py", " " * size) for size in (MAX_FILE_BYTES, MAX_FILE_BYTES + 1))
        assert Archive().note([fits, long]).missing == (long[0],)

    def test_texts_that_were_given_are_the_version(self, tmp_path: Path) -> None:
        @dataclass
        class Process:
            files: list[list[Any]]
            launch: LaunchSpec = field(default_factory=lambda: LaunchSpec(Kind.SERVER))

        archive = Archive()
        first = Process([write(tmp_path / "a.py", "A = 1"), write(tmp_path / "b.py", "B = 1")])
        noted = archive.noted(first)
        assert noted.texts is not None
        write(tmp_path / "a.py", "A = 2", at=SECOND + 1)
        said = [[path, GIVEN, len(text), importlib.util.source_hash(text)] for path, text in noted.texts.items()]
        again = archive.noted(Process(said, LaunchSpec(Kind.SERVER, sources=noted.texts)))
        assert (again.texts, again.source_hash) == (noted.texts, noted.source_hash)
        assert Archive().noted(Process(said)).missing == tuple(noted.texts)


class TestWhatIsKept:
    def test_what_a_version_holds_stays_and_the_rest_up_to_a_limit(self, tmp_path: Path, opened: list[str]) -> None:
        archive = Archive(limit_bytes=250)
        facts = [write(tmp_path / f"{n}.py", str(n) * 100) for n in range(4)]
        held = archive.note(facts[:1])
        for fact in facts[1:]:
            archive.note([fact])
        gc.collect()
        for fact in facts:
            os.unlink(fact[0])
        assert archive.note(facts[:1]).texts == held.texts
        assert [texts([fact], archive) is not None for fact in facts] == [True, False, False, True]

    def test_what_is_used_again_stays_longest(self, tmp_path: Path) -> None:
        archive = Archive(limit_bytes=250)
        facts = [write(tmp_path / f"{n}.py", str(n) * 100) for n in range(3)]
        for number in (0, 1, 0, 2):
            archive.note([facts[number]])
        gc.collect()
        for fact in facts:
            os.unlink(fact[0])
        assert [texts([fact], archive) is not None for fact in facts] == [True, False, True]

    def test_one_that_is_longer_than_the_limit_is_the_holders_alone(self, tmp_path: Path) -> None:
        archive, fact = Archive(limit_bytes=10), write(tmp_path / "a.py", "A" * 11)
        held = archive.note([fact])
        os.unlink(fact[0])
        assert archive.note([fact]) is held
        del held
        gc.collect()
        assert texts([fact], archive) is None


class TestChanged:
    def test_nothing_has_at_first(self, tmp_path: Path, opened: list[str]) -> None:
        assert changed([write(tmp_path / "a.py", "A = 1")]) == []
        assert opened == []

    def test_edited_and_removed_ones_are_told_once(self, tmp_path: Path) -> None:
        facts = [write(tmp_path / f"{name}.py", "A = 1") for name in ("same", "edited", "removed")]
        write(tmp_path / "edited.py", "A = 2", at=SECOND + 1)
        os.unlink(facts[2][0])
        assert changed([*facts, *facts]) == [facts[1][0], facts[2][0]]

    def test_a_touched_one_has_not_where_its_hash_is_known(self, tmp_path: Path) -> None:
        fact = write(tmp_path / "a.py", "A = 1")
        os.utime(fact[0], (SECOND + 5, SECOND + 5))
        assert changed([fact]) == []
        assert changed([fact[:3]]) == [fact[0]]

    def test_another_of_the_same_times_is_found_by_who_is_thorough(self, tmp_path: Path) -> None:
        fact = write(tmp_path / "a.py", "A = 1")
        write(tmp_path / "a.py", "A = 2")
        assert changed([fact]) == []
        assert changed([fact], thorough=True) == [fact[0]]

    def test_what_was_given_never_has(self) -> None:
        assert changed([["/nowhere/a.py", GIVEN, 5, b"01234567"]], thorough=True) == []

    def test_a_long_file_that_looks_the_same_is_the_same(self, tmp_path: Path) -> None:
        fact = write(tmp_path / "a.py", " " * (MAX_FILE_BYTES + 1))
        assert changed([fact]) == []
