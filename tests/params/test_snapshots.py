"""All parameters at once: what changed by itself, images, and restoring them."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import CheckpointError, ConstraintViolationError, ParameterError
from dspex_runtime.params.owner import Box, Owner
from dspex_runtime.params.spec import ParameterSpec, ParameterType
from helpers.owners import Keeper, specs


class Predictor(Box):
    """Changes by itself, says so, and believes that whoever loads it has seen the change."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.told = self.loads = 0
        self.is_changed = False

    def changed(self) -> bool:
        self.told += 1
        return self.is_changed

    def load(self) -> Any:
        self.loads += 1
        self.is_changed = False
        return dict(self.value)

    def becomes(self, **state: Any) -> None:
        self.value = {**self.value, **state}
        self.is_changed = True


SPECS = {
    **specs(temperature=(float, {"max": 2.0}), words=(list, {"default": ["a"], "max_length": 3}), anything="any"),
    "answer": ParameterSpec(ParameterType.PREDICTOR, default={"demos": []}),
}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor({"demos": []})


@pytest.fixture
def owner(keeper: Keeper, predictor: Predictor) -> Owner:
    return keeper.start(SPECS, holders={"answer": predictor})


def test_what_a_predictor_became_is_a_version_of_its_own(keeper: Keeper, owner: Owner, predictor: Predictor) -> None:
    predictor.becomes(demos=[1])
    (change,) = owner.republish()
    assert (change.name, change.version, change.value, change.who) == ("answer", 2, {"demos": [1]}, "self")
    assert keeper.view()["answer"] == {"demos": [1]}
    assert keeper.changes == [change]


def test_a_predictor_that_says_it_did_not_change_is_only_compared_when_all_are(owner: Owner, predictor: Predictor) -> None:
    loads = predictor.loads
    assert owner.republish() == []
    assert (predictor.told, predictor.loads) == (1, loads)
    predictor.value = {"demos": ["unseen"]}
    assert owner.republish() == []
    assert [change.value for change in owner.republish(full=True)] == [{"demos": ["unseen"]}]


def test_a_predictor_that_was_touched_and_is_as_before_is_no_version(owner: Owner, predictor: Predictor) -> None:
    predictor.becomes(demos=[])
    assert owner.republish() == []
    assert owner.version("answer") == 1


def test_a_list_that_was_changed_in_place_is_published_and_stays_the_same_object(keeper: Keeper, owner: Owner) -> None:
    words = owner.get("words")
    words.append("b")
    assert [change.value for change in owner.republish()] == [["a", "b"]]
    words.append("c")
    owner.republish(who="me")
    assert keeper.view()["words"] == ["a", "b", "c"]
    assert keeper.view().entry("words").who == "me"


def test_a_list_that_was_changed_to_what_it_must_not_be_is_put_back_and_reported(keeper: Keeper, owner: Owner) -> None:
    owner.get("words").extend("xyz")
    assert owner.republish() == []
    assert owner.get("words") == ["a"]
    assert "words was changed in place to what it must not be, and is put back" in keeper.reports[0]


@pytest.mark.parametrize("value", [{1, 2, 3}, frozenset("abc"), np.arange(3), [np.arange(3)], None, 3, "text"], ids=str)
def test_comparing_what_nobody_changed_makes_no_versions(owner: Owner, value: Any) -> None:
    owner.set("anything", value, who="x")
    for _ in range(3):
        assert owner.republish(full=True) == []


def test_equal_is_not_the_same_where_the_type_differs(keeper: Keeper, owner: Owner) -> None:
    owner.set("words", [1], who="x")
    owner.get("words")[0] = True
    assert len(owner.republish()) == 1
    assert keeper.view()["words"][0] is True


