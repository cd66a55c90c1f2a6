"""Real runtimes for the system tests, each with a rendezvous folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.leaks import Footprint
from helpers.system import DSPY_PROGRAMS, PROGRAMS, Start


@pytest.fixture(autouse=True)
def own_rendezvous(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for each test, which would hide that of a runtime which the whole file has."""
    if "standing" in request.fixturenames:
        return
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DSPEX_SOCKET", raising=False)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Start]:
    """Start a runtime from the children of a tree (or a whole tree); all are closed at the end.

    A tree without modules is one of servers: its runtime does not import dspy, which takes longer than most tests. A test that
    starts a module in such a one by hand says `runtime={"preload": ["dspy"]}`.
    """
    started: list[dx.Runtime] = []

    def start(*children: dict[str, Any], tree: dict[str, Any] | None = None, **options: Any) -> dx.Runtime:
        whole = {"strategy": "one_for_one", "max_restarts": 1000, **(tree or {}), "children": list(children)}
        preload = {} if "'module':" in repr(whole) else {"preload": []}
        settings = {"spares": 1, **preload, **options.pop("runtime", {})}
        config = {"version": 1, "name": f"t{len(started)}", "runtime": settings, "tree": whole}
        rt = dx.Runtime(config, state_dir=str(tmp_path / f"state{len(started)}"), **options)
        started.append(rt)
        return rt

    yield start
    for rt in started:
        rt.close()


@pytest.fixture(scope="module")
def shared_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dx.Runtime]:
    """One runtime for all tests of a file that ask for `shared`; what it leaves behind is looked for at its end."""
    folder, before = tmp_path_factory.mktemp("shared"), Footprint.take()
    config = {"version": 1, "name": "shared", "runtime": {"spares": 0}, "tree": {"max_restarts": 1000, "children": []}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSPEX_RUNTIME_DIR", str(folder / "run"))
        patch.delenv("DSPEX_SOCKET", raising=False)
        rt = dx.Runtime(config, state_dir=str(folder / "state"))
    with rt:
        for target in (f"{PROGRAMS}:Counter", f"{DSPY_PROGRAMS}:Echo"):
            rt.start(target, id="first")  # both zygotes are there before the first test looks at what there is
            rt.delete("first")
        yield rt
    assert before.leaks_since(timeout_s=20.0) == []


@pytest.fixture
def shared(shared_runtime: dx.Runtime) -> Iterator[Start]:
    """Start children in the runtime of this file, which is cheaper than one of their own; all there are are deleted at the end.

    For tests that neither end the runtime nor count what it has, and want nothing of it but its children.
    """

    def start(*children: dict[str, Any]) -> dx.Runtime:
        for child in children:
            shared_runtime.start_child("root", child)
        return shared_runtime

    yield start
    for child in shared_runtime.modules():
        if "/" not in child.id:  # what is below it goes with it
            with suppress(dx.NoProcessError):  # a temporary one that is just ending
                shared_runtime.delete(child.id)
