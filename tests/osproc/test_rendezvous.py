"""Names of runtimes: one holder each, a dead one's leftovers cleared, everything unusable a ConfigError that says why."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dspex_runtime.errors import ConfigError
from dspex_runtime.osproc import rendezvous
from dspex_runtime.osproc.rendezvous import claim, list_running, listen, runtime_dir, socket_path, sweep


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(folder))
    return folder


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_the_folder_is_made_for_the_user_alone(folder: Path) -> None:
    assert runtime_dir() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("own", "user", "expected"),
    [("{tmp}/own", "{tmp}/xdg", "{tmp}/own"), (None, "{tmp}/xdg", "{tmp}/xdg/dspex"), ("", "{tmp}/xdg", "{tmp}/xdg/dspex")],
)
def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, user: str, expected: str) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", user.format(tmp=tmp_path))
    if own is None:
        monkeypatch.delenv("DSPEX_RUNTIME_DIR")
    else:
        monkeypatch.setenv("DSPEX_RUNTIME_DIR", own.format(tmp=tmp_path))
    assert str(runtime_dir()) == expected.format(tmp=tmp_path)


def test_a_claimed_name_is_listed_and_its_socket_answers_this_user_only() -> None:
    held = claim("qa")
    with listen(held) as server, socket.socket(socket.AF_UNIX) as client:
        assert list_running() == [("qa", held.path)]
        assert stat.S_IMODE(os.stat(held.path).st_mode) == 0o600
        client.connect(held.path)
        server.accept()[0].close()
    held.release()
    assert list_running() == []
    assert not os.path.exists(held.path)


def test_a_taken_name_is_refused_with_the_holders_pid() -> None:
    held = claim("qa")
    before = open_fds()
    with pytest.raises(ConfigError, match=rf"'qa' is already running \(pid {os.getpid()}, "):
        claim("qa")
    assert open_fds() == before
    claim("other").release()
    held.release()


def test_a_released_name_is_free_and_releasing_twice_is_fine() -> None:
    held = claim("qa")
    held.release()
    held.release()
    again = claim("qa")
    again.release()


def test_a_released_name_leaves_no_file(folder: Path) -> None:
    held = claim("qa")
    listen(held).close()
    held.release()
    assert os.listdir(folder) == []


def test_a_lock_file_that_its_holder_removed_meanwhile_is_no_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claim("qa")
    control = fcntl.fcntl

    def late(fd: int, command: int, argument: bytes) -> bytes:
        if first.lock_fd >= 0:
            first.release()  # the file that was opened a moment ago is unlinked now
        return control(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", late)
    second = claim("qa")
    monkeypatch.undo()
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(folder))
    assert os.path.samestat(os.fstat(second.lock_fd), os.stat(folder / "qa.lock"))
    with pytest.raises(ConfigError, match="already running"):
        claim("qa")
    second.release()


def test_looking_at_what_runs_takes_no_lock(folder: Path) -> None:
    held = claim("qa")
    listen(held).close()
    seen: list[object] = []
    probe = threading.Thread(target=lambda: seen.extend(list_running() for _ in range(2000)))
    probe.start()
    held.release()
    while probe.is_alive():
        claim("qa").release()  # would be refused in a moment in which a listing held the lock
    probe.join()
    assert len(seen) == 2000


def test_sweeping_removes_what_a_dead_runtime_left_and_spares_a_living_one(folder: Path) -> None:
    held = claim("qa")
    listen(held).close()
    sweep("qa")
    assert sorted(os.listdir(folder)) == ["qa.lock", "qa.sock"]
    os.close(held.lock_fd)  # as the kernel does when it is killed
    sweep("qa")
    assert os.listdir(folder) == []


def killed(name: str, left: Path | None = None) -> None:
    """Leave what a runtime leaves that was killed: the kernel drops the lock, the files stay."""
    held = claim(name)
    listen(held).close()
    if left is not None:
        left.mkdir()
        held.takes_along(left)
    _, _, note = os.pread(held.lock_fd, 4096, 0).partition(b"\n")
    os.ftruncate(held.lock_fd, 0)
    os.pwrite(held.lock_fd, b"4194305\n" + note, 0)  # above the largest pid: nobody's
    os.close(held.lock_fd)


@pytest.mark.parametrize("next", ["qa", "another"])
def test_the_next_start_of_any_runtime_clears_away_what_a_killed_one_left(folder: Path, tmp_path: Path, next: str) -> None:
    lives = claim("lives")
    lives.takes_along(tmp_path / "dspex-lives-x")
    (tmp_path / "dspex-lives-x").mkdir()
    killed("qa", tmp_path / "dspex-qa-x")
    held = claim(next)
    assert sorted(os.listdir(folder)) == sorted(["lives.lock", f"{next}.lock"])
    assert [path.name for path in tmp_path.glob("dspex-*")] == ["dspex-lives-x"]
    held.release()
    lives.release()


def test_a_folder_that_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    killed("qa", tmp_path / "precious")
    claim("other").release()
    assert (tmp_path / "precious").is_dir()


def test_a_start_waits_for_whoever_clears_its_dead_predecessor_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed("qa")
    sweeper = os.open(folder / "qa.lock", os.O_RDWR)
    fcntl.fcntl(sweeper, fcntl.F_OFD_SETLK, rendezvous._flock(fcntl.F_WRLCK))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(sweeper)

    monkeypatch.setattr(rendezvous.time, "sleep", pause)
    claim("qa").release()
    assert len(pauses) == 3


def test_a_lock_that_nobody_gives_up_is_refused_in_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed("qa")
    other = os.open(folder / "qa.lock", os.O_RDWR)
    fcntl.fcntl(other, fcntl.F_OFD_SETLK, rendezvous._flock(fcntl.F_WRLCK))
    monkeypatch.setattr(rendezvous.time, "sleep", lambda _: None)
    before = open_fds()
    with pytest.raises(ConfigError, match="already running"):
        claim("qa")
    assert open_fds() == before
    os.close(other)


@pytest.mark.process
def test_the_name_and_socket_of_a_killed_runtime_are_free() -> None:
    source = """
