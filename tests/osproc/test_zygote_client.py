"""Starting a zygote: its session, environment and descriptors; a failed start leaves nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dspex_runtime.osproc import lifeline
from dspex_runtime.osproc.zygote_client import Zygote
from helpers.fake_runtime import FakeRuntime

pytestmark = pytest.mark.process


@pytest.fixture
def runtime() -> Iterator[FakeRuntime]:
    with FakeRuntime() as rt:
        yield rt


def test_a_zygote_has_a_session_of_its_own_and_only_the_descriptors_it_needs(runtime: FakeRuntime) -> None:
    extra_fd = os.memfd_create("left inheritable by somebody")
    os.set_inheritable(extra_fd, True)
    runtime.spawn()
    pid = runtime.zygote.pid
    targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    os.close(extra_fd)
    assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
    assert not [target for target in targets if "left inheritable" in target]
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull


def test_the_environment_is_ours_with_the_given_on_top(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "1")
    monkeypatch.setenv("BOTH", "here")
    runtime.spawn(env={"BOTH": "given", "GIVEN": "2"})
    answer = runtime.fork_one().ask("reply([os.environ[k] for k in ('FROM_HERE', 'BOTH', 'GIVEN')])")
    assert answer == ["1", "given", "2"]


def test_a_given_pythonpath_is_searched_first(runtime: FakeRuntime, tmp_path: Path) -> None:
    (tmp_path / "found_by_path.py").write_text("")
    assert runtime.spawn(["found_by_path"], env={"PYTHONPATH": str(tmp_path)})[0] == "ready"
    path, variable = runtime.fork_one().ask("import sys; reply([sys.path, os.environ['PYTHONPATH']])")
    assert (path[0], variable) == (str(tmp_path), str(tmp_path))


def test_what_zygote_and_modules_print_goes_to_the_log(runtime: FakeRuntime, tmp_path: Path) -> None:
    (tmp_path / "talking.py").write_text("print('said at import', flush=True)\n")
    log = tmp_path / "log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    runtime.zygote = Zygote.spawn(
        ["talking", "no_such_module"], {}, runtime.lifeline_fd, runtime.board.fd, "x:y", fd, [str(tmp_path), *sys.path]
    )
    os.close(fd)
    os.waitpid(runtime.zygote.pid, 0)
    runtime.zygote.sock.close()
    assert log.read_text() == "said at import\n"


def test_a_start_that_fails_leaves_no_descriptor(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        runtime.spawn()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Zygote.spawn([], {}, runtime.lifeline_fd, 12345, "x:y", 2)


def test_a_lifeline_already_cut_ends_the_zygote(runtime: FakeRuntime) -> None:
    read_fd, write_fd = lifeline.create()
    os.close(write_fd)
    zygote = Zygote.spawn([], {}, read_fd, runtime.board.fd, "x:y", 2)
    assert os.waitpid(zygote.pid, 0)[1] == 9
    zygote.sock.close()
    os.close(read_fd)
