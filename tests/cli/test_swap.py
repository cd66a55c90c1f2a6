"""dspex swap, versions, rollback: what is asked of the runtime, how it goes and what it came to, and the exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from dspex_cli import completing, swaps
from dspex_cli.commands import rollback
from dspex_cli.commands.param import when
from dspex_cli.options import Settings
from dspex_runtime.errors import NoProcessError, SwapError
from dspex_runtime.types import SwapResult, VersionInfo

Run = Callable[..., Any]
EVENTS = [{"type": "swap", "id": "qa", "phase": phase} for phase in ("rehearsing", "verified", "draining", "moving", "done")]
RESULT: dict[str, Any] = {
    "id": "qa", "version": "2.2.0", "old_version": "2.1.0", "number": 3, "pid": 4720, "incarnation": 2, "seconds": 0.25,
    "rehearsal_s": 0.2, "drain_s": 0.012, "pause_s": 0.0013, "migrated": True, "moved": {"channels": 3, "queued": 1, "timers": 0},
}  # fmt: skip
HASH = "0123456789abcdef" * 4
SAID = [
    "qa: 2.1.0 -> 2.2.0, number 3, pid 4720  (250 ms)",
    "  drain 12 ms, pause 1.30 ms, migrated, 1 queued call, 3 open pipes",
]


@pytest.fixture
def swapping(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked for: swaps, rollbacks and aborts."""
    asked: list[Any] = []

    def swap(*args: Any, on_progress: Callable[[dict[str, Any]], None], **kwargs: Any) -> SwapResult:
        asked.append((args, {name: value for name, value in kwargs.items() if value is not None}))
        if "swap" in runtime.fails:
            raise runtime.fails["swap"]
        for event in EVENTS:
            on_progress(event)
        if "interrupt" in runtime.fails:
            raise runtime.fails["interrupt"]
        return SwapResult(**RESULT)

    def abort(id: str) -> bool:
        asked.append(("abort", id))
        return id == "qa"

    def versions(id: str) -> list[VersionInfo]:
        runtime.info(id)
        newer = VersionInfo(2, "2.1.0", "answering.py:Answerer", {"k": 3}, HASH, 86_400.0, "swap", True)
        return [newer, VersionInfo(1, None, "answering.py:Answerer", {}, None, 0.0, "start", False)]

    monkeypatch.setattr(sys, "path", list(sys.path))  # the command puts a folder on it
    for name, function in (("swap", swap), ("rollback", swap), ("abort_swap", abort), ("versions", versions)):
        monkeypatch.setattr(runtime, name, function, raising=False)
    return asked


# -- swap