import os, signal
from dspex_runtime.osproc.rendezvous import claim, listen
held = claim("qa"); sock = listen(held); print("listening", flush=True); signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        with pytest.raises(ConfigError, match=f"pid {process.pid}"):
            claim("qa")
        process.send_signal(signal.SIGKILL)
    assert os.path.exists(socket_path("qa"))
    assert list_running() == []
    held = claim("qa")
    listen(held).close()
    held.release()


@pytest.mark.process
def test_a_program_started_by_the_runtime_does_not_hold_its_name() -> None:
    held = claim("qa")
    with subprocess.Popen(["sleep", "1000"], close_fds=False) as process:
        held.release()
        claim("qa").release()
        process.kill()


def test_a_path_longer_than_a_socket_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("x" * (90 - len(os.fsencode(tmp_path))))
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(folder))
    longest = "n" * (107 - len(os.fsencode(folder)) - len("/.sock"))
    held = claim(longest)
    listen(held).close()
    held.release()
    with pytest.raises(ConfigError, match="108 bytes long, a Unix socket takes 107") as caught:
        claim(longest + "n")
    assert "DSPEX_RUNTIME_DIR" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "ä", "n" * 65, "a\n"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="runtime name"):
        socket_path(name)


def test_a_folder_that_is_a_file_is_refused(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        runtime_dir()


def test_a_folder_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", "/proc/nothing-can-be-made-here")
    with pytest.raises(ConfigError, match="cannot be made"):
        claim("qa")
    assert list_running() == []


def test_a_folder_that_others_may_write_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"may be written by others \(mode 777\)"):
        claim("qa")


def test_a_folder_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to uid"):
        claim("qa")


def test_a_lock_that_is_a_link_elsewhere_is_refused(folder: Path) -> None:
    runtime_dir()
    (folder / "target").write_text("precious")
    (folder / "qa.lock").symlink_to(folder / "target")
    before = open_fds()
    with pytest.raises(ConfigError, match=r"qa\.lock"):
        claim("qa")
    assert open_fds() == before
    assert (folder / "target").read_text() == "precious"


def test_a_socket_that_cannot_be_made_leaves_no_descriptor(folder: Path) -> None:
    held = claim("qa")
    Path(held.path).mkdir()
    before = open_fds()
    with pytest.raises(ConfigError, match="cannot listen"):
        listen(held)
    assert open_fds() == before
    Path(held.path).rmdir()
    held.release()


def test_something_else_in_the_sockets_place_is_refused(folder: Path) -> None:
    (runtime_dir() / "qa.sock").mkdir()
    before = open_fds()
    with pytest.raises(ConfigError, match="qa"):
        claim("qa")
    assert open_fds() == before
