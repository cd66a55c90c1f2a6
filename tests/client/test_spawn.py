"""The runtime process from its start to its wait status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dspex_runtime.client import spawn
from dspex_runtime.client.spawn import RuntimeProcess
from dspex_runtime.client.steps import run
from dspex_runtime.errors import StartError


def process(code: str) -> RuntimeProcess:
    return RuntimeProcess(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE))


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "reason"),
    [("", "normal"), ("raise SystemExit(3)", ("exit_status", 3)), ("import os; os.kill(os.getpid(), 11)", ("signal", "SEGV"))],
)
def test_the_wait_status_becomes_an_exit_reason(code: str, reason: object) -> None:
    child = process(code)
    assert run(child.ended())
    assert child.reason == reason
    child._popen.stdin.close()  # type: ignore[union-attr]


@pytest.mark.process
def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "STOP_LIMIT_S", 0.05)
    child = process("import sys; sys.stdin.read()")
    assert not run(child.ended(0.01))
    assert child.reason is None
    run(child.collected())
    assert child.reason == "killed"
    child._popen.stdin.close()  # type: ignore[union-attr]


@pytest.mark.process
def test_a_runtime_that_ends_before_it_is_up_shows_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(Path("/bin/false")))
    with pytest.raises(StartError, match="exit status 1"):
        run(spawn.booting({}, detach=False))


@pytest.mark.process
def test_an_interpreter_that_is_not_there_is_an_error_and_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        run(spawn.booting({}, detach=False))
