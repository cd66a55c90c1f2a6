"""Who is one with whom, and who is waited for."""

from __future__ import annotations

from functools import partial

import pytest

from helpers.fake_family import HELD, IDS, Family


def test_members_are_an_owner_and_what_is_below_it(family: Family) -> None:
    composites = family.boot().node.composites
    resolve = family.node.registry.resolve
    assert [record.id for record in composites.members(resolve("qa"))] == list(IDS)
    assert [record.id for record in composites.members(resolve("qa/near"))] == ["qa/near", "qa/near/rank"]
    assert [record.id for record in composites.members(resolve("qa/far"))] == ["qa/far"]


def test_what_an_owners_own_parts_are_made_of(family: Family) -> None:
    found = family.boot().node.composites.launches("qa")
    assert {name: launch.target for name, launch in found.items()} == {"near": "pkg.mod:Name", "far": "pkg.mod:Name"}
    assert family.node.composites.launches("qa/far") == {}


def test_a_checkpoint_of_an_owner_is_of_all_and_of_another_of_itself(family: Family) -> None:
    client = family.boot().runtime.owner
    client.begin("checkpoint", id="qa/far")
    family.runtime.turn()
    assert family.images("qa/far") == [{"kind": "manual"}]
    client.begin("checkpoint", id="qa")
    family.runtime.turn()
    assert family.process("qa").asked == ["hold"]


def test_periodic_ones_are_of_all_too_and_left_out_when_busy(family: Family) -> None:
    family.boot(checkpoint={"every": "10s"})
    family.runtime.advance(10.1)
    family.answer("qa", "hold", {"running": 1, "open": 0})
    why = "'qa' and its parts did not come to rest within 2 s: 'qa' still runs 1 call"
    assert [(event["id"], event["message"]) for event in family.events("checkpoint_skipped")] == [("qa", why)]
    assert family.events("checkpoint_failed") == []
    family.answer("qa", "unhold")
    family.runtime.advance(10.1)
    family.hold()
    family.images()
    assert [args["kind"] for args in family.runtime.keeper.of("checkpoint")] == ["periodic"]


@pytest.mark.parametrize("drain", ["2s", "brutal"])
def test_one_that_is_killed_when_it_is_stopped_has_a_drain_for_this(family: Family, drain: str) -> None:
    family.boot(**({"shutdown": "brutal_kill"} if drain == "brutal" else {}))
    family.node.composites.held(family.records(), lambda _: None).begin()
    assert family.process("qa").requests[0][1] == {"drain_s": 5.0 if drain == "brutal" else 2.0}


@pytest.mark.parametrize("at", ["hold", "seal", "rest"])
def test_nothing_is_left_of_one_that_is_released(family: Family, at: str) -> None:
    composites = family.boot().node.composites
    still = composites.held(family.records(), lambda _: None)
    still.begin()
    if at == "seal":
        for id in HELD:
            family.answer(id, "hold", {"running": 0, "open": 0})
    elif at == "rest":
        family.hold()
    still.release()
    still.release()
    assert composites._coming == []
    assert family.released()


def test_one_that_serves_or_is_gone_is_not_waited_for(family: Family) -> None:
    composites, told = family.boot().node.composites, []
    for id in ("qa", "nobody"):
        composites.when_settled(id, partial(told.append, id))
    assert told == ["qa", "nobody"]
    family.process("qa/far").serving = False
    composites.when_settled("qa/far", lambda: told.append("again"))
    assert told == ["qa", "nobody"]
    family.runtime.crash("qa/far")
    assert told == ["qa", "nobody", "again"]
