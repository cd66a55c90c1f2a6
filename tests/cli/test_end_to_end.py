"""`dspex` as a user runs it: real command lines, a real runtime, real signals."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = pytest.mark.process

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LIMIT_S = 60
COUNTER = """
import time
import dspex_runtime as dx

class Counter(dx.GenServer):
    def init(self, start=0):
        print("counting from", start, flush=True)
        return start
    def handle_call(self, request, from_, state):
        if request == "fail":
            raise ValueError("asked to fail")
        return dx.Reply(state, state + 1)

class Broken(dx.GenServer):
    def init(self):
        raise ValueError("cannot open the index")

class Slow(dx.GenServer):
    def init(self):
        print("slow init began", flush=True)
        time.sleep(60)
"""
TREE = """
version: 1
name: {name}
runtime: {{state_dir: {folder}/state, preload: []}}
tree:
  max_restarts: {max_restarts}
  children:
    - {{id: a, server: "counter.py:Counter", args: {{start: 5}}, backoff: none}}
    - id: group
      supervisor: {{strategy: rest_for_one, children: [{{id: b, server: "counter.py:Counter"}}]}}
{more}
"""


@dataclass(frozen=True)
class Shell:
    """Runs command lines in a folder, with a place of its own for sockets."""

    folder: Path
    environ: dict[str, str]

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dspex_cli.main", *arguments],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=LIMIT_S, check=False, **options,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json").stdout)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dspex_cli.main", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def tree(self, *, name: str = "e2e", max_restarts: int = 3, more: str = "") -> str:
        (self.folder / "tree.yaml").write_text(TREE.format(name=name, folder=self.folder, max_restarts=max_restarts, more=more))
        return "tree.yaml"


def _shell(folder: Path) -> Shell:
    (folder / "counter.py").write_text(COUNTER)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DSPEX_")}
    return Shell(folder, {**environ, "DSPEX_RUNTIME_DIR": str(folder / "run"), "PYTHONUNBUFFERED": "1"})


@contextmanager
def _up(shell: Shell) -> Iterator[Shell]:
    up = shell("up", shell.tree(), "-d")
    assert up.returncode == 0, up.stderr
    yield shell
    down = shell("down")
    assert down.returncode == 0, down.stderr


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return _shell(tmp_path)


@pytest.fixture
def running(shell: Shell) -> Iterator[Shell]:
    """Return a shell with a tree in the background."""
    with _up(shell) as running:
        yield running


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Return a shell with a tree in the background that is there for all tests which only look at it."""
    with _up(_shell(tmp_path_factory.mktemp("standing"))) as standing:
        yield standing


def _read_until(stream: IO[str] | None, text: str) -> str:
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came; got:\n{seen}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_look_at_a_running_tree(standing: Shell) -> None:
    assert [(child["id"], child["state"]) for child in standing.json("ps")] == [
        ("a", "READY"),
        ("group", "READY"),
        ("group/b", "READY"),
    ]
    assert standing.json("tree")["children"][1]["children"][0]["id"] == "group/b"
    assert standing("status").returncode == 0
    assert standing.json("info", "b")["id"] == "group/b", "a bare id is enough where it is unique"
    assert standing("logs", "a").stdout == "counting from 5\n"
    assert "READY" in standing("events").stdout
    by_name = standing.json("ps", "--runtime", "e2e")
    by_socket = standing.json("--socket", str(standing.folder / "run" / "e2e.sock"), "ps")
    assert [child["pid"] for child in by_name] == [child["pid"] for child in by_socket]


@pytest.mark.parametrize("arguments", [("ps",), ("tree",), ("call", "a", "next"), ("logs", "a")], ids=lambda words: words[0])
def test_a_command_that_talks_to_a_runtime_imports_nothing_heavy(standing: Shell, arguments: tuple[str, ...]) -> None:
    code = "import sys; from dspex_cli.main import main; main(sys.argv[1:]); print('LOADED', *sys.modules)"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=standing.environ, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    loaded = done.stdout.partition("LOADED")[2].split()
    assert "dspex_runtime.client.runtime" in loaded
    assert not {"dspy", "asyncio", "pydantic", "numpy", "yaml", "rich", "multiprocess", "cloudpickle", "psutil"} & set(loaded)


def test_call_a_server(running: Shell) -> None:
    assert running("call", "a", "next").stdout == "5\n"
    assert running.json("call", "a", "--json", '{"any": "request"}') == 6


def test_a_killed_child_comes_back(running: Shell) -> None:
    before = running.json("info", "a")
    assert running("kill", "a").returncode == 0
    assert running("call", "a", "next").stdout == "5\n", "the call waits for the next incarnation"
    after = running.json("info", "a")
    assert (after["incarnation"], after["restarts"], after["last_exit"]) == (2, 1, "killed")
    assert after["pid"] != before["pid"]


