"""What is taken of a process that is replaced, and how it is read; what cannot be sent says so."""

from __future__ import annotations

import os
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import ParameterError, SwapError
from dspex_runtime.host.moving.state import STATE, Way, copy_of, differ, pack_state, read_state
from dspex_runtime.host.moving.stream import END, Frame, Incoming, Outgoing
from dspex_runtime.params import image as images
from dspex_runtime.params.image import Image
from dspex_runtime.params.parameter import Parameter
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class Server(dx.GenServer):
    __version__ = "1"
    n = Parameter(int, 0)
    items = Parameter(list, [])
    quick = Parameter(int, 0, durability="memory")
    big = Parameter("any", None)

    def init(self, state: Any = None) -> Any:
        return state


class Keeping(Server):
    def get_state(self, state: Any) -> Any:
        return ["kept", state["n"]]

    def set_state(self, saved: Any, state: Any) -> Any:
        return saved


class Itself(Server):
    def set_state(self, saved: Any, state: Any) -> Any:
        return saved


LOCK = threading.Lock()
TAKEN = [
    ("the state as it is", Server, {"n": 1}, None, {"n": 1}),
    ("what is kept, and the state too", Keeping, {"n": 1}, ["kept", 1], {"n": 1}),
    ("what is kept, where only that can be sent", Keeping, {"n": 1, "lock": LOCK}, ["kept", 1], b""),
    ("once, where that is the same", Itself, {"n": 1}, {"n": 1}, None),
]


@pytest.mark.parametrize(("_", "found", "state", "user", "server"), TAKEN, ids=[name for name, *_ in TAKEN])
def test_an_image_has_a_servers_state(version: Any, _: str, found: Any, state: Any, user: Any, server: Any) -> None:
    image = version(found, state).image()
    unpacked = [CODEC.unpack(each)[0] if each else each for each in (image.user, image.server)]
    assert unpacked == [user, server]
    assert image.down is None


def test_a_state_that_cannot_be_sent_says_what_and_how_it_could(version: Any) -> None:
    with pytest.raises(SwapError) as caught:
        version(Server, {"inner": [LOCK]}).image()
    assert str(caught.value) == (
        "the state of 'sup/it' cannot be moved to the new process: "
        "cannot send state['inner'][0], a _thread.lock: TypeError: cannot pickle '_thread.lock' object"
    )
    assert caught.value.code == "move"
    assert "get_state(state) and set_state(saved, state)" in str(caught.value.hint)


class Wrong(Keeping):
    def get_state(self, state: Any) -> Any:
        return LOCK if state is None else 1 / 0


def test_a_get_state_that_fails_says_which(version: Any) -> None:
    with pytest.raises(SwapError, match="what get_state of 'sup/it' returned cannot be moved") as caught:
        version(Wrong).image()
    assert caught.value.hint == "return plain data from get_state"
    with pytest.raises(SwapError, match="get_state of 'sup/it' failed: ZeroDivisionError") as caught:
        version(Wrong, 1).image()
    assert (caught.value.code, "in get_state" in str(caught.value.remote_traceback)) == ("move", True)


def test_an_image_has_the_configuration_that_was_taken_over(version: Any) -> None:
    kept = copy_of(version(Server, params={"n": 4}).image())
    assert kept.configured.keys() == {"n"}
    assert kept.stored.keys() == {"n", "items", "quick", "big"}
    assert "configured" not in kept.facts


class Process:
    """An old process, as far as packing needs one; and what comes of it."""

    def __init__(self, old: Any) -> None:
        self.old = old
        totals = SimpleNamespace(metrics=SimpleNamespace(totals=lambda: {"calls": 7}))
        self.loop: Any = SimpleNamespace(lock=threading.Lock(), tally=totals)

    def moved(self) -> Any:
        ours, theirs = socket.socketpair()
        found: list[Any] = []
        reader = threading.Thread(target=lambda: self._read(theirs, found))
        reader.start()
        with Outgoing(ours, CODEC) as stream:
            try:
                pack_state(self.old.hosted, self.old.parameters, self.loop, stream, Way())
                stream.end()
            finally:
                stream.close()
                reader.join(20.0)
        return found[0]

    def _read(self, sock: Any, found: list[Any]) -> None:
        with Incoming(sock, CODEC) as stream:
            try:
                while (frame := stream.recv()).kind != END:
                    assert frame.kind == STATE
                    found.append(read_state(frame))
            except SwapError:
                pass  # it was given up


def close(moved: Any) -> None:
    moved.kept.table.close()
    for fd in (*moved.kept.blobs.values(), *([] if moved.kept.volatile_fd is None else [moved.kept.volatile_fd])):
        os.close(fd)


