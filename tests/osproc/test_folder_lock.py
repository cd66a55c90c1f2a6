"""One folder, one runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dspex_runtime.errors import ConfigError
from dspex_runtime.osproc import folder_lock


def test_a_folder_that_is_taken_is_refused_with_its_holder_until_that_lets_go(tmp_path: Path) -> None:
    fd = folder_lock.take(tmp_path, "state_dir")
    with pytest.raises(ConfigError, match=rf"state_dir: {tmp_path} is in use by another runtime \(pid {os.getpid()}\)"):
        folder_lock.take(tmp_path, "state_dir")
    os.close(fd)
    os.close(folder_lock.take(tmp_path, "state_dir"))


def test_of_a_folder_that_is_not_there_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folder_lock.take(tmp_path / "nowhere", "state_dir")


@pytest.mark.process
def test_a_holder_that_is_killed_holds_nothing_and_neither_do_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; from pathlib import Path; from dspex_runtime.osproc import folder_lock;"
        f"folder_lock.take(Path({str(tmp_path)!r}), 'x');"
        "child = subprocess.Popen(['sleep', '60'], close_fds=False); print(child.pid, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    with pytest.raises(ConfigError):
        folder_lock.take(tmp_path, "x")
    holder.kill()
    holder.wait()
    os.close(folder_lock.take(tmp_path, "x"))
    os.kill(child, 9)
    holder.communicate()