def test_all_that_is_said_is_asked(dspex: Run, swapping: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--to", "new.py:Name", "k=3", "name=x", "--version", "2.2.0", "--migrate", "m.py:up", "--verify", "selftest")
    assert dspex("swap", "qa", *words, "--drain", "5s", "--timeout", "1m", "--why", "a fix").code == 0
    told = {"to": f"{tmp_path}/new.py:Name", "kwargs": {"k": 3, "name": "x"}, "version": "2.2.0", "migrate": "m.py:up"}
    assert swapping == [(("qa",), {**told, "verify": "selftest", "drain": 5.0, "timeout": 60.0, "why": "a fix"})]


def test_nothing_said_is_the_same_with_the_code_that_is_there_now(dspex: Run, swapping: list[Any]) -> None:
    assert dspex("swap", "qa").code == 0
    assert swapping == [(("qa",), {"timeout": 30.0})]


def test_a_command_is_split_as_a_shell_does(dspex: Run, swapping: list[Any]) -> None:
    assert dspex("swap", "qa", "--verify-command", "curl -f 'http://x/y z'").code == 0
    assert swapping[0][1]["verify"] == ["curl", "-f", "http://x/y z"]


def test_what_it_came_to_is_said_and_on_a_terminal_how_it_goes(
    dspex: Run, swapping: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dspex("swap", "qa").out.splitlines() == SAID
    assert dspex("swap", "qa", "-q").out == ""
    monkeypatch.setattr(swaps, "on_terminal", lambda: True)
    lines = dspex("swap", "qa").out.splitlines()
    assert [line.partition("  ")[2].strip().split("s  ")[-1] for line in lines[:5]] == list(swaps.PHASES.values())
    assert lines[5:] == SAID
    assert dspex("swap", "qa", "-q").out == ""


def test_one_without_versions_and_without_anything_to_move_is_said_in_fewer_words() -> None:
    plain = SwapResult(**{**RESULT, "version": None, "old_version": None, "migrated": False, "moved": {}})
    first, second = swaps._lines(plain)
    assert (first.partition(",")[0], second) == ("qa: no version", "  drain 12 ms, pause 1.30 ms, state as it was")


def test_as_json_it_is_one_object(dspex: Run, swapping: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swaps, "on_terminal", lambda: True)
    assert dspex("swap", "qa", "-o", "json").json == RESULT


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (SwapError("'qa' was not swapped: verify returned False", code="verify", id="qa"), 1, "verify"),
        (SwapError("'qa' is being swapped already", code="busy", id="qa"), 1, "busy"),
        (SwapError("'qa' is STOPPED", code="not_running", id="qa"), 3, "not_running"),
        (SwapError("'qa' was not swapped after 30 s", code="timeout", id="qa"), 8, "timeout"),
        (SwapError("3 calls of 'qa' still run after 5 s", code="drain_timeout", id="qa"), 8, "drain_timeout"),
        (NoProcessError("unknown id 'qa'", id="qa"), 3, "noproc"),
    ],
)
def test_errors_have_their_codes(dspex: Run, runtime: Any, swapping: list[Any], error: Any, code: int, word: str) -> None:
    runtime.fails["swap"] = error
    outcome = dspex("swap", "qa", "-o", "json")
    assert (outcome.code, outcome.json["error"]["code"], outcome.json["error"]["id"]) == (code, error.code, "qa")
    assert error.code == word


def test_of_a_traceback_the_users_last_frame_is_shown_and_all_of_it_with_v(dspex: Run, runtime: Any, swapping: list[Any]) -> None:
    ours = '  File "/x/dspex_runtime/host/y.py", line 1, in z\n    z()\n'
    trace = f'Traceback\n{ours}  File "/home/me/qa.py", line 3\n    def (\n        ^\n'
    error = SwapError(
        "'qa' was not swapped: it did not start", code="start", remote_traceback=f"{trace}SyntaxError: invalid syntax\n"
    )
    runtime.fails["swap"] = error
    assert dspex("swap", "qa").err.splitlines() == [
        "error: 'qa' was not swapped: it did not start",
        '  File "/home/me/qa.py", line 3',
        "    def (",
        "  SyntaxError: invalid syntax",
        "  hint: -v prints the module's traceback",
    ]
    assert "host/y.py" in dspex("-v", "swap", "qa").err


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("draining", "interrupted; qa serves on as it was"),
        ("moving", "interrupted; `dspex versions qa` shows which version serves"),
    ],
)
def test_an_interrupt_says_what_becomes_of_the_module(
    dspex: Run, runtime: Any, swapping: list[Any], monkeypatch: pytest.MonkeyPatch, phase: str, said: str
) -> None:
    monkeypatch.setitem(globals(), "EVENTS", [{"type": "swap", "id": "qa", "phase": phase}])
    runtime.fails["interrupt"] = KeyboardInterrupt()
    for command in ("swap", "rollback"):
        outcome = dspex(command, "qa")
        assert (outcome.code, said in outcome.err) == (130, True)
    assert "interrupted" not in dspex("swap", "qa", "-q").err


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "word"),
        ("k",),
        ("k=1", "k=2"),
        ("--drain", "soon"),
        ("--verify", "selftest", "--verify-command", "true"),
        ("--verify-command", "echo 'x"),
        ("--verify-command", " "),
        ("--abort", "--status"),
        ("--abort", "--to", "new.py:Name"),
        ("--status", "k=1"),
        ("--abort", "--verify-command", "true"),
    ],
)
def test_wrong_words_are_usage(dspex: Run, swapping: list[Any], words: tuple[str, ...]) -> None:
    assert dspex("swap", "qa", *words).code == 2
    assert swapping == []


