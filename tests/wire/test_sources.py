"""The source of what is in no file travels with it."""

from __future__ import annotations

import inspect
import linecache
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.wire.sources import bundled, gathered, opened

CELL = "def f():\n    return 1\n"


@pytest.fixture
def cell() -> Iterator[str]:
    """A notebook's cell, as its kernel makes one known."""
    name = "<ipython-input-1-abc>"
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)
    yield name
    linecache.cache.pop(name, None)


def test_only_what_another_process_does_not_find_is_gathered(cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("beside.py").write_text("x = 1\n")
    assert gathered([__file__, cell, "<string>", "beside.py", str(tmp_path / "gone.py")]) == {cell: CELL, "beside.py": "x = 1\n"}


def test_it_is_there_where_the_pickle_is_opened(cell: str) -> None:
    data = bundled(pickle.dumps([1, 2]), gathered([cell]))
    del linecache.cache[cell]
    assert pickle.loads(data) == [1, 2]
    assert opened(pickle.dumps(3), {}) == 3
    linecache.checkcache()
    namespace: dict[str, Any] = {}
    exec(compile(CELL, cell, "exec"), namespace)
    assert inspect.getsource(namespace["f"]) == CELL


def test_a_pickle_that_needs_none_is_as_it_was() -> None:
    assert bundled(b"data", {}) == b"data"
