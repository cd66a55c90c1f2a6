"""Checkpoints of a group put back, and what it was compiled to: the lowest first, then all the others, with their parts."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, DspexError
from dspex_runtime.node.operations import group_state
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import FakeNode
from helpers.swap_play import Play

INFO = {"number": 3, "created_at": 5.0, "kind": "manual", "size": 9, "version": None, "note": None, "parts": {}, "of": None}
WHO = "restore of checkpoint 3"


class Put:
    """Replicas that are put back to a checkpoint of the lowest."""

    def __init__(self, runtime: FakeNode) -> None:
        self.runtime = runtime
        self.numbers = iter(range(10, 100))
        self.parts: list[str] = []

    def boot(self, *, n: int = 2, parts: bool = False) -> Put:
        self.runtime.boot({"id": "qa", "module": "pkg:X", "backoff": "none", "replicas": n}, max_restarts=100)
        spec = {"name": "near", "spec": {"module": "pkg:X", "backoff": "none"}}
        for number in range(n) if parts else ():
            self.parts = ["/near"]
            asked = {"parts": [spec], "strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5}
            self.runtime.process(f"qa#{number}").ask("attach_parts", **asked)
            self.runtime.turn()
        self.runtime.keeper.answers["checkpoint"] = self.stored
        return self

    def stored(self, args: dict[str, Any]) -> dict[str, Any]:
        parts = {id: next(self.numbers) for id in args.get("parts", ())}
        return {**INFO, "id": args["id"], "number": next(self.numbers), "kind": args["kind"], "parts": parts}

    def begin(self) -> Put:
        """Ask, and have the keeper give the images."""
        self.client = self.runtime.connect()
        self.number = self.client.begin("restore", id="qa", number=3)
        keeper, ids = self.runtime.keeper, ["qa#0", *(f"qa#0{part}" for part in self.parts)]
        assert keeper.of("images")[-1] == {"id": "qa#0", "number": 3}
        fds = [os.memfd_create("given") for _ in ids]
        keeper.answer(keeper.question("images"), [{**INFO, "id": id} for id in ids], fds)
        for fd in fds:
            os.close(fd)
        self.runtime.turn()
        return self

    def saved(self, *ids: str, fault: str | None = None) -> list[str]:
        """Have them make images; return why."""
        kinds = []
        for id in ids:
            op, args, done = self.runtime.process(id).fd_requests.pop(0)
            assert op == "checkpoint"
            kinds.append(args["kind"])
            done(None if fault else {}, {"message": fault} if fault else None, None if fault else os.memfd_create("image"))
            self.runtime.turn()
        return kinds

    def taken(self, id: str, fault: str | None = None) -> dict[str, Any]:
        asked = self.runtime.process(id).answered("restore", None if fault else {}, {"message": fault} if fault else None)
        self.runtime.turn()
        return asked

    def alone(self, id: str) -> Put:
        """Have one without parts take its image, and be saved before and after."""
        assert self.saved(id) == ["before_restore"]
        assert self.taken(id) == {"who": WHO}
        assert self.saved(id) == ["restored"]
        return self

    def held(self, *ids: str) -> None:
        """Let them come to rest."""
        for op, said in (("hold", {"running": 0, "open": 0}), ("seal", None)):
            for id in ids:
                self.runtime.process(id).answered(op, said)
                self.runtime.turn()

    def together(self, id: str) -> Put:
        """Have one and its part do so, while they are held."""
        both = (id, f"{id}/near")
        self.held(*both)
        assert self.saved(*both) == ["before_restore"] * 2
        for each in both:
            assert self.taken(each) == {"who": WHO, "held": True}
        assert self.saved(*both) == ["restored"] * 2
        return self

    def answer(self) -> Any:
        """Return what was answered, None when nothing was."""
        found = [message for message in self.client.heard() if message[0] in (REPLY, FAULT) and message[1] == self.number]
        if found and found[0][0] == FAULT:
            raise from_fault(found[0][2])
        return found[0][2] if found else None


@pytest.fixture
def put(runtime: FakeNode) -> Put:
    return Put(runtime)


def descriptors() -> list[str]:
    """Return what is open of what was to be given to all."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return [path for path in found if path.startswith("/memfd:given")]


