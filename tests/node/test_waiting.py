"""Waiting for children to reach a state: answered when they do, when they cannot, or when the time is over."""

from __future__ import annotations

import pytest

from dspex_runtime.errors import CallTimeoutError, ConfigError, NoProcessError
from dspex_runtime.node.waiting import WORDS
from dspex_runtime.types import State
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import Client, FakeNode, server
from helpers.fake_tree import FakeProcess


def answer(client: Client) -> object:
    """Return what the one open request came to; None while it waits."""
    messages = client.heard()
    assert len(messages) <= 1
    for kind, _, value in messages:
        assert kind in (REPLY, FAULT)
        return value if kind == REPLY else from_fault(value)
    return None


def test_every_state_has_its_word() -> None:
    assert set(WORDS) == {state.value.lower() for state in State}


def test_stopped_is_every_way_of_being_down() -> None:
    assert WORDS["stopped"] == {State.STOPPED, State.EXITED, State.FAILED}


def test_what_is_so_already_is_answered_at_once(runtime: FakeNode) -> None:
    runtime.boot(server("a"), server("b"))
    assert runtime.owner.ask("wait", ids=["a", "b"], timeout=0.0) == {"a": "READY", "b": "READY"}


def test_all_must_be_there(runtime: FakeNode) -> None:
    client = runtime.boot(server("a"), server("b")).connect()
    client.begin("wait", ids=["a", "b"], state="stopped")
    runtime.owner.begin("stop", id="a")
    assert answer(client) is None
    runtime.owner.begin("stop", id="b")
    assert answer(client) == {"a": "STOPPED", "b": "STOPPED"}


@pytest.mark.parametrize("word", ["ready", "READY"])
def test_ready_after_a_restart_is_the_next_incarnations(runtime: FakeNode, word: str) -> None:
    client = runtime.boot(server("a")).connect()
    runtime.process("a").serving = False  # killed, its end not seen yet
    client.begin("wait", ids=["a"], state=word)
    assert answer(client) is None
    runtime.crash("a")
    assert answer(client) == {"a": "READY"}
    assert runtime.process("a").incarnation == 2


@pytest.mark.parametrize("word", ["ready", "serving"])
def test_ready_is_the_next_incarnations_also_while_an_end_is_not_told_yet(runtime: FakeNode, word: str) -> None:
    client = runtime.boot(server("y"), server("x", depends_on={"y": "restart"})).connect()
    y = runtime.process("y").pid
    assert y is not None
    FakeProcess.zombies.add(y)  # what it depends on dies, too: its supervisor is told of both together
    runtime.crash("x")
    assert "start x" not in runtime.launcher.log[2:]
    client.begin("wait", ids=["x"], state=word)
    assert answer(client) is None
    FakeProcess.zombies.discard(y)
    runtime.crash("y")
    assert answer(client) == {"x": "READY"}
    assert runtime.process("x").incarnation == 2


def test_a_supervisor_is_ready_without_a_process(runtime: FakeNode) -> None:
    runtime.boot({"id": "sup", "supervisor": {"children": [server("a")]}})
    assert runtime.owner.ask("wait", ids=["sup", "sup/a"], timeout=0.0) == {"sup": "READY", "sup/a": "READY"}


@pytest.mark.parametrize("word", ["ready", "Ready"])
def test_ready_ends_early_when_one_is_down_for_good(runtime: FakeNode, word: str) -> None:
    client = runtime.boot(server("a"), server("b", restart="transient")).connect()
    runtime.process("b").serving = False
    client.begin("wait", ids=["a", "b"], state=word, timeout=60.0)
    assert answer(client) is None
    runtime.process("b").end("normal")
    error = answer(client)
    assert isinstance(error, NoProcessError)
    assert "'b' is EXITED and will not become ready" in str(error)


def test_ready_of_what_is_deleted_ends_too(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).connect()
    runtime.process("a").serving = False
    client.begin("wait", ids=["a"])
    runtime.owner.begin("delete", id="a")
    assert isinstance(answer(client), NoProcessError)


def test_failed_is_what_a_supervisor_gave_up(runtime: FakeNode) -> None:
    client = runtime.boot(server("a"), max_restarts=0).connect()
    client.begin("wait", ids=["a"], state="failed")
    runtime.crash("a")
    assert answer(client) == {"a": "FAILED"}


def test_the_time_is_kept_and_the_answer_names_who_is_missing(runtime: FakeNode) -> None:
    client = runtime.boot(server("a"), server("b")).connect()
    client.begin("wait", ids=["a", "b"], state="exited", timeout=3.0)
    runtime.advance(2.5)
    assert answer(client) is None
    runtime.advance(0.5)
    error = answer(client)
    assert isinstance(error, CallTimeoutError)
    assert str(error) == "not exited after 3.0 s: a, b"


def test_an_unknown_word_is_refused_with_those_there_are(runtime: FakeNode) -> None:
    with pytest.raises(ConfigError, match=r"unknown state 'happy' to wait for; there are backoff, .*ready"):
        runtime.boot(server("a")).owner.ask("wait", ids=["a"], state="happy")


@pytest.mark.parametrize("how", ["answered", "timed out", "cancelled"])
def test_nothing_is_kept_of_a_wait_that_is_over(runtime: FakeNode, how: str) -> None:
    client = runtime.boot(server("a"), server("b")).connect()
    client.begin("wait", ids=["a", "b", "a"], state="stopped", timeout=3.0)
    assert set(runtime.node.waiters._by_id) == {"a", "b"}
    if how == "answered":
        runtime.owner.begin("stop", id="a")
        runtime.owner.begin("stop", id="b")
    elif how == "timed out":
        runtime.advance(3.0)
    else:
        client.close()
    assert runtime.node.waiters._by_id == {}
