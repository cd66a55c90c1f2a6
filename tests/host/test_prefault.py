"""A spare's rehearsal leaves nothing behind, and ends as soon as the assignment is there."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.errors import ProtocolError
from dspex_runtime.host import context, prefault, sources
from dspex_runtime.host.prefault import perform, warm_up
from dspex_runtime.osproc import user_code
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec


@pytest.fixture
def control() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The control pipe of a spare: the parent's end and ours."""
    parent, ours = socket.socketpair()
    with parent, ours:
        yield parent, ours


def everything() -> dict[str, Any]:
    """Return what a rehearsal could leave behind in this process."""
    return {
        "modules": set(sys.modules),
        "path": list(sys.path),
        "descriptors": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) != _listing()},
        "threads": threading.enumerate(),
        "environment": dict(os.environ),
        "process": (context.Process.assignment, context.Process.loop, context.Process.server),
    }


def _listing() -> int:
    """Return the number that the next descriptor gets, the one of the listing itself."""
    fd = os.open("/", os.O_RDONLY)
    os.close(fd)
    return fd


def test_it_leaves_no_module_path_descriptor_or_thread_behind(control: tuple[socket.socket, socket.socket]) -> None:
    before = everything()
    warm_up(control[1].fileno(), Codec(pickle=True), Warmth.SERVER)
    assert everything() == before


def steps_done(monkeypatch: pytest.MonkeyPatch, control: tuple[socket.socket, socket.socket], warmth: Warmth) -> list[str]:
    """Return the steps of a rehearsal whose second one finds the assignment there."""
    parent, ours = control
    done: list[str] = []
    monkeypatch.setattr(prefault, "_assignment", lambda codec: (done.append("assignment"), parent.send(b"it"))[0])
    monkeypatch.setattr(prefault, "_server", lambda codec, threads: done.append("server"))
    warm_up(ours.fileno(), Codec(), warmth)
    return done


def test_it_stops_between_two_steps_when_the_assignment_is_there(
    monkeypatch: pytest.MonkeyPatch, control: tuple[socket.socket, socket.socket]
) -> None:
    assert steps_done(monkeypatch, control, Warmth.SERVER) == ["assignment"]
    assert steps_done(monkeypatch, control, Warmth.SERVER) == []


def test_it_leaves_the_assignment_unread(monkeypatch: pytest.MonkeyPatch, control: tuple[socket.socket, socket.socket]) -> None:
    steps_done(monkeypatch, control, Warmth.SERVER)
    assert control[1].recv(9, socket.MSG_DONTWAIT) == b"it"


def test_a_cold_fork_rehearses_nothing(monkeypatch: pytest.MonkeyPatch, control: tuple[socket.socket, socket.socket]) -> None:
    assert steps_done(monkeypatch, control, Warmth.COLD) == []


def test_a_module_is_rehearsed_only_where_dspy_is_loaded(
    monkeypatch: pytest.MonkeyPatch, control: tuple[socket.socket, socket.socket]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(prefault, "_assignment", lambda codec: done.append("assignment"))
    monkeypatch.setattr(prefault, "_server", lambda codec, threads: done.append("server"))
    monkeypatch.delitem(sys.modules, "dspy", raising=False)
    warm_up(control[1].fileno(), Codec(), Warmth.MODULE)
    assert done == ["assignment", "server"]
    assert "dspy" not in sys.modules


@pytest.fixture
def understudy(monkeypatch: pytest.MonkeyPatch) -> Iterator[LaunchSpec]:
    """The server of the rehearsal, found by its file as a user's is, and forgotten."""
    name = "understudy"
    yield LaunchSpec(Kind.SERVER, target=f"{prefault.UNDERSTUDY}:Understudy", limits=prefault.ONE_CALL)
    monkeypatch.delitem(sys.modules, name, raising=False)
    sources.forget(name)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != os.path.dirname(prefault.UNDERSTUDY)])


@pytest.mark.parametrize("threads", [False, True])
def test_the_understudy_is_started_and_called_like_any_server(understudy: LaunchSpec, threads: bool) -> None:
    codec = Codec(pickle=True)
    hosted = perform(understudy, codec, m.plain_call("$call", ["x"], {}), threads=threads)
    assert hosted.get_state() == 1
    assert [declared.name for declared in hosted.parameters()] == ["word"]


@pytest.mark.parametrize("threads", [False, True])
def test_a_call_that_is_not_taken_fails_the_rehearsal(understudy: LaunchSpec, threads: bool) -> None:
    before = everything()["descriptors"], threading.active_count()
    with pytest.raises(ProtocolError, match="the call of the rehearsal was refused"):
        perform(understudy, Codec(pickle=True), m.plain_call("$call", ["x"], {})[:-1], threads=threads)
    assert (everything()["descriptors"], threading.active_count()) == before


@pytest.mark.parametrize("threads", [False, True])
def test_where_users_files_are_imported_as_such_so_is_it(monkeypatch: pytest.MonkeyPatch, threads: bool) -> None:
    for name in ("path", "path_hooks", "meta_path"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setattr(sys, "path_importer_cache", {})
    user_code.install()
    prefault._server(Codec(pickle=True), threads=threads)  # the folders of the path are looked into once
    before = everything(), set(sys.path_importer_cache), dict(user_code.loaded), list(user_code.finders)
    prefault._server(Codec(pickle=True), threads=threads)
    assert (everything(), set(sys.path_importer_cache), dict(user_code.loaded), list(user_code.finders)) == before


@pytest.mark.process
def test_a_spare_ends_with_its_parent_in_the_midst_of_a_rehearsal(fork: Any) -> None:
    process = fork(warmth=Warmth.MODULE)
    process.control.close()
    assert process.wait() == 0


@pytest.mark.process
@pytest.mark.parametrize("warmth", list(Warmth))
def test_a_spare_of_any_warmth_is_a_clean_slate(fork: Any, warmth: Warmth) -> None:
    import dspex_runtime.host.behaviours as dx

    class Looks(dx.GenServer):
        def init(self) -> Any:
            return sorted(name for name in sys.modules if "understudy" in name), threading.active_count(), dx.self_id()

        def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
            return dx.Reply(state, state)

    Looks.__module__ = "__main__"  # sent whole
    process = fork(warmth=warmth)
    process.start(Looks)
    modules, threads, id = process.client().call("$call", None)
    known = sorted(name for name in sys.modules if "understudy" in name)
    assert (modules, threads, id) == (known, 1, "sup/it")