# -- the swap that is under way


def test_an_abort_says_whether_there_was_one(dspex: Run, swapping: list[Any]) -> None:
    assert dspex("swap", "qa", "--abort").out == "aborted the swap of qa; it serves on as it was\n"
    outcome = dspex("swap", "counter", "--abort", "-o", "json")
    assert (outcome.code, outcome.json) == (3, {"id": "counter", "aborted": False})


def test_the_one_that_is_under_way_is_shown(dspex: Run, runtime: Any, swapping: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = dspex("swap", "qa", "--status")
    assert (outcome.code, outcome.out) == (3, "no swap of qa is under way\n")
    swap = {"phase": "draining", "since": 95.0, "to": "new.py:Name"}
    monkeypatch.setattr(swaps.time, "time", lambda: 100.0)
    runtime.children["qa"] = replace(runtime.children["qa"], swap=swap)
    assert dspex("swap", "qa", "--status").out == "qa: draining for 5s, to new.py:Name\n"
    assert dspex("swap", "qa", "--status", "-o", "json").json == {"id": "qa", "swap": swap}
    assert "swap         draining for 5s, to new.py:Name" in dspex("info", "qa").out
    assert dspex("info", "qa", "-o", "json").json["swap"] == swap
    assert swaps.under_way({**swap, "to": None}) == "draining for 5s"


# -- versions, and the way back


def test_versions_are_a_table_and_json_has_all_of_each(dspex: Run, swapping: list[Any]) -> None:
    lines = dspex("versions", "qa").out.splitlines()
    assert lines[0].split() == ["NUMBER", "VERSION", "TARGET", "SOURCE", "WHEN", "WHY", "CURRENT"]
    assert lines[1].split() == ["2", "2.1.0", "answering.py:Answerer", HASH[:12], *when(86_400.0).split(), "swap", "*"]
    assert lines[2].split() == ["1", "-", "answering.py:Answerer", "-", *when(0.0).split(), "start"]
    first, _ = dspex("versions", "qa", "-o", "json").json
    assert first == {
        "number": 2, "version": "2.1.0", "target": "answering.py:Answerer", "args": {"k": 3}, "source_hash": HASH, "when": 86_400.0,
        "why": "swap", "current": True,
    }  # fmt: skip
    assert dspex("versions", "nowhere").code == 3


@pytest.mark.parametrize(("words", "version"), [((), None), (("2",), 2), (("2.1.0",), "2.1.0"), (("beta",), "beta")])
def test_a_rollback_takes_a_number_or_the_text_of_a_version(
    dspex: Run, swapping: list[Any], words: tuple[str, ...], version: Any
) -> None:
    assert dspex("rollback", "qa", *words, "--drain", "1s").out.splitlines() == SAID
    assert swapping == [(("qa", version), {"drain": 1.0, "timeout": 30.0})]


def test_numbers_of_versions_are_completed_but_for_the_one_that_serves(swapping: list[Any]) -> None:
    context = click.Context(rollback.command_object, obj=Settings())
    context.params["id"] = "qa"
    argument = rollback.command_object.params[1]
    assert [(item.value, item.help) for item in argument.shell_complete(context, "")] == [("1", f"{when(0.0)}  start")]
    context.params = {}
    assert completing.versions(context, argument, "") == []


def test_commands_run_where_the_user_stands(dspex: Run, swapping: list[Any]) -> None:
    assert dspex("swap", "qa", "--to", "pkg.mod:Name").code == 0
    assert swapping[0][1]["to"] == "pkg.mod:Name"
    assert sys.path[0] == os.getcwd()