def test_stop_start_restart_and_remove(running: Shell) -> None:
    assert running("stop", "a").stdout == "stopped a\n"
    assert running("status", "a").returncode == 3
    assert running("call", "a", "next").returncode == 3
    assert running("wait", "a", "--timeout", "100ms").returncode in (3, 8)
    assert running("start", "a").returncode == 0
    assert running("restart", "a").returncode == 0
    assert running.json("info", "a")["restarts"] == 0, "a restart that was asked for is no crash"
    assert running("rm", "a").returncode == 0
    assert running("info", "a").returncode == 3


def test_swap_what_was_edited_and_go_back(running: Shell) -> None:
    before = running.json("info", "a")
    assert running("call", "a", "next").stdout == "5\n"
    (running.folder / "faster.py").write_text(COUNTER.replace("state + 1", "state + 10"))
    done = running.json("swap", "a", "--to", "faster.py:Counter", "--version", "2.0", "--verify-command", "true")
    assert (done["id"], done["version"], done["number"], done["incarnation"]) == ("a", "2.0", 2, before["incarnation"])
    assert [running("call", "a", "next").stdout for _ in range(2)] == ["6\n", "16\n"]
    assert running("swap", "a", "--verify-command", "false").returncode == 1
    assert running("swap", "a", "--status").returncode == 3
    refused = running("swap", "a", "--to", "faster.py:Nope")
    assert (refused.returncode, "faster.py has no 'Nope'" in refused.stderr) == (1, True)
    assert running("rollback", "a").stdout.startswith("a: 2.0 -> no version, number 3")
    assert [running("call", "a", "next").stdout for _ in range(2)] == ["26\n", "27\n"]
    told = [(each["number"], each["version"], each["why"], each["current"]) for each in running.json("versions", "a")]
    assert told == [(3, None, "rollback to 1", True), (2, "2.0", "swap", False), (1, None, "start", False)]
    assert running.json("info", "a")["restarts"] == before["restarts"]


def test_start_a_new_server_from_a_file(running: Shell) -> None:
    started = running("start", "counter.py:Counter", "--id", "extra", "start=40")
    assert started.returncode == 0, started.stderr
    assert running("call", "extra", "next").stdout == "40\n"


def test_a_start_that_fails_shows_the_childs_own_traceback(standing: Shell) -> None:
    started = standing("start", "counter.py:Broken")
    assert started.returncode == 1
    assert "cannot open the index" in started.stderr
    assert "in init" in started.stderr


def test_an_unknown_id_lists_what_there_is(standing: Shell) -> None:
    outcome = standing("info", "grup")
    assert outcome.returncode == 3
    assert "group" in outcome.stderr


def test_a_name_that_is_taken_is_refused(standing: Shell) -> None:
    second = standing("up", "tree.yaml", "-d")
    assert second.returncode == 2
    assert "already running" in second.stderr


def test_without_a_runtime_it_is_4(shell: Shell) -> None:
    assert shell("ps").returncode == 4
    assert shell("down", "--runtime", "nobody").returncode == 4


