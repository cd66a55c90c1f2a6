"""The three ways to run a program: dspy's own Module, dx.Module, and behind a proxy, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import dspy
from dspy_compat.differences import BY_NAME

import dspex_runtime as dx

WAYS = ("plain", "native", "hosted")
_numbers = count()

met: set[str] = set()  #: names of the differences that tests of hosted programs have asked for


class Way:
    """Builds programs one way.

    Args:
        name: One of WAYS.
        start: Hosts a class or an instance, of the hosted way.
    """

    def __init__(self, name: str, start: Callable[..., Any] | None = None) -> None:
        self.name = name
        self.base: Any = dx.Module if name == "native" else dspy.Module
        self._start = start

    @property
    def hosted(self) -> bool:
        return self._start is not None

    def __call__(self, factory: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
        """Return a program of the class that the factory makes of this way's base."""
        return self.built(factory(self.base), *args, **kwargs)

    def built(self, cls: Any, *args: Any, **kwargs: Any) -> Any:
        return cls(*args, **kwargs) if self._start is None else self._start(cls, args=args, kwargs=kwargs)

    def instance(self, build: Callable[[Any], Any]) -> Any:
        """Return what a function builds of this way's base, as it is or hosted."""
        built = build(self.base)
        return built if self._start is None else self._start(built)

    def builtin(self, cls: Any, *args: Any, **kwargs: Any) -> Any:
        """Return an instance of one of dspy's own classes: as it is, under dx.Module, or hosted."""
        if self.name == "native":
            cls = type(cls.__name__, (dx.Module, cls), {"__module__": cls.__module__})
        instance = cls(*args, **kwargs)
        return instance if self._start is None else self._start(instance)

    def differs(self, name: str) -> bool:
        """Return whether the program behaves as the named row of the differences says."""
        assert name in BY_NAME, f"no difference {name!r} is on the list"
        if self.hosted:
            met.add(name)
        return self.hosted


@contextmanager
def starting(rt: Any) -> Iterator[Callable[..., Any]]:
    """Start programs, and stop them at the end."""
    started: list[str] = []

    def start(target: Any, **keys: Any) -> Any:
        id = f"p{next(_numbers)}"
        proxy = rt.start(target, id=id, restart="temporary", durability="memory", shutdown="brutal_kill", **keys)
        started.append(id)
        return proxy

    yield start
    for id in started:
        rt.stop(id)
