"""A restarted module has the code that is on the disk by then, however it was changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.system import Start, call_again

pytestmark = pytest.mark.process

SECOND = 1_700_000_000
TARGET = """
import dspex_runtime as dx
import nc_helper
from nc_package import part

class Asked(dx.GenServer):
    def init(self):
        return None
    def handle_call(self, request, from_, state):
        return dx.Reply([{own!r}, nc_helper.VALUE, part.VALUE], state)
"""


class Program:
    """A target, its helper and a part of a package; every edit has the same size and the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "program"
        (self.folder / "nc_package").mkdir(parents=True)
        self.put("nc_package/__init__.py", "")
        for name in ("own", "helper", "part"):
            self.edit(name, 1)

    @property
    def spec(self) -> dict[str, Any]:
        return {"id": "s", "server": f"{self.folder}/nc_target.py:Asked", "backoff": "none"}

    def edit(self, name: str, value: int) -> None:
        match name:
            case "own":
                self.put("nc_target.py", TARGET.format(own=value))
            case "helper":
                self.put("nc_helper.py", f"VALUE = {value}\n")
            case "part":
                self.put("nc_package/part.py", f"VALUE = {value}\n")

    def put(self, name: str, text: str) -> None:
        """Put a new file in the place of the old one, as editors and deployments do."""
        made = self.folder / f"{name}.new"
        made.write_text(text)
        os.utime(made, (SECOND, SECOND))
        made.rename(self.folder / name)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # stale bytecode is what this is about
    return Program(tmp_path)


def after_kill(rt: dx.Runtime) -> Any:
    rt.kill("s")
    return call_again(rt.server("s"), None)


def test_edits_of_the_same_second_and_size_are_seen(runtime: Start, program: Program) -> None:
    rt = runtime(program.spec)
    expected = [1, 1, 1]
    assert rt.server("s").call(None) == expected
    for place, name in enumerate(("own", "helper", "part")):
        for value in (2, 3):
            program.edit(name, value)
            expected[place] = value
            assert after_kill(rt) == expected
    assert (program.folder / "__pycache__").is_dir()


def test_so_are_edits_of_what_the_zygote_has_imported(runtime: Start, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(program.folder))
    rt = runtime(program.spec, runtime={"preload": ["nc_helper", "nc_package.part"]})
    assert rt.server("s").call(None) == [1, 1, 1]
    program.edit("part", 2)
    assert after_kill(rt) == [1, 1, 2]
    program.edit("helper", 3)
    program.edit("part", 4)
    assert after_kill(rt) == [1, 3, 4]


def test_a_dotted_target_is_no_different(runtime: Start, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(program.folder))
    rt = runtime({**program.spec, "server": "nc_target:Asked"})
    assert rt.server("s").call(None) == [1, 1, 1]
    program.edit("own", 2)
    program.edit("helper", 2)
    assert after_kill(rt) == [2, 2, 1]
