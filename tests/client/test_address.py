"""Where a runtime is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.client.address import find, open_session
from dspex_runtime.errors import ConfigError, RuntimeUnreachableError


def test_a_name_a_path_and_the_runtime_one_is_in(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("qa") == str(short_dir / "qa.sock")
    assert find("/somewhere/else.sock") == "/somewhere/else.sock"
    monkeypatch.chdir(short_dir)
    assert find("./x.sock") == str(short_dir / "x.sock")
    monkeypatch.setenv("DSPEX_SOCKET", "/inside.sock")
    assert find(None) == "/inside.sock"


def test_without_a_name_something_must_run(short_dir: Path) -> None:
    with pytest.raises(RuntimeUnreachableError, match="no runtime is running"):
        find(None)


def test_a_path_that_no_socket_can_have_is_a_config_error(short_dir: Path) -> None:
    with pytest.raises(ConfigError):
        find("x" * 200)


def test_a_socket_that_nobody_listens_at_is_unreachable(short_dir: Path) -> None:
    import socket

    path = str(short_dir / "stale.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    for where in (path, str(short_dir / "absent.sock")):
        with pytest.raises(RuntimeUnreachableError, match="no runtime answers"):
            open_session(where)


def test_one_that_does_not_answer_is_unreachable(runtime: Any, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dspex_runtime.client.address.HELLO_TIMEOUT_S", 0.05)
    path = str(short_dir / "mute.sock")
    runtime.greeting = [16, 1, "nobody", 1, "noproc"]  # a legal message that is no hello
    listener = runtime.listen(path)
    with pytest.raises(RuntimeUnreachableError, match="does not answer"):
        open_session(path)
    listener.shutdown(2)
    listener.close()
