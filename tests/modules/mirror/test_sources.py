"""The source of a class is found wherever its class came from: by where its methods were compiled."""

from __future__ import annotations

import functools
import inspect
import linecache
import pickle
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.client.shipping import dumps
from dspex_runtime.modules.mirror.sources import source_of
from dspex_runtime.wire import by_value


class Plain:
    def forward(self) -> int:
        return 1


def factory() -> type:
    @functools.total_ordering
    class Local:
        """With a decorator."""

        x = 1

        @staticmethod
        def made() -> int:
            return 2

        def __lt__(self, other: Any) -> bool:
            return True

    return Local


def either(first: bool) -> type:
    if first:

        class Twice:
            def forward(self) -> int:
                return 1

    else:

        class Twice:  # type: ignore[no-redef]
            def forward(self) -> int:
                return 2

    return Twice


class Wrapped:
    @functools.lru_cache  # noqa: B019
    def forward(self) -> int:
        return 1


class Empty:
    x = 1


CLASSES = [Plain, factory(), Wrapped, Empty, textwrap.TextWrapper]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_it_is_what_inspect_finds_where_that_can(cls: type) -> None:
    assert source_of(cls) == textwrap.dedent(inspect.getsource(cls))


def test_of_two_of_one_name_it_is_the_one_that_is_meant() -> None:
    assert "return 1" in (source_of(either(True)) or "")
    assert "return 2" in (source_of(either(False)) or "")


def elsewhere(cls: Any) -> Any:
    """A class as it is in a process that has none of its modules."""
    cls.__module__ = "__main__"
    return pickle.loads(by_value.dumps(cls))


@pytest.mark.parametrize("make", [factory, lambda: either(False)], ids=["factory", "either"])
def test_one_that_came_by_value_is_found_in_its_file(make: Callable[[], type]) -> None:
    expected = source_of(make())
    assert expected is not None
    assert source_of(elsewhere(make())) == expected


def test_one_of_a_notebook_brings_its_source(tmp_path: Path) -> None:
    name, text = str(tmp_path / "ipykernel_1" / "2.py"), "class Cell:\n    def forward(self):\n        return 1\n"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(f"# %%\n{text}", name, "exec"), namespace)
    data = dumps(namespace["Cell"], new_locks=False)
    del linecache.cache[name]
    try:
        assert source_of(namespace["Cell"]) is None
        assert source_of(pickle.loads(data)) == text
    finally:
        linecache.cache.pop(name, None)


def test_what_was_typed_has_none() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Typed:\n    def forward(self): ...\n", namespace)
    assert source_of(namespace["Typed"]) is None
    assert source_of(type("Made", (), {"__module__": "__main__"})) is None
    assert source_of(int) is None