def test_what_a_call_has_changed_unsaid_moves_with_everything_else(version: Any, tmp_path: Any) -> None:
    old = version(Server, {"n": 1}, journal=str(tmp_path))
    old.owner.set("n", 3, who="me")
    old.owner.set("quick", 4, who="me")
    old.owner.set("big", bytes(100_000), who="me")
    old.hosted.server.items.append("in place")
    old.parameters.changes.watch(["n*"])
    moved = Process(old).moved()
    try:
        assert CODEC.unpack(moved.image.server) == [{"n": 1}]
        assert moved.image.parameters["n"][0] == 2
        assert moved.image.parameters["items"][0] == 2
        assert (moved.image.kind, moved.image.metrics) == ("swap", {"calls": 7})
        assert moved.kept.table.names() == ["big", "items", "n", "quick"]
        assert list(moved.kept.blobs) == [("big", 2)]
        assert moved.kept.volatile_fd is not None
        assert moved.position == old.parameters.journal.position
        assert moved.watched["patterns"] == ["n*"]
    finally:
        close(moved)


def test_who_was_packed_cannot_write_until_the_seal_is_broken(version: Any, tmp_path: Any) -> None:
    old = version(Server, {"n": 1}, journal=str(tmp_path))
    close(Process(old).moved())
    writer = threading.Thread(target=lambda: old.owner.set("n", 3, who="me"))
    writer.start()
    assert old.owner.version("n") == 1
    old.owner.unseal()
    writer.join(20.0)
    assert old.owner.version("n") == 2
    close(Process(old).moved())
    old.parameters.let_go()
    old.hosted.server.n = 9  # it is its own now
    assert (old.hosted.server.n, old.parameters.owner, old.parameters.journal) == (9, None, None)
    told = len(old.pipe.told)
    old.parameters.after_call()
    old.parameters.report("too late")
    assert len(old.pipe.told) == told


def test_a_journal_that_takes_nothing_fails_the_move_and_nothing_else(version: Any, tmp_path: Any) -> None:
    old = version(Server, {"n": 1}, journal=str(tmp_path / "file" / "journal"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SwapError, match="cannot be written") as caught:
        Process(old).moved()
    assert caught.value.code == "move"
    old.owner.unseal()
    assert old.owner.set("quick", 1, who="me").version == 2


def test_a_process_without_parameters_moves_its_state(version: Any) -> None:
    class Bare(dx.GenServer):
        def init(self) -> Any:
            return "bare"

    moved = Process(version(Bare)).moved()
    assert (moved.kept.table, moved.kept.blobs, moved.position, moved.watched) == (None, {}, 0, None)
    assert CODEC.unpack(moved.image.server) == ["bare"]


def test_what_cannot_be_read_is_an_error_of_the_move_and_leaves_no_descriptor() -> None:
    read, write = os.pipe()
    image = os.memfd_create("test")
    os.write(image, images.encode(Image("sup/it", "swap", 0.0, None, 3)))
    os.close(write)
    facts = {"table": True, "blobs": [], "volatile": False, "position": 0, "watched": None}
    with pytest.raises(SwapError, match="what the old process is cannot be read here") as caught:
        read_state(Frame(STATE, facts, [image, read]))
    assert caught.value.code == "move"
    for fd in (image, read):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


DIFFERENCES = [
    ({}, False),
    ({"when": 5.0, "metrics": {"calls": 1}, "kind": "swap"}, False),
    ({"parameters": {"n": [3, b"", b""]}}, True),
    ({"facts": {"mode": "train"}}, True),
    ({"user": b"x"}, True),
    ({"server": b"x"}, True),
    ({"down": b"x"}, True),
]


@pytest.mark.parametrize(("change", "expected"), DIFFERENCES, ids=lambda each: str(each))
def test_images_differ_in_what_a_migration_sees(change: dict[str, Any], expected: bool) -> None:
    facts: dict[str, Any] = {"parameters": {"n": [2, b"", b""]}, "kind": "before_swap", "when": 1.0}
    one = Image(id="sup/it", version="1", incarnation=3, **facts)
    other = Image(id="sup/it", version="1", incarnation=3, **(facts | change))
    assert differ(one, other) is expected


def test_a_moved_owner_s_error_is_a_parameter_error(version: Any) -> None:
    old = version(Server, 1)
    owner = old.owner
    old.parameters.let_go()
    with pytest.raises(ParameterError, match="went to the process that takes the place"):
        owner.set("n", 1, who="me")
