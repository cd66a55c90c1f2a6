"""Programs in processes of their own: what they are given, and what is left when one cannot be started."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.osproc.spawning import ROOT, spawn

pytestmark = pytest.mark.process

PROGRAM = """
import json, os, signal, sys

def kind(fd):
    return os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]

facts = {
    "argv": sys.argv[1:],
    "open": {fd: kind(fd) for fd in range(3, 100) if os.path.exists(f"/proc/self/fd/{fd}")},
    "stdin": kind(0),
    "word": os.environ.get("WORD"),
    "ignored": [signo.name for signo in signal.Signals if signal.getsignal(signo) is signal.SIG_IGN],
    "session": os.getsid(0) == os.getpid(),
    "site": "site" in sys.modules,
}
print(json.dumps(facts), flush=True)
"""


@pytest.fixture
def says(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run the program; return what it says of itself."""
    (tmp_path / "says.py").write_text(PROGRAM)
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)

    def run(**options: Any) -> dict[str, Any]:
        with (tmp_path / "log").open("w+b") as log:
            env = {"PYTHONPATH": str(tmp_path), "WORD": "ours"}
            pid, sock = spawn("says", ["--first=1"], env, {"lifeline": read_fd}, log.fileno(), **options)
            with sock:
                assert sock.recv(1) == b"", "our end tells of its end"
            assert os.waitpid(pid, 0)[1] == 0
            log.seek(0)
            facts: dict[str, Any] = json.load(log)
            return facts

    yield run
    os.close(read_fd)
    os.close(write_fd)


def named(facts: dict[str, Any]) -> dict[str, str]:
    """Return the descriptors that its options name, by name, as it finds them."""
    options = [option.partition("=") for option in facts["argv"]]
    return {name: facts["open"][number] for name, _, number in options if name != "--first"}


def test_a_program_is_told_the_numbers_of_what_it_inherits_and_inherits_no_more(says: Callable[..., dict[str, Any]]) -> None:
    facts = says()
    assert facts["argv"][0] == "--first=1"
    assert named(facts) == {"--sock": "socket", "--lifeline": "pipe"}
    assert list(facts["open"].values()).count("socket") == 1


def test_it_has_a_session_an_environment_of_its_own_and_an_empty_stdin(says: Callable[..., dict[str, Any]]) -> None:
    facts = says()
    assert (facts["session"], facts["word"], facts["stdin"]) == (True, "ours", os.devnull)


def test_it_starts_from_the_default_signals(says: Callable[..., dict[str, Any]]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert "SIGINT" not in says()["ignored"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_interpreter_gets_its_flags(says: Callable[..., dict[str, Any]]) -> None:
    assert says()["site"]
    assert not says(flags=["-S"])["site"]


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_whatever_of_stdio_we_have_closed_it_gets_what_was_meant(closed: int, says: Callable[..., dict[str, Any]]) -> None:
    saved = os.dup(closed)
    os.close(closed)
    try:
        facts = says()
    finally:
        os.dup2(saved, closed)
        os.close(saved)
    assert (facts["stdin"], named(facts)) == (os.devnull, {"--sock": "socket", "--lifeline": "pipe"})


def test_one_that_cannot_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> int:
        raise OSError("no process to be had")

    monkeypatch.setattr(os, "posix_spawn", fails)
    with pytest.raises(OSError, match="no process to be had"):
        spawn("says", (), {}, {}, 2)


def test_a_descriptor_that_is_none_leaves_nothing_open() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        spawn("says", (), {}, {"lifeline": 1_000_000}, 2)


def test_the_root_is_where_this_package_is_found() -> None:
    assert (Path(ROOT) / "dspex_runtime" / "osproc" / "spawning.py").is_file()
