"""A pytest plugin for dspy's own tests: every class they derive from dspy.Module is run one of the three ways.

Loaded by `upstream.py` before anything is collected. In place of `dspy.Module` stands a class to derive from that answers
`isinstance` for it. Hosted, an instance of the tests' own classes is replaced by its proxy as soon as it is built, if it is the
outermost one and can be called; dspy's own modules stay where they are. Writes what became of each test as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
import dspex_runtime.modules.mirror.proxy  # a dspy.Module of ours, which keeps its base

WAY = "DSPEX_UPSTREAM_WAY"
RESULTS = "DSPEX_UPSTREAM_RESULTS"
PLACES = ("dspy", "dspy.primitives", "dspy.primitives.module")

original = dspy.Module
_building = threading.local()
_rt: Any = None
_test = ""
_hosted: dict[str, int] = {}
_started: list[str] = []


base: Any = dx.Module if os.environ.get(WAY) == "native" else original


class StandInMeta(type(base)):  # type: ignore[misc]
    """The metaclass of the class that stands in: asks dspy's for `isinstance`, and hosts what is built."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, original) if cls is Module else super().__instancecheck__(instance)

    def __subclasscheck__(cls, other: Any) -> bool:
        return issubclass(other, original) if cls is Module else super().__subclasscheck__(other)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if _rt is None:
            return super().__call__(*args, **kwargs)
        outermost = not getattr(_building, "depth", 0)
        _building.depth = getattr(_building, "depth", 0) + 1
        try:
            built = super().__call__(*args, **kwargs)
        finally:
            _building.depth -= 1
        return hosted(built) if outermost and is_to_be_hosted(cls) else built


class Module(base, metaclass=StandInMeta):  # type: ignore[misc]
    """Stands in for dspy.Module."""


def is_to_be_hosted(cls: Any) -> bool:
    """Return whether a class is the tests' own (dspy makes some at run time), and a process of it could answer anything."""
    if cls.__module__.startswith("dspy."):
        return False
    return hasattr(cls, "forward") or hasattr(cls, "aforward") or cls.__call__ is not original.__call__


def hosted(instance: Any) -> Any:
    """Return the proxy of a process that has this instance."""
    id = f"u{len(_started)}"
    proxy = _rt.start(instance, id=id, restart="temporary", durability="memory", shutdown="brutal_kill", concurrency=8)
    _started.append(id)
    _hosted[_test] = _hosted.get(_test, 0) + 1
    return proxy


def pytest_configure(config: pytest.Config) -> None:
    """Put the stand-in where tests take dspy.Module from, before any of them is imported."""
    global _rt
    if os.environ[WAY] == "plain":
        return
    for place in PLACES:
        importlib.import_module(place).Module = Module  # type: ignore[attr-defined]
    if os.environ[WAY] == "hosted":
        folder = tempfile.mkdtemp(prefix="dspex-upstream-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["DSPEX_RUNTIME_DIR"] = str(Path(folder) / "run")
        _rt = dx.Runtime({"version": 1, "name": "upstream", "tree": {"children": []}}, state_dir=str(Path(folder) / "state"))
        config.add_cleanup(_rt.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know whose processes are started, and stop them when their test is over."""
    global _test
    _test = item.nodeid
    begun = len(_started)
    result = yield
    for id in _started[begun:]:
        _rt.stop(id)
    return result


_outcomes: dict[str, dict[str, Any]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst of setup, call and teardown."""
    known = _outcomes.get(report.nodeid)
    if known is None or known["outcome"] == "passed":
        crash = getattr(report.longrepr, "reprcrash", None)
        said = crash.message if crash is not None else ""
        _outcomes[report.nodeid] = {"outcome": report.outcome, "said": said, "hosted": _hosted.get(report.nodeid, 0)}


def pytest_sessionfinish() -> None:
    """Write what became of the tests."""
    Path(os.environ[RESULTS]).write_text(json.dumps(_outcomes))
