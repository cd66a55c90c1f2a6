"""The command line as a whole: global options, exit codes, errors, start-up cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dspex_cli import link
from dspex_cli.commands import TABLE
from dspex_cli.main import dspex as group
from dspex_runtime.errors import (
    BusyError,
    CallTimeoutError,
    ConfigError,
    DependencyDownError,
    NoProcessError,
    ProcessDownError,
    RemoteError,
    RuntimeUnreachableError,
    StartError,
    SupervisorError,
)

Run = Callable[..., Any]
HEAVY = ("dspy", "asyncio", "pydantic", "numpy", "yaml", "rich", "multiprocess", "cloudpickle", "litellm", "psutil")


def _python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in TABLE)], ids=lambda words: words[0])
def test_no_command_imports_anything_heavy_to_start(arguments: tuple[str, ...]) -> None:
    code = "import sys; from dspex_cli.main import main; main(sys.argv[1:]); print('LOADED', *sys.modules)"
    loaded = _python(code, *arguments).stdout.partition("LOADED")[2].split()
    assert loaded
    assert not [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("name", TABLE)
def test_the_one_line_help_is_the_commands_own(name: str) -> None:
    command = group.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert (command.name, (command.help or "").partition("\n\n")[0].replace("\n", " ").strip()) == (name, TABLE[name][1])


@pytest.mark.parametrize("name", TABLE)
def test_every_command_explains_itself(dspex: Run, name: str) -> None:
    outcome = dspex(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: dspex {name}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "json", "ps"),
        ("ps", "-o", "json"),
        ("ps", "-ojson"),
        ("-o", "table", "ps", "--output=json"),
        ("-q", "ps", "-o", "json"),
    ],
    ids=" ".join,
)
def test_global_options_stand_before_or_after_the_command(dspex: Run, runtime: Any, arguments: tuple[str, ...]) -> None:
    outcome = dspex(*arguments)
    assert outcome.code == 0
    assert [child["id"] for child in outcome.json] == ["qa", "counter", "old"]


def test_an_option_before_the_command_is_not_undone_by_the_command(dspex: Run, runtime: Any) -> None:
    assert dspex("--runtime", "nobody", "ps").code == 4
    assert dspex("--runtime", "nobody", "ps", "--runtime", "demo").code == 0


def test_the_environment_names_the_socket(dspex: Run, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPEX_SOCKET", "/elsewhere.sock")
    assert "/elsewhere.sock" in dspex("ps").err
    assert dspex("ps", "--runtime", "demo").code == 0


def test_without_a_runtime_the_error_says_how_to_start_one(dspex: Run, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "list_running", list)
    outcome = dspex("ps")
    assert outcome.code == 4
    assert outcome.err.startswith("error: no runtime is running\n  hint: `dspex up")


def test_of_several_runtimes_one_must_be_named(dspex: Run, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "list_running", lambda: [("a", "/a"), ("demo", "/run/demo.sock")])
    outcome = dspex("ps")
    assert outcome.code == 2
    assert "a, demo" in outcome.err
    assert dspex("ps", "--runtime", "demo").code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pss",), "did you mean 'ps'"),
        (("statsu",), "did you mean 'status'"),
        (("ps", "--wtach"), "--watch"),
        (("call",), "Missing argument 'ID'"),
        (("wait", "qa", "--timeout", "soon"), "not a duration"),
        (("wait", "qa", "--for", "redy"), "ready"),
        (("ps", "-o", "xml"), "json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_usage_error_is_2_and_says_what_was_meant(dspex: Run, runtime: Any, arguments: tuple[str, ...], expected: str) -> None:
    outcome = dspex(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert expected in outcome.err
    assert "Traceback" not in outcome.err


def test_a_usage_error_is_json_when_json_was_asked_for(dspex: Run, runtime: Any) -> None:
    outcome = dspex("pss", "-o", "json")
    assert outcome.code == 2
    assert outcome.json["error"]["code"] == "usage"
    assert outcome.err == ""


ERRORS = [
    (ConfigError("bad", problems=["f.yaml:3:5: no"]), 2, "config"),
    (RuntimeUnreachableError("gone"), 4, "unreachable"),
    (CallTimeoutError("late", id="qa"), 8, "timeout"),
    (NoProcessError("none", id="qa"), 3, "noproc"),
    (ProcessDownError(id="qa", incarnation=3, reason="killed"), 1, "process_down"),
    (BusyError("busy", id="qa"), 1, "busy"),
    (SupervisorError("already_present", "there", id="qa", hint="delete it"), 1, "already_present"),
    (StartError("no", id="qa", remote_traceback="Traceback\nImportError: x"), 1, "start_failed"),
    (RuntimeError("ours"), 1, "internal"),
]


def test_a_dependency_that_is_down_names_the_command_that_starts_it(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = DependencyDownError(id="qa", dependency="sup/rater", reason="killed")
    assert "\n  hint: `dspex start sup/rater` starts it" in dspex("call", "qa").err


@pytest.mark.parametrize(("error", "code", "word"), ERRORS, ids=[word for _, _, word in ERRORS])
def test_each_error_has_its_exit_code_and_its_word(dspex: Run, runtime: Any, error: Exception, code: int, word: str) -> None:
    runtime.results["qa"] = error
    outcome = dspex("call", "qa", "-o", "json")
    assert (outcome.code, outcome.err) == (code, "")
    assert outcome.json["error"]["code"] == word
    assert {"code", "message", "id", "hint"} <= set(outcome.json["error"])
    text = dspex("call", "qa")
    assert (text.code, text.out) == (code, "")
    assert text.err.startswith("error: ")


def test_a_start_error_shows_the_childs_own_traceback(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = ERRORS[7][0]
    assert "ImportError: x" in dspex("call", "qa").err


def test_a_modules_own_exception_is_told_as_its_own(dspex: Run, runtime: Any) -> None:
    error = ZeroDivisionError("division by zero")
    error.__cause__ = RemoteError(
        "division by zero", type_name="ZeroDivisionError", remote_traceback="Traceback: line 3", id="qa", incarnation=4
    )
    runtime.results["qa"] = error
    text = dspex("call", "qa").err
    assert "ZeroDivisionError: division by zero" in text
    assert "'qa', incarnation 4" in text
    assert "line 3" not in text
    assert "line 3" in dspex("-v", "call", "qa").err
    assert dspex("call", "qa", "-o", "json").json["error"]["remote_traceback"] == "Traceback: line 3"


def test_all_problems_of_a_config_are_listed(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = ConfigError("2 problems", problems=["f:1:1: a", "f:2:1: b"])
    assert dspex("call", "qa").err == "error: 2 problems\n  f:1:1: a\n  f:2:1: b\n"


def test_ctrl_c_is_130_without_a_traceback(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = KeyboardInterrupt()
    outcome = dspex("call", "qa")
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert runtime.closed


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from dspex_cli.main import main; raise SystemExit(main(['schema']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_printed() -> None:
    done = _python("from dspex_cli.main import main; raise SystemExit(main(['--version']))")
    assert (done.returncode, done.stdout.split()[0]) == (0, "dspex,")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(dspex: Run, shell: str) -> None:
    outcome = dspex("completion", shell)
    assert outcome.code == 0
    assert "_DSPEX_COMPLETE" in outcome.out


def test_completion_offers_commands() -> None:
    env = {**os.environ, "_DSPEX_COMPLETE": "bash_complete", "COMP_WORDS": "dspex st", "COMP_CWORD": "1"}
    done = _python("from dspex_cli.main import main; raise SystemExit(main([]))", env=env)
    assert {"plain,status", "plain,start", "plain,stop"} <= set(done.stdout.split())


def test_help_without_arguments_lists_every_command(dspex: Run) -> None:
    outcome = dspex("--help")
    assert all(f"\n  {name} " in outcome.out for name in TABLE)
    assert json.dumps("130 interrupted")[1:-1] in outcome.out


def test_no_command_at_all_gets_the_help_and_is_2(dspex: Run) -> None:
    outcome = dspex()
    assert outcome.code == 2
    assert outcome.err == dspex("--help").out


def test_a_folder_of_runtimes_that_cannot_be_used_is_said(dspex: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSPEX_SOCKET", raising=False)
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    outcome = dspex("ps")
    assert outcome.code == 2
    assert "may be written by others" in outcome.err
