"""Real runtimes for the system tests, each with a rendezvous folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import Start


@pytest.fixture(autouse=True)
def own_rendezvous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DSPEX_SOCKET", raising=False)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Start]:
    """Start a runtime from the children of a tree (or a whole tree); all are closed at the end."""
    started: list[dx.Runtime] = []

    def start(*children: dict[str, Any], tree: dict[str, Any] | None = None, **options: Any) -> dx.Runtime:
        whole = {"strategy": "one_for_one", "max_restarts": 1000, **(tree or {}), "children": list(children)}
        config = {"version": 1, "name": f"t{len(started)}", "runtime": {"spares": 1, **options.pop("runtime", {})}, "tree": whole}
        rt = dx.Runtime(config, state_dir=str(tmp_path / f"state{len(started)}"), **options)
        started.append(rt)
        return rt

    yield start
    for rt in started:
        rt.close()
