"""An owner with two parts, one of which has one: real supervisors, fake processes."""

from __future__ import annotations

import os
from typing import Any

from dspex_runtime.node.registry import Record
from helpers.fake_node import FakeNode
from helpers.fake_tree import FakeProcess

IDS = ("qa", "qa/near", "qa/near/rank", "qa/far")
HELD = ["qa", "qa/far", "qa/near", "qa/near/rank"]  # in this order

Facts = dict[str, Any]


class Family:
    """See the module docstring."""

    def __init__(self, runtime: FakeNode) -> None:
        self.runtime = runtime
        self.node = runtime.node
        self._numbers = dict.fromkeys(IDS, 0)

    def boot(self, **keys: Any) -> Family:
        drain = {"shutdown": {"drain": "2s", "timeout": "10s"}}
        self.runtime.boot({"id": "qa", "module": "pkg.mod:Name", "backoff": "none", **drain, **keys})
        self.has("qa", "near", "far")
        self.has("qa/near", "rank")
        self.runtime.keeper.answers["checkpoint"] = self.stored
        assert [record.id for record in self.records()] == list(IDS)
        return self

    def has(self, owner: str, *names: str) -> None:
        parts = [{"name": name, "spec": {"module": "pkg.mod:Name", "backoff": "none"}} for name in names]
        how = {"strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5}
        self.process(owner).ask("attach_parts", parts=parts, **how)
        self.runtime.turn()

    def process(self, id: str) -> FakeProcess:
        return self.runtime.process(id)

    def records(self) -> list[Record]:
        return self.node.composites.members(self.node.registry.resolve("qa"))

    def stored(self, args: Facts) -> Facts:
        """What the keeper answers: numbers that count up, for the owner and for what was staged."""
        for id in (args["id"], *args.get("parts", ())):
            self._numbers[id] += 1
        parts = {id: self._numbers[id] for id in args.get("parts", ())}
        fixed = {"created_at": 5.0, "size": 9, "version": None, "note": None, "of": None}
        return {"id": args["id"], "number": self._numbers[args["id"]], "kind": args["kind"], "parts": parts, **fixed}

    # -- what the processes do

    def answer(self, id: str, op: str, value: Any = None, fault: Facts | None = None) -> Facts:
        asked = self.process(id).answered(op, value, fault)
        self.runtime.turn()
        return asked

    def hold(self, *ids: str) -> list[str]:
        """Let them come to rest; return in which order they were held."""
        held = []
        while waiting := [id for id in IDS if "hold" in self.process(id).asked]:
            held += waiting
            self.answer(waiting[0], "hold", {"running": 0, "open": 0})
        for id in ids or IDS:
            self.answer(id, "seal")
        return held

    def images(self, *ids: str, fault: str | None = None) -> list[Facts]:
        """Let them make their images, the last of them with a fault if there is one; return what they were asked."""
        asked = []
        for id in ids or IDS:
            op, args, done = self.process(id).fd_requests.pop(0)
            assert op == "checkpoint"
            asked.append(args)
            bad = fault is not None and id == (ids or IDS)[-1]
            done(None if bad else {}, {"message": fault} if bad else None, None if bad else image(f"{id} {args['kind']}"))
        self.runtime.turn()
        return asked

    def released(self) -> bool:
        return all(self.process(id).held_back is None for id in IDS)

    def restored(self, id: str, fault: str | None = None) -> Facts:
        return self.answer(id, "restore", None if fault else {"k": 2}, None if fault is None else {"message": fault})

    def events(self, kind: str) -> list[Facts]:
        return [event for event in self.node.reports.events if event["type"] == kind]


def image(text: str) -> int:
    fd = os.memfd_create("image")
    os.write(fd, text.encode())
    return fd
