"""What is kept is said again once, in order, to whoever is to hear it; what it brings is never lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.node.control_pipe import ControlPipe
from dspex_runtime.node.swapping.holding_back import HoldingBack
from helpers.fake_tree import ManualLoop
from helpers.peers import FakePeer


@dataclass
class Hearer:
    """Notes what it is told."""

    id: str = "a"
    heard: list[Any] = field(default_factory=list)
    peer: FakePeer = field(default_factory=FakePeer)


@pytest.fixture
def loop() -> Iterator[ManualLoop]:
    loop = ManualLoop()
    yield loop
    loop.close()


def release(held: HoldingBack, to: Hearer) -> None:
    held.release(cast(ControlPipe, to))


def heard(to: ControlPipe) -> list[Any]:
    return cast(Hearer, to).heard


def test_what_needs_a_callback_is_kept_and_all_else_passes_until_everything_is(loop: ManualLoop) -> None:
    held = HoldingBack(loop)
    assert [op for op in ("get_state", "checkpoint", "ping", "watched") if held.keeps(op)] == ["get_state", "checkpoint"]
    held.everything = True
    assert held.keeps("ping")


def test_it_is_said_in_order_and_once(loop: ManualLoop) -> None:
    held, to = HoldingBack(loop), Hearer()
    held.put(lambda to: heard(to).append("one"))
    held.put_question(lambda to, left_s: heard(to).append(("two", left_s)), None, lambda: None)
    held.peer.send(["three"])
    held.put(lambda to: heard(to).append("four"))
    assert len(held) == 4
    release(held, to)
    release(held, to)
    assert (to.heard, to.peer.sent) == (["one", ("two", None), "four"], [["three"]])


def test_a_question_is_asked_with_what_is_left_of_its_time(loop: ManualLoop) -> None:
    held, to = HoldingBack(loop), Hearer()
    held.put_question(lambda to, left_s: heard(to).append(left_s), 5.0, lambda: to.heard.append("late"))
    loop.advance(2.0)
    release(held, to)
    loop.advance(10.0)
    assert to.heard == [3.0]


def test_one_whose_time_is_over_is_answered_and_not_asked(loop: ManualLoop) -> None:
    held, to = HoldingBack(loop), Hearer()
    read_fd, write_fd = os.pipe()
    held.put_question(lambda to, _: heard(to).append("asked"), 1.0, lambda: to.heard.append("late"), (write_fd,))
    loop.advance(1.1)
    release(held, to)
    assert to.heard == ["late"]
    assert os.read(read_fd, 1) == b""
    os.close(read_fd)


def test_what_cannot_be_sent_keeps_nothing_else_from_being_said(loop: ManualLoop) -> None:
    held, to = HoldingBack(loop), Hearer()

    def refused(_to: ControlPipe) -> None:
        raise UnserialisableError("nested too deep")

    held.put(refused)
    held.put(lambda to: heard(to).append("next"))
    release(held, to)
    assert to.heard == ["next"]


def test_its_peer_is_never_behind(loop: ManualLoop) -> None:
    held, drained = HoldingBack(loop), []
    held.peer.when_drained(lambda: drained.append(True))
    assert (held.peer.backlog_bytes, drained) == (0, [True])
