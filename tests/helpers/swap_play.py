"""A swap whose processes the test plays, step by step."""

from __future__ import annotations

import os
from typing import Any

from dspex_runtime.errors import DspexError
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.messages import EVENT, FAULT, REPLY
from helpers.fake_node import Client, FakeNode, server
from helpers.fake_tree import FakeProcess

INFO = {"id": "a", "created_at": 5.0, "size": 9, "version": None}
REHEARSED = {"version": "2", "migrated": True, "parameters": [], "dropped": [], "seconds": 0.1}
PACKED = {"channels": 2, "queued": 3, "timers": 1, "bytes": 100}
PREPARED = {"again": False, "queued": 3, "channels": 2}


def fault(error: Exception) -> dict[str, Any]:
    return to_fault(error, id="a", incarnation=1, codec=Codec())


class Play:
    """A runtime with children that are swapped; `old` and `new` are the processes of one of them."""

    def __init__(self, runtime: FakeNode) -> None:
        self.runtime = runtime
        self.numbers = iter(range(1, 100))
        self.number = 0
        self.client: Client = runtime.owner
        self.old: dict[str, FakeProcess] = {}
        self.heard: list[list[Any]] = []
        runtime.keeper.answers["checkpoint"] = lambda args: {**INFO, "number": next(self.numbers), "kind": args["kind"]}

    def boot(self, *children: dict[str, Any], **tree: Any) -> Play:
        self.runtime.boot(*(children or (server("a"),)), **tree)
        return self

    def begin(self, *ids: str, client: Client | None = None, **args: Any) -> Play:
        """Ask for a swap; the new ones come up."""
        self.client = client or self.runtime.owner
        members = [{"id": id, **args.pop("member", {})} for id in ids or ("a",)]
        self.old = {member["id"]: self.runtime.process(member["id"]) for member in members}
        for process in self.old.values():
            process.fd_requests.clear()  # the checkpoint after the swap before
        self.number = self.client.begin("swap", members=members, timeout=args.pop("timeout", 30.0), **args)
        return self

    def rollback(self, id: str, **args: Any) -> None:
        """Ask for a rollback; the new one comes up."""
        self.client, self.old = self.runtime.owner, {id: self.runtime.process(id)}
        self.old[id].fd_requests.clear()
        self.number = self.client.begin("rollback", id=id, timeout=30.0, **args)

    def new(self, id: str = "a") -> FakeProcess:
        return self.runtime.launcher.understudies[id]

    def snapshot(self, id: str = "a", error: Exception | None = None) -> dict[str, Any]:
        op, args, done = self.old[id].fd_requests.pop(0)
        assert op == "checkpoint"
        if error is not None:
            done(None, fault(error), None)
        else:
            fd = os.memfd_create("image")
            os.write(fd, b"image")
            done({"size": 5}, None, fd)
        self.runtime.turn()
        return args

    def rehearsed(self, id: str = "a", error: Exception | None = None) -> dict[str, Any]:
        return self._said(self.new(id), "rehearse", dict(REHEARSED), error)

    def ready(self, id: str = "a", said: Any = True, error: Exception | None = None) -> dict[str, Any]:
        return self._said(self.new(id), "call", said, error)

    def held(self, id: str = "a", running: int = 0, error: Exception | None = None) -> dict[str, Any]:
        return self._said(self.old[id], "hold", {"running": running, "open": 0}, error)

    def packed(self, id: str = "a", error: Exception | None = None) -> dict[str, Any]:
        return self._said(self.old[id], "pack", dict(PACKED), error)

    def prepared(self, id: str = "a", error: Exception | None = None) -> dict[str, Any]:
        return self._said(self.new(id), "prepare", dict(PREPARED), error)

    def served(self, id: str = "a", error: Exception | None = None) -> dict[str, Any]:
        return self._said(self.new(id), "serve", {"versions": {}}, error)

    def _said(self, process: FakeProcess, op: str, value: Any, error: Exception | None) -> dict[str, Any]:
        asked = process.answered(op, None if error else value, None if error is None else fault(error))
        self.runtime.turn()
        return asked

    def to(self, step: str, id: str = "a") -> Play:
        """Go on until a step waits for its answer."""
        for name in ("snapshot", "rehearsed", "held", "packed", "prepared", "served"):
            if name == step:
                return self
            getattr(self, name)(id)
        return self

    def swap(self, *ids: str, **args: Any) -> dict[str, Any]:
        """Do it all; return the facts of the first one."""
        self.begin(*ids, **args)
        self.to("")
        found: dict[str, Any] = self.answer()["members"][0]
        return found

    def answer(self) -> Any:
        self._hear()
        (found,) = [message for message in self.heard if message[0] in (REPLY, FAULT) and message[1] == self.number]
        if found[0] == FAULT:
            raise from_fault(found[2])
        return found[2]

    def error(self) -> DspexError:
        try:
            self.answer()
        except DspexError as exc:
            return exc
        raise AssertionError("it was swapped")

    @property
    def is_answered(self) -> bool:
        self._hear()
        return any(message[0] in (REPLY, FAULT) and message[1] == self.number for message in self.heard)

    def told(self) -> list[Any]:
        self._hear()
        return [message[2] for message in self.heard if message[0] == EVENT and message[1] == self.number]

    def _hear(self) -> None:
        self.heard += self.client.heard()

    def events(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.runtime.node.reports.events if event["type"] in types]

    def info(self, id: str = "a") -> dict[str, Any]:
        record = self.runtime.node.registry.get(id)
        assert record is not None
        return self.runtime.node.info(record)

    def nothing_has_happened(self, *ids: str) -> None:
        """The old ones serve as they did, and nothing of the new ones is left."""
        node = self.runtime.node
        for id in ids or ("a",):
            record, old = node.registry.get(id), self.old[id]
            assert record is not None
            assert (record.state.value, record.process, record.restarts) == ("READY", old, 0)
            assert old.serving
            assert old.held_back is None
            assert not old.left
            assert id not in self.runtime.launcher.understudies or self.new(id).ended
            assert self.info(id)["swap"] is None
        self.is_over()

    def is_over(self) -> None:
        node = self.runtime.node
        assert not node.swaps._swaps
        assert len(node.swaps.beside) == 0
