"""What stands for an object of a hosted program has the name and the source of its class."""

from __future__ import annotations

import gc
import inspect
import linecache
import sys
from typing import Any

from dspex_runtime.errors import NoProcessError
from dspex_runtime.modules.mirror.classes import class_for


class Base:
    """Ours."""


class Ref:
    def __init__(self, source: str | None) -> None:
        self.source = source
        self.asked: list[str] = []

    def call(self, method: str, *, source_of: str) -> Any:
        self.asked.append(source_of)
        if self.source == "down":
            raise NoProcessError(id="sup/qa")
        return self.source


SOURCE = "class Theirs(dspy.Module):\n    def forward(self):\n        return 1\n"


def test_its_source_is_fetched_once_when_it_is_asked_for() -> None:
    ref = Ref(SOURCE)
    cls = class_for(Base, "outer.<locals>.Theirs", ref, "part")
    assert (cls.__name__, issubclass(cls, Base), cls.__doc__, ref.asked) == ("Theirs", True, "Ours.", [])
    assert inspect.getsource(cls) == SOURCE == inspect.getsource(cls)
    linecache.checkcache()
    assert inspect.getsource(cls) == SOURCE
    assert ref.asked == ["part"]
    assert class_for(Base, "Theirs", ref, "part") is cls
    assert class_for(Base, "Theirs", ref, "other") is not cls


def test_one_without_source_has_a_word_about_it() -> None:
    for source in (None, "down"):
        assert "not to be had" in inspect.getsource(class_for(Base, "Theirs", Ref(source), ""))


def test_it_leaves_nothing_behind() -> None:
    cls = class_for(Base, "Theirs", Ref(SOURCE), "")
    module, file = cls.__module__, sys.modules[cls.__module__].__file__
    assert file in linecache.cache
    del cls
    gc.collect()
    assert module not in sys.modules
    assert file not in linecache.cache