@pytest.mark.parametrize(("signo", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["Ctrl-C", "SIGTERM"])
def test_a_foreground_tree_is_stopped_in_order(shell: Shell, signo: int, code: int) -> None:
    with shell.popen("up", shell.tree()) as up:
        _read_until(up.stdout, "Ctrl-C stops it")
        pid = shell.json("status")["pid"]
        up.send_signal(signo)
        out, err = up.communicate(timeout=LIMIT_S)
    assert up.returncode == code, err
    stopped = [line.split()[1] for line in out.splitlines() if " STOPPED" in line]
    assert stopped == ["group/b", "group", "a"]
    assert out.endswith("stopped\n")
    assert not _alive(pid)


@pytest.mark.parametrize(("signo", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_while_it_starts_stops_what_was_started_in_order(shell: Shell, signo: int, code: int) -> None:
    tree = shell.tree(more='    - {id: slow, server: "counter.py:Slow", shutdown: brutal_kill}\n')
    with shell.popen("up", tree, "-v") as up:
        _read_until(up.stdout, "b  ready")
        up.send_signal(signo)
        _, err = up.communicate(timeout=LIMIT_S)
    assert up.returncode == code
    assert "what was started has been stopped" in err
    assert "Traceback" not in err
    assert shell("ps").returncode == 4


def test_a_second_ctrl_c_while_it_starts_kills_and_leaves_no_socket(shell: Shell) -> None:
    tree = shell.tree(more='    - {id: slow, server: "counter.py:Slow", shutdown: infinity}\n')
    with shell.popen("up", tree) as up:
        _read_until(up.stdout, "b  ready")
        up.send_signal(signal.SIGINT)
        _read_until(up.stderr, "Ctrl-C again kills")
        up.send_signal(signal.SIGINT)
        _, err = up.communicate(timeout=LIMIT_S)
    assert up.returncode == 130
    assert "has been killed" in err
    assert not list((shell.folder / "run").iterdir())


def test_followed_logs_end_with_the_runtime(shell: Shell) -> None:
    assert shell("up", shell.tree(), "-d").returncode == 0
    with shell.popen("logs", "-f", "a") as logs:
        _read_until(logs.stdout, "counting from")
        assert shell("down").returncode == 0
        assert logs.wait(timeout=LIMIT_S) == 0


def test_a_tree_that_does_not_boot_shows_why(shell: Shell) -> None:
    up = shell("up", shell.tree(more='    - {id: broken, server: "counter.py:Broken"}\n'))
    assert up.returncode == 1
    assert "'broken' did not start: ValueError: cannot open the index" in up.stderr
    assert "in init" in up.stderr
    assert shell("ps").returncode == 4


def test_a_root_that_gives_up_ends_the_foreground_with_1(shell: Shell) -> None:
    with shell.popen("up", shell.tree(max_restarts=0)) as up:
        _read_until(up.stdout, "Ctrl-C stops it")
        assert shell("kill", "a").returncode == 0
        _, err = up.communicate(timeout=LIMIT_S)
    assert up.returncode == 1
    assert "the root supervisor gave up" in err


def test_1_9_a_root_that_shuts_itself_down_ends_the_foreground_with_0(shell: Shell) -> None:
    (shell.folder / "once.yaml").write_text(
        "name: once\ntree: {auto_shutdown: any_significant, children: "
        "[{id: a, server: 'counter.py:Counter', restart: temporary, significant: true}]}\n"
    )
    with shell.popen("up", "once.yaml") as up:
        _read_until(up.stdout, "Ctrl-C stops it")
        assert shell("kill", "a").returncode == 0
        out, err = up.communicate(timeout=LIMIT_S)
    assert up.returncode == 0, err
    assert "the root supervisor has shut itself down" in out


def test_kill_9_of_the_runtime_ends_the_foreground_with_1(shell: Shell) -> None:
    with shell.popen("up", shell.tree()) as up:
        _read_until(up.stdout, "Ctrl-C stops it")
        os.kill(shell.json("status")["pid"], signal.SIGKILL)
        _, err = up.communicate(timeout=LIMIT_S)
    assert up.returncode == 1
    assert "the runtime process is gone" in err


def test_down_from_elsewhere_ends_the_foreground_with_0(shell: Shell) -> None:
    with shell.popen("up", shell.tree()) as up:
        _read_until(up.stdout, "Ctrl-C stops it")
        assert shell("down").returncode == 0
        up.communicate(timeout=LIMIT_S)
    assert up.returncode == 0


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dspex stop ", {"a", "group", "group/b"}),
        ("dspex info gr", {"group", "group/b"}),
        ("dspex call b", {"b"}),
        ("dspex stop a ", {"group", "group/b"}),
        ("dspex info --runtime nobody g", set()),
    ],
)
def test_completion_offers_the_ids_of_what_runs(standing: Shell, words: str, offered: set[str]) -> None:
    environ = {"_DSPEX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = dataclasses.replace(standing, environ=standing.environ | environ)()
    assert {line.removeprefix("plain,") for line in done.stdout.split()} == offered
    assert done.stderr == ""


def test_followed_events_are_printed_as_they_happen(running: Shell) -> None:
    with running.popen("events", "-f", "-o", "json") as events:
        _read_until(events.stdout, '"snapshot"')
        running("kill", "a")
        assert "child_terminated" in _read_until(events.stdout, "child_terminated")
        events.send_signal(signal.SIGINT)
        _, err = events.communicate(timeout=LIMIT_S)
    assert (events.returncode, err.strip()) == (130, "")


def test_doctor_finds_this_machine_fit(shell: Shell) -> None:
    found = shell.json("doctor")
    assert {"value", "needed", "ok", "advice"} <= set(found["processes"])


@pytest.mark.slow
def test_the_demo_holds_what_it_promises(shell: Shell) -> None:
    pytest.importorskip("bm25s")
    done = shell("demo", "-o", "json", "--config", str(CONFIGS / "quickstart.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kill"]["error"] == "ProcessDownError"
    assert "retriever is down" in found["degraded"]["degraded"]
    assert found["degraded"]["citations"] == ["itertools.groupby"]
    assert (found["swap"]["failed"], found["swap"]["refused"], found["swap"]["rolled_back_to"]) == (0, "verify", ["1", "1"])
    assert found["stopped"] == ["counter", "qa", "retriever"]
    assert found["processes_left"] == 0
