"""One checkpoint of an owner with its parts: imaged while all are held, stored together when they go on."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.node.composites.saving import Saving, fault_of
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault
from helpers.fake_family import IDS, Family

Answers = list[tuple[Any, Any]]


@pytest.fixture
def done() -> Answers:
    return []


@pytest.fixture
def saving(family: Family, done: Answers) -> Saving:
    family.boot(checkpoint={"keep": 4})
    saving = Saving(family.node, family.records(), "manual", lambda info, fault: done.append((info, fault)))
    saving.begin()
    family.runtime.turn()
    return saving


@pytest.mark.usefixtures("saving")
class TestSaving:
    def test_they_go_on_when_they_are_imaged_and_it_is_one_checkpoint(self, family: Family, done: Answers) -> None:
        keeper = family.runtime.keeper
        family.hold()
        assert not family.released()
        assert family.images(*["qa", "qa/far", "qa/near", "qa/near/rank"]) == [{"kind": "manual", "held": True}] * 4
        assert family.released()
        ((info, fault),) = done
        assert (info["number"], list(info["parts"]), fault) == (1, list(IDS[1:]), None)
        stage = keeper.of("stage")[0]["stage"]
        assert [(each["id"], each["stage"]) for each in keeper.of("stage")] == [(id, stage) for id in IDS[1:]]
        (asked,) = keeper.of("checkpoint")
        assert asked == {"id": "qa", "kind": "manual", "keep": 4, "stage": stage, "parts": list(IDS[1:])}
        assert len(keeper.descriptors) == 4
        assert family.node.keeping.noted("qa/near/rank")["checkpoint"]["number"] == 1
        assert family.node.keeping.holds("qa/near/rank")
        assert [event["number"] for event in family.events("checkpoint")] == [1]

    def test_what_does_not_come_to_rest_is_not_saved(self, family: Family, done: Answers) -> None:
        family.answer("qa", "hold", {"running": 1, "open": 0})
        ((info, fault),) = done
        error = from_fault(fault, codec=Codec())
        assert info is None
        assert isinstance(error, CheckpointError)
        assert error.code == "busy"
        assert family.runtime.keeper.of("checkpoint") == []

    def test_one_that_makes_no_image_lets_all_go_on(self, family: Family, done: Answers) -> None:
        family.hold()
        family.images(fault="get_state raised")
        assert done == [(None, {"message": "get_state raised"})]
        assert family.released()

    def test_a_store_that_takes_none_is_told(self, family: Family, done: Answers) -> None:
        del family.runtime.keeper.answers["checkpoint"]
        family.hold()
        family.images()
        assert family.released()
        family.runtime.keeper.refuse(family.runtime.keeper.question("checkpoint"), CheckpointError("disk full"))
        family.runtime.turn()
        ((_, fault),) = done
        assert str(from_fault(fault)) == "disk full"


def test_an_error_of_ours_is_told_as_a_process_would() -> None:
    error = from_fault(fault_of(CheckpointError("no", code="busy", id="qa", hint="later")), codec=Codec())
    assert isinstance(error, CheckpointError)
    assert (str(error), error.code, error.id, error.hint) == ("no", "busy", "qa", "later")
