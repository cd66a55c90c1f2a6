"""How a start succeeds and fails, as the parent sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.core.child_spec import Limits
from dspex_runtime.errors import StartError
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.faults import from_fault
from helpers.hosted_process import HostedProcess, pickled_args

pytestmark = pytest.mark.process


class Echo(dx.GenServer):
    def init(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(eval(request) if isinstance(request, str) else state, state)


class Ignored(dx.GenServer):
    def init(self) -> Any:
        return dx.Ignore()


class Exits(dx.GenServer):
    def init(self, code: Any) -> Any:
        raise SystemExit(code)


class Raises(dx.GenServer):
    def init(self) -> Any:
        raise LookupError("no index found")


class StopsItself(dx.GenServer):
    def init(self) -> Any:
        return dx.Stop(("shutdown", "not today"))

    def terminate(self, reason: Any, state: Any) -> None:
        print("must not run")


def failure(process: HostedProcess, found: Any, *args: Any, **options: Any) -> tuple[BaseException, Any]:
    """Return the exception of a start that failed and the fault it came as; the process has ended."""
    process.assign(found, *args, **options)
    kind, _, fault = process.recv()
    assert kind == m.FAULT
    assert process.wait() != 0
    return from_fault(fault), fault


def test_an_unused_spare_ends_with_its_control_pipe(fork: Any) -> None:
    process = fork(warmth=2)
    process.control.close()
    assert process.wait() == 0


def test_a_first_message_that_is_no_assignment_is_refused(fork: Any) -> None:
    process = fork()
    process.control.send([m.CONTROL, 0, "assign", {"id": "x"}])
    kind, _, fault = process.recv()
    assert kind == m.FAULT
    assert "incomplete" in fault["message"]
    assert process.wait() == 1


def test_arguments_reach_init(fork: Any) -> None:
    process = fork()
    process.start(Echo, 1, kwargs={"depth": 2})
    assert process.client().call("$call", None) == ((1,), {"depth": 2})


def test_pickled_arguments_reach_init(fork: Any) -> None:
    process = fork()
    process.start(Echo, pickled_args=pickled_args(1, {2}, path=Path("x")))
    assert process.client().call("$call", None) == ((1, {2}), {"path": Path("x")})


def test_the_environment_says_who_the_process_is(fork: Any) -> None:
    process = fork()
    process.start(Echo, env={"ANSWER": "42"}, limits=Limits(nice=3))
    client = process.client()
    names = "DSPEX_ID", "DSPEX_INCARNATION", "DSPEX_RUNTIME", "DSPEX_SOCKET", "ANSWER"
    assert client.call("$call", f"[__import__('os').environ[n] for n in {names}]") == ["sup/it", "3", "test", "/nowhere", "42"]
    assert client.call("$call", "__import__('os').getpriority(0, 0)") == 3


def test_forks_do_not_draw_the_same_random_numbers(fork: Any) -> None:
    drawn = []
    for _ in range(2):
        process = fork()
        process.start(Echo)
        drawn.append(process.client().call("$call", "__import__('random').random()"))
    assert drawn[0] != drawn[1]


def test_an_ignored_start_ends_normally(fork: Any) -> None:
    process = fork()
    assert process.start(Ignored) == {"ignore": True}
    assert process.wait() == 0


def test_an_init_that_raises_brings_its_own_traceback(fork: Any) -> None:
    process = fork()
    error, fault = failure(process, Raises)
    assert isinstance(error, LookupError)
    assert "no index found" in str(error)
    assert "in init" in fault["traceback"]
    assert "dspex_runtime/host" not in fault["traceback"]
    assert "no index found" in process.text()


def test_an_init_that_stops_gives_its_reason_and_is_not_terminated(fork: Any) -> None:
    process = fork()
    process.assign(StopsItself)
    error = from_fault(process.recv()[2])
    assert isinstance(error, StartError)
    assert error.reason == ("shutdown", "not today")
    assert error.id == "sup/it"
    assert process.bye() == ("shutdown", "not today")
    assert process.wait() == 1
    assert "must not run" not in process.text()


@pytest.mark.parametrize(("code", "status", "reason"), [(0, 1, "normal"), (5, 5, ("exit_status", 5))])
def test_an_exit_in_init_is_a_failed_start(fork: Any, code: int, status: int, reason: Any) -> None:
    process = fork()
    error, _ = failure(process, Exits, code)
    assert f"SystemExit({code})" in str(error)
    assert process.wait() == status
    assert process.bye() == reason


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_is_imported_after_the_fork_with_its_folder_first(fork: Any, tmp_path: Path) -> None:
    write(tmp_path, "sibling_of_it.py", "VALUE = 'from the sibling'")
    source = (
        "import sibling_of_it\nimport dspex_runtime.host.behaviours as dx\n"
        "class It(dx.GenServer):\n"
        "    def init(self): return sibling_of_it.VALUE\n"
        "    def handle_call(self, request, from_, state): return dx.Reply((state, __name__), state)\n"
    )
    path = write(tmp_path, "served_from_file.py", source)
    process = fork()
    assert process.start(f"{path}:It")["kind"] == "server"
    assert process.client().call("$call", None) == ("from the sibling", "served_from_file")


def test_a_file_with_the_name_of_another_module_gets_a_name_of_its_own(fork: Any, tmp_path: Path) -> None:
    source = (
        "import dspex_runtime.host.behaviours as dx\n"
        "class It(dx.GenServer):\n"
        "    def init(self): return __name__\n"
        "    def handle_call(self, request, from_, state): return dx.Reply(state, state)\n"
    )
    process = fork()
    process.start(f"{write(tmp_path, 'random.py', source)}:It")
    assert process.client().call("$call", None) == "dspex_file_random"


TARGETS = {
    "unknown module": ("no.such.module:Name", ModuleNotFoundError, "'no'"),
    "no colon": ("answering", StartError, "form"),
    "no file": ("/nowhere/it.py:Name", StartError, "no file"),
    "unknown name": ("collections:Nothing", StartError, "OrderedDict"),
    "not hostable": ("collections:OrderedDict", StartError, "OrderedDict is not hostable"),
    "a function": ("os:getcwd", StartError, "getcwd is not hostable: expected a dspy.Module or dx.GenServer subclass"),
}


@pytest.mark.parametrize(("target", "error", "words"), TARGETS.values(), ids=TARGETS.keys())
def test_a_target_that_is_no_module_says_why(fork: Any, target: str, error: type[BaseException], words: str) -> None:
    process = fork()
    raised, _ = failure(process, target)
    assert isinstance(raised, error)
    assert words in str(raised)


SOURCES = {
    "syntax error": ("class It(:\n", SyntaxError, "class It(:"),
    "import error": ("import json\nimport nothing_of_this_name\n", ModuleNotFoundError, "import nothing_of_this_name"),
    "exits": ("import sys\nsys.exit(4)\n", StartError, ""),
}


@pytest.mark.parametrize(("source", "error", "line"), SOURCES.values(), ids=SOURCES.keys())
def test_a_file_that_cannot_be_imported_shows_its_line(
    fork: Any, tmp_path: Path, source: str, error: type[BaseException], line: str
) -> None:
    path = write(tmp_path, "broken_file.py", source)
    process = fork()
    raised, fault = failure(process, f"{path}:It")
    assert isinstance(raised, error)
    assert line in fault["traceback"]
    assert "broken_file.py" in fault["traceback"] or error is StartError
    assert "targets.py" not in fault["traceback"] or error is SyntaxError


def test_a_pickled_class_without_a_module_is_hosted(fork: Any) -> None:
    class Local(dx.GenServer):
        def init(self) -> Any:
            return {"made": "here"}

        def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
            return dx.Reply(state, state)

    Local.__module__ = "__main__"  # as in a notebook: cloudpickle sends the class itself
    process = fork()
    process.start(Local, kind=Kind.SERVER)
    assert process.client().call("$call", None) == {"made": "here"}


def test_a_log_that_cannot_be_opened_is_reported_and_does_not_stop_the_start(fork: Any) -> None:
    process = fork()
    process.assign(Echo, log="/proc/nowhere/module.log")
    kind, _, event = process.recv()
    assert (kind, event["type"]) == (m.EVENT, "log_full")
    assert process.recv()[0] == m.READY
    assert process.client().call("$call", "print('lost')") is None


def test_what_is_printed_goes_to_the_log(fork: Any) -> None:
    process = fork()
    process.start(Echo)
    client = process.client()
    client.call("$call", "print('plain', 'text')")
    client.call("$call", "__import__('sys').stdout.buffer.write(b'bytes\\n')")
    client.call("$call", "__import__('os').write(1, b'from C\\n')")
    client.call("$call", "__import__('logging').getLogger('mine').warning('careful')")
    client.call("$call", "__import__('subprocess').run(['sh', '-c', 'echo grandchild'], check=True)")
    lines = process.text().splitlines()
    assert lines[:3] == ["plain text", "bytes", "from C"]
    assert lines[3].endswith("WARNING mine: careful")
    assert lines[4] == "grandchild"


def test_a_dspy_module_under_server_is_refused(fork: Any) -> None:
    error, _ = failure(fork(), "dspy:Predict", "question -> answer", kind=Kind.SERVER)
    assert isinstance(error, StartError)
    assert "goes under `module`" in str(error)
