"""A new version of a dspy module on a copy of what the old one has. Both in this process."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspex_runtime.errors import SwapError
from dspex_runtime.host.checkpoint_image import pinned
from dspex_runtime.modules.members import predictor
from dspex_runtime.modules.module import Module
from dspex_runtime.params.parameter import Parameter


class One(Module):
    __version__ = "1"
    ratio = Parameter(float, 0.5)
    words = Parameter(list, ["a"])
    answer = predictor("question -> answer")

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        self.k = k
        self.calls = 0

    def forward(self, question: str) -> Any:
        self.calls += 1
        return question

    def get_state(self) -> Any:
        return {"calls": self.calls}

    def set_state(self, state: Any) -> None:
        self.calls = state["calls"]


class Answer(dspy.Signature):
    """The new prompt."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Two(One):
    __version__ = "2"
    ratio = Parameter(float, 0.7)
    words = Parameter(list, ["a"])
    extra = Parameter(int, 3)
    answer = predictor(Answer)


class Percent(Two):
    """Its ratio is in per cent."""

    ratio = Parameter(float, 50.0, min=1.0, max=100.0)

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        state["params"]["ratio"] *= 100
        state["params"]["extra"] = extra or 4
        return {"params": state["params"], "state": {"calls": state["state"]["calls"] + 1000}}


@pytest.fixture
def old(version: Any) -> Any:
    made = version(One, 1)
    made.owner.set("ratio", 0.25, who="me")
    made.hosted.program[0].calls = 12
    return made


def values(new: Any) -> dict[str, Any]:
    return {name: new.owner.get(name) for name in ("ratio", "words", "extra")}


def test_without_a_migration_what_was_set_stays_and_code_is_new(version: Any, old: Any) -> None:
    new = version(Two, 2, rehearsal=True)
    found = new.rehearsal().become(old.image())
    module = new.hosted.program[0]
    assert found == {"version": "2", "migrated": False, "parameters": [], "dropped": []}
    assert values(new) == {"ratio": 0.25, "words": ["a"], "extra": 3}
    assert (module.k, module.calls) == (2, 12)
    assert module.answer.signature.instructions == "The new prompt.", "nobody has set the old one"


def test_a_prompt_that_somebody_set_stays(version: Any, old: Any) -> None:
    module = old.hosted.program[0]
    module.answer.signature = module.answer.signature.with_instructions("Tuned.")
    new = version(Two, rehearsal=True)
    new.rehearsal().become(old.image())
    assert new.hosted.program[0].answer.signature.instructions == "Tuned."


def test_code_change_gets_parameters_and_state_and_returns_both(version: Any, old: Any) -> None:
    new = version(Percent, rehearsal=True)
    rehearsal = new.rehearsal()
    found = rehearsal.become(old.image())
    assert found == {"version": "2", "migrated": True, "parameters": ["extra", "ratio"], "dropped": []}
    assert values(new) == {"ratio": 25.0, "words": ["a"], "extra": 4}
    assert (new.hosted.program[0].ratio, new.hosted.program[0].calls) == (25.0, 1012)
    old.hosted.program[0].calls = 20
    old.owner.set("ratio", 0.75, who="me")
    rehearsal.become(old.image())
    assert (values(new)["ratio"], new.hosted.program[0].calls) == (75.0, 1020)


def test_a_name_that_a_migration_leaves_out_is_as_new(version: Any, old: Any) -> None:
    def without_ratio(state: Any) -> Any:
        del state["params"]["ratio"]
        return state

    new = version(Percent, rehearsal=True)
    rehearsal = new.rehearsal(migrate=without_ratio)
    rehearsal.become(old.image())
    assert values(new)["ratio"] == 50.0
    assert rehearsal.plan.parameters["ratio"][1] == new.rehearsal()._own["ratio"][1]


def test_a_name_that_is_not_declared_is_perhaps_another_one(version: Any, old: Any) -> None:
    new = version(Two, rehearsal=True)
    with pytest.raises(SwapError, match="'sup/it' has no parameter 'ration'; it has answer, extra, ratio, words") as caught:
        new.rehearsal(migrate=lambda state: {**state, "params": {**state["params"], "ration": 1}}).become(old.image())
    assert caught.value.code == "migrate"


def test_a_state_of_a_class_that_keeps_none_any_more_goes(version: Any, old: Any) -> None:
    class Stateless(dspy.Module):
        def forward(self) -> None: ...

    new = version(Stateless, rehearsal=True)
    assert new.rehearsal().become(old.image())["dropped"] == ["answer", "ratio", "words"]


def test_modes_and_what_a_client_changed_of_the_rest_move(version: Any, old: Any) -> None:
    old.hosted.set_mode("train")
    old.parameters.after_call()
    rest = old.hosted.get_rest()
    old.owner.set_facts({**old.owner.facts(), **pinned({}, old.hosted, {**rest, "config": {"answer": {"temperature": 0.9}}})})
    new = version(Two, rehearsal=True)
    rehearsal = new.rehearsal()
    rehearsal.become(old.image())
    assert (new.hosted.mode, new.hosted.program[0].training) == ("train", True)
    assert new.hosted.program[0].answer.config == {"temperature": 0.9}
    assert rehearsal.plan.facts["mode"] == "train"


def test_on_the_way_back_the_class_that_is_left_says_what_was(version: Any) -> None:
    class Newer(Percent):
        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            assert old_version == ("down", "1")
            params = {"ratio": state["params"]["ratio"] / 100, "words": state["params"]["words"]}
            return {"params": params, "state": state["state"]}

    newer, older = version(Newer), version(One, rehearsal=True)
    newer.owner.set("ratio", 80.0, who="me")
    newer.hosted.program[0].calls = 3
    found = older.rehearsal("2").become(newer.image(has_down=True, down="1"))
    assert found == {"version": "1", "migrated": True, "parameters": ["ratio"], "dropped": ["extra"]}
    assert (older.owner.get("ratio"), older.hosted.program[0].calls) == (0.8, 3)


def test_what_a_verification_does_to_a_module_is_undone(version: Any, old: Any) -> None:
    class Lazy(Two):
        def forward(self, question: str = "") -> Any:
            self.ratio = 0.1
            self.calls += 1
            self.late = dspy.Predict("a -> b")
            return True

    new = version(Lazy, rehearsal=True)
    rehearsal = new.rehearsal(verify={"call": "__call__"})
    rehearsal.become(old.image())
    rehearsal.verify()
    assert (values(new)["ratio"], new.hosted.program[0].calls) == (0.25, 12)
    assert "late" in rehearsal.plan.parameters, "it is there from now on"
