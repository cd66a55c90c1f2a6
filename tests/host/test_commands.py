"""Commands of the user's: by their exit status, in their time, with the end of what they said."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from dspex_runtime.host.commands import TAIL_BYTES, CommandError, in_background, run, shown
from helpers.waiting import wait_until


def test_status_0_is_well() -> None:
    run("true", 5.0)
    run(["true"], 5.0)
    run("exit 0; false", 5.0)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("exit 3", "ended with status 3, and said nothing"),
        ("echo out; echo err >&2; exit 1", "ended with status 1:\nout\nerr"),
        ("kill -TERM $$", "was killed by signal 15, and said nothing"),
        (["sh", "-c", "printf 'no\\n\\n'; exit 2"], "ended with status 2:\nno"),
        ("printf '\\377x'; exit 1", "ended with status 1:\n\ufffdx"),
    ],
)
def test_anything_else_is_told_with_what_it_printed(command: str | list[str], text: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(command, 5.0)
    assert str(caught.value) == text


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(CommandError, match=r"could not be started: .*No such file"):
        run(["/no/such/program"], 5.0)
    with pytest.raises(CommandError, match=r"(?s)ended with status 127.*not found"):
        run("no-such-program", 5.0)


def test_only_the_end_of_much_output_is_kept() -> None:
    with pytest.raises(CommandError) as caught:
        run([sys.executable, "-c", "print('x' * 1_000_000); print('the end'); raise SystemExit(1)"], 30.0)
    assert str(caught.value).endswith("xxx\nthe end")
    assert len(str(caught.value)) < TAIL_BYTES + 100


@pytest.mark.process
def test_what_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    began, pids = time.monotonic(), tmp_path / "pids"
    with pytest.raises(CommandError, match=r"(?s)did not end within 0.5 s:\nwaiting"):
        run(f"echo waiting; sleep 60 & echo $! > {pids}; wait", 0.5)
    assert time.monotonic() - began < 10.0
    wait_until(lambda: not Path(f"/proc/{pids.read_text().strip()}").exists())


@pytest.mark.process
def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    run(f"sleep 60 & echo $! > {pids}", 20.0)
    os.kill(int(pids.read_text()), 9)


def test_it_has_nothing_to_read() -> None:
    run('test -z "$(cat)"', 5.0)


def test_it_is_in_the_folder_and_environment_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", "yes")
    run(f'test "$HERE" = yes && test "$(pwd -P)" = "{tmp_path.resolve()}"', 5.0)


def test_it_can_be_waited_for_elsewhere() -> None:
    told: list[Exception | None] = []
    for command in ("true", "exit 1"):
        done = threading.Event()
        in_background(command, 5.0, lambda error, done=done: (told.append(error), done.set()))  # type: ignore[misc]
        assert done.wait(20.0)
    assert told[0] is None
    assert isinstance(told[1], CommandError)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "dspex-command"])


def test_it_is_shown_on_one_line() -> None:
    assert shown("a\n  b") == "a b"
    assert shown(["a", "b"]) == "a b"
    assert len(shown("x" * 500)) == 100
