"""Checkpoints as clients ask for them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, ConfigError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, PARAM, REPLY
from helpers.fake_node import Client, FakeNode, server

INFO = {"id": "a", "number": 3, "created_at": 5.0, "kind": "manual", "size": 9, "version": None}


def answer(client: Client, number: int) -> Any:
    (found,) = [message for message in client.heard() if message[0] in (REPLY, FAULT, PARAM) and message[1] == number]
    if found[0] == FAULT:
        raise from_fault(found[2])
    return found[2]


def imaged(runtime: FakeNode, id: str = "a") -> str:
    """Let the module answer with an image; return for which kind of checkpoint."""
    _, args, done = runtime.process(id).fd_requests.pop(0)
    done({"size": 5}, None, os.memfd_create("image"))
    runtime.turn()
    return str(args["kind"])


def given(runtime: FakeNode, op: str, info: Any) -> None:
    """Let the keeper answer with a descriptor."""
    fd = os.memfd_create("image")
    runtime.keeper.answer(runtime.keeper.question(op), info, [fd])
    os.close(fd)
    runtime.turn()


def stopped(runtime: FakeNode) -> Client:
    runtime.boot(server("a", checkpoint={"keep": 7}))
    runtime.owner.begin("stop", id="a")
    runtime.turn()
    runtime.owner.heard()
    return runtime.owner


def test_a_running_module_is_saved_and_the_answer_comes_when_it_is_stored(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    number = client.begin("checkpoint", id="a")
    assert imaged(runtime) == "manual"
    assert client.heard() == []
    runtime.keeper.answers["checkpoint"] = INFO
    runtime.turn()
    assert answer(client, number) == INFO


def test_what_does_not_run_has_its_last_one_and_cannot_be_saved(runtime: FakeNode) -> None:
    client = stopped(runtime)
    with pytest.raises(CheckpointError, match="'a' is STOPPED: only a running module can be saved") as caught:
        client.ask("checkpoint", id="a")
    assert caught.value.hint is not None
    assert "rt.start('a')" in caught.value.hint
    runtime.keeper.answers["checkpoints"] = [INFO]
    number = client.begin("checkpoints", id="a")
    runtime.turn()
    assert answer(client, number) == [INFO]


@pytest.mark.parametrize("op", ["checkpoint", "checkpoints", "image", "export", "restore"])
def test_a_supervisor_has_no_state(runtime: FakeNode, op: str) -> None:
    client = runtime.boot({"id": "g", "supervisor": {"children": []}}).owner
    with pytest.raises(CheckpointError, match="'g' is a supervisor: it has no state of its own"):
        client.ask(op, id="g")


@pytest.mark.parametrize("op", ["image", "export"])
def test_the_contents_of_one_come_as_a_descriptor(runtime: FakeNode, op: str) -> None:
    client = runtime.boot(server("a")).owner
    number = client.begin(op, id="a", number=3)
    runtime.turn()
    assert runtime.keeper.of(op) == [{"id": "a", "number": 3}]
    given(runtime, op, INFO)
    assert answer(client, number) == INFO
    assert client.descriptors == 1


def test_a_file_is_handed_to_the_keeper_and_is_the_newest(runtime: FakeNode) -> None:
    client = runtime.boot(server("a")).owner
    runtime.keeper.answers["import"] = {**INFO, "kind": "import"}
    number = client.begin("import", id="a", data=b"exported")
    runtime.turn()
    assert answer(client, number)["kind"] == "import"
    (fd,) = runtime.keeper.descriptors
    assert os.pread(fd, 100, 0) == b"exported"
    assert runtime.node.keeping.noted("a")["checkpoint"]["number"] == 3


class TestRestore:
    def test_what_it_was_is_saved_first_and_what_it_is_then_last(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.keeper.answers["checkpoint"] = lambda args: {**INFO, "number": 4, "kind": args["kind"]}
        number = client.begin("restore", id="a", number=3)
        runtime.turn()
        given(runtime, "images", [INFO])
        assert imaged(runtime) == "before_restore"
        runtime.turn()
        op, args, _, done = runtime.process("a").requests.pop()
        assert (op, args) == ("restore", {"who": "restore of checkpoint 3"})
        done({}, None)
        assert imaged(runtime) == "restored"
        runtime.turn()
        assert answer(client, number)["number"] == 3
        newest = runtime.node.keeping.noted("a")["checkpoint"]
        assert (newest["number"], newest["kind"]) == (4, "restored")
        assert [event["number"] for event in runtime.node.reports.events if event["type"] == "restored"] == [3]

    def test_where_it_cannot_be_saved_first_it_is_left_as_it_is(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        number = client.begin("restore", id="a")
        runtime.turn()
        given(runtime, "images", [INFO])
        imaged(runtime)
        runtime.keeper.refuse(runtime.keeper.question("checkpoint"), CheckpointError("disk full"))
        runtime.turn()
        with pytest.raises(CheckpointError, match="disk full"):
            answer(client, number)
        assert runtime.process("a").requests == []

    def test_a_module_that_refuses_says_why(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.keeper.answers["checkpoint"] = INFO
        number = client.begin("restore", id="a")
        runtime.turn()
        given(runtime, "images", [INFO])
        imaged(runtime)
        runtime.turn()
        runtime.process("a").requests.pop()[3](None, {"dspex": "CheckpointError", "message": "too old", "type": "CheckpointError"})
        with pytest.raises(Exception, match="too old"):
            answer(client, number)

    def test_a_stopped_one_is_put_back_for_its_next_start(self, runtime: FakeNode) -> None:
        client = stopped(runtime)
        newest = {**INFO, "number": 9, "kind": "restored"}
        runtime.keeper.answers["restore_stopped"] = {"restored": [INFO], "newest": [newest]}
        number = client.begin("restore", id="a", number=3)
        runtime.turn()
        given(runtime, "images", [INFO])
        assert answer(client, number) == INFO
        assert runtime.node.keeping.noted("a")["checkpoint"]["number"] == 9
        assert runtime.keeper.of("restore_stopped") == [{"members": [["a", 3]], "who": "restore", "keep": 7}]

    def test_one_that_is_neither_running_nor_stopped_is_refused(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.launcher.script["a"] = ["hang"]
        runtime.crash("a")
        with pytest.raises(CheckpointError, match="'a' is STARTING: it is neither running nor stopped"):
            client.ask("restore", id="a")

    def test_a_checkpoint_that_there_is_not_changes_nothing(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        number = client.begin("restore", id="a", number=9)
        runtime.turn()
        runtime.keeper.refuse(runtime.keeper.question("images"), CheckpointError("no checkpoint 9"))
        runtime.turn()
        with pytest.raises(CheckpointError, match="no checkpoint 9"):
            answer(client, number)
        assert runtime.process("a").fd_requests == []


class TestPrune:
    def test_the_numbers_that_are_gone_are_answered_and_the_newest_that_is_left_is_shown(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.keeper.answers |= {"prune": [4, 2], "checkpoints": [INFO]}
        number = client.begin("prune", id="a", numbers=[2, 4])
        runtime.turn()
        assert answer(client, number) == [4, 2]
        runtime.turn()
        assert runtime.node.keeping.noted("a")["checkpoint"]["number"] == 3

    def test_of_none_that_is_left_none_is_shown(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        runtime.node.checkpointing.newest("a", INFO)
        runtime.keeper.answers |= {"prune": [1], "checkpoints": []}
        client.begin("prune", id="a", keep=0)
        runtime.turn()
        assert runtime.node.keeping.noted("a")["checkpoint"] is None

    @pytest.mark.parametrize(
        ("args", "why"),
        [
            ({}, "prune takes keep .* or numbers"),
            ({"keep": 1, "numbers": [1]}, "prune takes keep .* or numbers"),
            ({"keep": -1}, "keep is 0 or more; got -1"),
            ({"numbers": ["1"]}, "numbers is a list of whole numbers"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, runtime: FakeNode, args: dict[str, Any], why: str) -> None:
        with pytest.raises(ConfigError, match=why):
            runtime.boot(server("a")).owner.ask("prune", id="a", **args)


def test_events_of_earlier_runtimes_are_had(runtime: FakeNode) -> None:
    client = runtime.boot().owner
    runtime.keeper.answers["past_events"] = [{"seq": 1}]
    number = client.begin("past_events", n=5)
    runtime.turn()
    assert answer(client, number) == [{"seq": 1}]
    assert runtime.keeper.of("past_events") == [{"n": 5}]
