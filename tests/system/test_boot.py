"""Runtimes that cannot come up, or come up on poor ground: a clear error, and nothing left over."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import dspex_runtime as dx
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.messages import CONTROL, HELLO, REFUSED
from helpers.system import Start, server
from helpers.waiting import wait_gone

pytestmark = pytest.mark.process


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path for modules to preload."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def config(name: str = "t", **runtime: object) -> dict[str, object]:
    return {"version": 1, "name": name, "runtime": {"spares": 1, **runtime}, "tree": {"children": [server("x", "Counter")]}}


def test_a_name_that_runs_is_taken_and_says_by_whom(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    with pytest.raises(dx.ConfigError, match=str(rt.pid)):
        dx.Runtime(config("t0"))
    assert rt.server("x").call(1) == 1


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    rt = dx.Runtime(config(), detach=True)
    rt.close()  # so that no owner is there to sweep when it sees the death
    os.kill(rt.pid, signal.SIGKILL)
    assert wait_gone([rt.pid]) == []
    assert list((tmp_path / "run").glob("t.sock")) != []
    with dx.Runtime(config()) as rt:
        assert rt.server("x").call(1) == 1
    assert list((tmp_path / "run").glob("t.sock")) == []


def test_a_socket_path_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(dx.ConfigError, match="107"):
        dx.Runtime(config())


def test_a_state_dir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(dx.ConfigError, match="state_dir"):
        dx.Runtime(config(), state_dir=str(tmp_path / "file" / "state"))


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import nowhere_at_all", "nowhere_at_all"),
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True, name='culprit').start()", "culprit"),
        ("import sys\nsys.exit(3)", "preload"),
    ],
    ids=["import error", "leaves a thread", "exits"],
)
def test_a_preload_that_is_no_good_is_a_failed_start_that_names_it(modules: Path, source: str, error: str) -> None:
    (modules / "preloaded.py").write_text(source)
    with pytest.raises(dx.StartError, match=error):
        dx.Runtime(config(preload=["preloaded"]))


def test_connecting_to_nothing_is_unreachable() -> None:
    with pytest.raises(dx.RuntimeUnreachableError):
        dx.connect("nobody")


def test_a_client_of_another_protocol_version_is_told_both_ranges(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(rt.socket)
        with Channel(sock, Codec()) as channel:
            channel.send([HELLO, 0, {"protocol": [7, 9], "role": "client"}])
            kind, _, facts = channel.recv()
            assert kind == REFUSED
            assert "[7, 9]" in facts["message"]
            with pytest.raises(EOFError):
                channel.recv()


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\x00\x00\x00\x01"], ids=["http", "huge", "short"])
def test_bytes_that_are_no_messages_cost_that_client_its_connection(runtime: Start, first: bytes) -> None:
    rt = runtime(server("x", "Counter"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(rt.socket)
        sock.sendall(first)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""
    assert rt.server("x").call(1) == 1


def test_a_client_must_say_hello_first(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(rt.socket)
        with Channel(sock, Codec()) as channel:
            channel.send([CONTROL, 1, "shutdown", {}])
            with pytest.raises((EOFError, ConnectionError)):
                channel.recv()
    assert rt.server("x").call(1) == 1


STARTER = """
import sys
import dspex_runtime as dx
try:
    dx.Runtime({"version": 1, "name": "slow", "tree": {"children": [{"id": "x", "server": sys.argv[1] + ":NeverStarts"}]}})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_during_a_start_leaves_nothing(tmp_path: Path) -> None:
    from helpers.system import PROGRAMS
    from helpers.waiting import wait_until

    with subprocess.Popen([sys.executable, "-c", STARTER, str(PROGRAMS)], stdout=subprocess.PIPE, text=True) as starter:
        sock = tmp_path / "run" / "slow.sock"
        wait_until(sock.exists)
        family = [child.pid for child in psutil.Process(starter.pid).children(recursive=True)]
        assert family
        starter.send_signal(signal.SIGINT)
        assert starter.stdout is not None
        assert starter.stdout.read() == "interrupted\n"
    assert wait_gone(family) == []
    assert not sock.exists()


def test_running_out_of_files_is_an_error_for_that_client_and_not_the_end(runtime: Start) -> None:
    rt = runtime(server("x", "Counter"), runtime={"spares": 0})  # whose start would open and close others meanwhile
    soft, hard = resource.prlimit(rt.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{rt.pid}/fd"))
    resource.prlimit(rt.pid, resource.RLIMIT_NOFILE, (used + 1, hard))
    with pytest.raises(dx.DspexError, match="open files"):
        rt.server("x").call(1, timeout=5)
    resource.prlimit(rt.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert rt.server("x").call(1) == 1
