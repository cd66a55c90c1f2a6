"""Checkpoints of running modules: image, then store, then an answer; by themselves on the period of their spec."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from dspex_runtime.core.child_spec import Checkpoint
from dspex_runtime.errors import CheckpointError
from dspex_runtime.wire.faults import from_fault
from helpers.fake_node import FakeNode, server

INFO = {"id": "a", "number": 3, "created_at": 5.0, "kind": "manual", "size": 9, "version": None}


def image(runtime: FakeNode, fault: Any = None, id: str = "a") -> dict[str, Any]:
    """Answer the module's oldest question for an image; return what it was asked."""
    _, args, answer = runtime.process(id).fd_requests.pop(0)
    answer(None if fault else {"size": 5}, fault, None if fault else os.memfd_create("image"))
    runtime.turn()
    return args


class TestTake:
    def take(self, runtime: FakeNode) -> list[Any]:
        done: list[Any] = []
        process = runtime.node.registry.resolve("a").process
        assert process is not None
        runtime.node.checkpointing.take(process, "manual", lambda info, fault: done.append((info, fault)))
        return done

    def test_it_is_done_when_it_is_stored(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", checkpoint={"keep": 3}))
        done = self.take(runtime)
        assert image(runtime) == {"kind": "manual"}
        assert (done, runtime.keeper.of("checkpoint")) == ([], [{"id": "a", "kind": "manual", "keep": 3}])
        assert len(runtime.keeper.descriptors) == 1
        runtime.keeper.answers["checkpoint"] = INFO
        runtime.turn()
        assert done == [(INFO, None)]
        assert runtime.node.keeping.holds("a")
        record = runtime.node.registry.resolve("a")
        assert runtime.node.info(record)["checkpoint"] == {"number": 3, "created_at": 5.0, "kind": "manual"}
        assert [event["number"] for event in runtime.node.reports.events if event["type"] == "checkpoint"] == [3]

    def test_a_module_that_makes_no_image_and_a_store_that_takes_none_are_told(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"))
        done = self.take(runtime)
        image(runtime, {"message": "get_state raised"})
        assert done == [(None, {"message": "get_state raised"})]
        done = self.take(runtime)
        image(runtime)
        runtime.keeper.refuse(runtime.keeper.question("checkpoint"), CheckpointError("disk full"))
        runtime.turn()
        ((info, fault),) = done
        assert (info, str(from_fault(fault))) == (None, "disk full")
        assert not runtime.node.keeping.holds("a")


class TestPeriod:
    def test_a_module_is_saved_again_and_again_from_when_it_is_ready(self, runtime: FakeNode) -> None:
        runtime.keeper.answers["checkpoint"] = {**INFO, "kind": "periodic"}
        runtime.boot(server("a", checkpoint={"every": "10s"}), server("b"))
        runtime.advance(4.9)
        assert runtime.process("a").fd_requests == []
        runtime.advance(5.2)
        assert image(runtime) == {"kind": "periodic"}
        runtime.advance(9.9)
        assert runtime.process("a").fd_requests == []
        runtime.advance(0.2)
        assert image(runtime) == {"kind": "periodic"}
        assert runtime.process("b").fd_requests == []

    def test_one_that_fails_is_reported_and_the_next_is_taken(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", checkpoint={"every": "10s"}))
        runtime.advance(10.1)
        image(runtime, {"message": "busy"})
        assert [event["message"] for event in runtime.node.reports.events if event["type"] == "checkpoint_failed"] == ["busy"]
        runtime.advance(10.1)
        assert len(runtime.process("a").fd_requests) == 1

    def test_each_incarnation_has_one_period_and_a_stopped_one_none(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", checkpoint={"every": "10s"}), max_restarts=10)
        first = runtime.process("a")
        runtime.crash("a")
        runtime.advance(10.1)
        assert (len(first.fd_requests), len(runtime.process("a").fd_requests)) == (0, 1)
        runtime.owner.begin("stop", id="a")
        image(runtime, {"message": "ended"})
        runtime.advance(100.0)
        assert runtime.process("a").fd_requests == []

    @pytest.mark.parametrize(
        ("before", "after", "at"),
        [(None, 10.0, 10.1), (10.0, None, None), (3600.0, 10.0, 10.1), (10.0, 10.0, 10.1), (10.0, 100.0, 100.1)],
    )
    def test_another_period_holds_from_when_it_is_known(
        self, runtime: FakeNode, before: float | None, after: float | None, at: float | None
    ) -> None:
        runtime.boot(server("a", checkpoint=None if before is None else {"every": before}))
        process = runtime.process("a")
        process.spec = replace(process.spec, launch=replace(process.launch, checkpoint=Checkpoint(after)))
        runtime.node.checkpointing.respecified(process)  # type: ignore[arg-type]
        runtime.advance((at or 1000.0) - 0.2)
        assert len(process.fd_requests) == (before == after)  # else the one that was due stays so
        runtime.advance(0.2)
        assert len(process.fd_requests) == (at is not None)

    def test_one_that_is_under_way_when_it_changes_is_followed_by_the_new(self, runtime: FakeNode) -> None:
        runtime.boot(server("a", checkpoint={"every": "10s"}))
        process = runtime.process("a")
        runtime.advance(10.1)
        process.spec = replace(process.spec, launch=replace(process.launch, checkpoint=Checkpoint(50.0)))
        runtime.node.checkpointing.respecified(process)  # type: ignore[arg-type]
        image(runtime, {"message": "busy"})
        runtime.advance(49.0)
        assert process.fd_requests == []
        runtime.advance(2.0)
        assert len(process.fd_requests) == 1

    @pytest.mark.parametrize("checkpoint", [None, {"keep": 3}])
    def test_without_a_period_there_are_none(self, runtime: FakeNode, checkpoint: Any) -> None:
        runtime.boot(server("a", checkpoint=checkpoint))
        runtime.advance(1000.0)
        assert runtime.process("a").fd_requests == []