class TestRestore:
    """All are what the lowest was."""

    def test_the_lowest_is_put_back_and_then_the_others(self, put: Put) -> None:
        put.boot(n=3).begin().alone("qa#0")
        assert put.answer() is None
        put.alone("qa#2").alone("qa#1")
        assert put.answer() == {**INFO, "id": "qa#0"}
        assert descriptors() == []

    def test_each_has_its_parts_put_back_with_it(self, put: Put) -> None:
        put.boot(parts=True).begin().together("qa#0")
        assert put.answer() is None
        put.together("qa#1")
        assert put.answer() == {**INFO, "id": "qa#0"}
        assert [args["kind"] for args in put.runtime.keeper.of("checkpoint")] == ["before_restore", "restored"] * 2
        assert descriptors() == []

    def test_where_the_lowest_is_not_the_others_stay_as_they_are(self, put: Put) -> None:
        put.boot().begin()
        put.saved("qa#0")
        put.taken("qa#0", "too large")
        with pytest.raises(DspexError, match="too large"):
            put.answer()
        assert put.runtime.process("qa#1").asked == []
        assert descriptors() == []

    def test_one_that_does_not_take_it_is_named(self, put: Put) -> None:
        put.boot().begin().alone("qa#0")
        put.saved("qa#1")
        put.taken("qa#1", "too large")
        with pytest.raises(DspexError, match="'qa#0' is put back to checkpoint 3, but not 'qa#1': too large"):
            put.answer()

    def test_so_is_one_that_is_not_saved_as_it_is_then(self, put: Put) -> None:
        put.boot().begin().alone("qa#0")
        put.saved("qa#1")
        put.taken("qa#1")
        put.saved("qa#1", fault="disk full")
        with pytest.raises(CheckpointError, match=r"but not 'qa#1': 'qa#1' is put back to checkpoint 3, but .* disk full"):
            put.answer()

    def test_one_that_ends_meanwhile_takes_what_the_others_have_when_it_serves(self, put: Put) -> None:
        put.boot().begin().alone("qa#0")
        put.saved("qa#1")
        ended = put.runtime.process("qa#1")
        put.runtime.crash("qa#1")
        ended.answered("restore", None, {"message": "ended"})
        put.runtime.turn()
        assert put.answer() == {**INFO, "id": "qa#0"}

    def test_one_that_is_swapped_meanwhile_takes_it_when_that_is_over(self, put: Put) -> None:
        put.boot()
        play = Play(put.runtime)
        put.runtime.keeper.answers["checkpoint"] = put.stored
        play.begin("qa#1").to("held", "qa#1")
        put.begin().alone("qa#0")
        assert put.answer() is None
        for step in (play.held, play.packed, play.prepared):
            step("qa#1")
        assert put.saved("qa#1") == ["before_restore"]
        assert put.taken("qa#1") == {"who": WHO}
        play.served("qa#1")
        assert put.saved("qa#1", "qa#1") == ["restored", "swapped"]
        assert put.answer() == {**INFO, "id": "qa#0"}

    def test_a_part_that_is_stopped_in_another_one_cannot_be_put_back(self, put: Put) -> None:
        put.boot(parts=True)
        put.runtime.owner.begin("stop", id="qa#1/near")
        put.runtime.turn()
        put.begin().together("qa#0")
        with pytest.raises(CheckpointError, match="but not 'qa#1': 'qa#1/near' is STOPPED"):
            put.answer()
        assert put.runtime.process("qa#1").held_back is None
        assert descriptors() == []


class TestCompile:
    """What came of it all take."""

    def give(self, put: Put) -> list[dict[str, Any] | None]:
        told: list[dict[str, Any] | None] = []
        group = put.runtime.node.registry.group("qa")
        assert group is not None
        group_state._give(put.runtime.node, group.records[1:], os.memfd_create("given"), "compile (X)", told.append)
        return told

    def test_it_is_done_when_all_are_saved(self, put: Put) -> None:
        told = self.give(put.boot())
        assert put.taken("qa#1") == {"who": "compile (X)"}
        assert told == []
        assert put.saved("qa#1") == ["restored"]
        assert told == [None]
        assert descriptors() == []

    def test_one_that_is_not_saved_is_named(self, put: Put) -> None:
        told = self.give(put.boot())
        put.taken("qa#1")
        put.saved("qa#1", fault="disk full")
        assert told == [{"message": "'qa#1' did not take it: it has it, but there is no checkpoint of that: disk full"}]

    def test_one_that_ended_is_no_refusal(self, put: Put) -> None:
        told = self.give(put.boot())
        ended = put.runtime.process("qa#1")
        put.runtime.crash("qa#1")
        ended.answered("restore", None, {"message": "ended"})
        assert told == [None]

    def test_one_with_parts_takes_it_with_them(self, put: Put) -> None:
        told = self.give(put.boot(parts=True))
        both = ("qa#1", "qa#1/near")
        put.held(*both)
        assert put.saved(*both) == ["before_compile"] * 2
        for id, path in zip(both, ("", "near"), strict=True):
            assert put.taken(id) == {"who": "compile (X)", "share": {"path": path, "parts": ["near"]}, "held": True}
        assert told == []
        assert put.saved(*both) == ["compiled"] * 2
        assert told == [None]
        assert put.runtime.process("qa#1").held_back is None
        assert descriptors() == []