def test_what_could_not_be_published_is_published_the_next_time(
    keeper: Keeper, owner: Owner, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    predictor.becomes(demos=[1])
    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.journal.os.write", fails)
        with pytest.raises(ParameterError, match="No space left"):
            owner.republish()
        assert owner.image()["answer"][0] == 1
        assert "what has changed cannot be published" in keeper.reports[0]
    assert [change.value for change in owner.republish()] == [{"demos": [1]}]
    assert owner.republish() == []


def test_an_object_that_took_the_place_of_another_is_compared_whatever_it_says(keeper: Keeper, owner: Owner) -> None:
    other = Predictor({"demos": ["other"]})
    owner.declare("answer", SPECS["answer"], other)
    owner.republish()
    assert keeper.view()["answer"] == {"demos": ["other"]}
    owner.set("answer", {"demos": ["set"]}, who="x")
    assert other.value == {"demos": ["set"]}


def test_an_image_has_everything_as_it_is_now(owner: Owner, predictor: Predictor) -> None:
    owner.set("temperature", 0.5, who="x")
    predictor.becomes(demos=[1])
    image = owner.image()
    assert {name: entry[0] for name, entry in image.items()} == {"temperature": 2, "words": 1, "anything": 1, "answer": 2}
    assert all(type(entry[1]) is bytes for entry in image.values())


def test_restoring_sets_what_is_different_and_nothing_else(keeper: Keeper, owner: Owner, predictor: Predictor) -> None:
    image = owner.image()
    owner.set("temperature", 0.5, who="x")
    owner.get("words").append("b")
    predictor.becomes(demos=[1])
    changes = owner.restore(image, who="restore")
    assert {change.name: (change.version, change.who) for change in changes} == {
        "temperature": (3, "restore"),
        "words": (3, "restore"),
        "answer": (3, "restore"),
    }
    assert (owner.get("temperature"), owner.get("words"), predictor.value) == (0.0, ["a"], {"demos": []})
    assert owner.restore(image, who="restore") == []


def test_restoring_brings_back_the_gradient_too(keeper: Keeper) -> None:
    owner = keeper.start(specs(w=(float, {"requires_grad": True, "momentum": 0.5})))
    owner.apply_gradient("w", 1.0, who="x")
    image = owner.image()
    owner.reset("w", who="x")
    owner.restore(image, who="x")
    assert owner.entry("w").grad == 0.5


def test_an_image_with_one_value_that_is_refused_today_changes_nothing(keeper: Keeper, owner: Owner) -> None:
    owner.set("temperature", 1.5, who="x")
    image = owner.image()
    owner.set("temperature", 0.5, who="x")
    owner.set("words", ["z"], who="x")
    keeper.kill()
    narrow = {**SPECS, **specs(temperature=(float, {"max": 1.0}))}
    heir = keeper.start(narrow)
    with pytest.raises(ConstraintViolationError, match="temperature"):
        heir.restore(image, who="x")
    assert (heir.get("temperature"), heir.get("words")) == (0.5, ["z"])


def test_a_name_of_the_image_that_is_none_any_more_is_reported_and_one_that_it_lacks_stays(keeper: Keeper, owner: Owner) -> None:
    image = owner.image()
    del image["words"]
    image["gone"] = image["temperature"]
    owner.set_many({"temperature": 0.5, "words": ["z"]}, who="x")
    owner.restore(image, who="x")
    assert (owner.get("temperature"), owner.get("words")) == (0.0, ["z"])
    assert keeper.reports == ["gone of the checkpoint is no parameter of 'qa' any more, and is left out"]


def test_an_image_of_another_module_is_refused_and_says_what_each_has(keeper: Keeper, owner: Owner) -> None:
    image = {f"other.{name}": entry for name, entry in owner.image().items()}
    before = owner.image()
    expected = r"has the parameters other\.answer, .*; 'qa' has none of them, but answer, anything, .*\. Nothing was restored"
    with pytest.raises(CheckpointError, match=expected):
        owner.restore(image, who="x")
    assert owner.image() == before
    assert owner.restore({}, who="x") == []
