"""What belongs to a checkpoint, and that giving one back takes all of it or nothing."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, ConstraintViolationError
from dspex_runtime.host.checkpoint_image import REST, give_back, pinned, take, without
from dspex_runtime.host.hosted import NO_STATE
from dspex_runtime.params.image import Image
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)
ASSIGNMENT: Any = SimpleNamespace(id="sup/qa", incarnation=3)


class Owner:
    """One parameter, k, which is refused above 9."""

    changing = nullcontext()

    def __init__(self) -> None:
        self.k = 1
        self.kept: dict[str, Any] = {"mode": "eval", "other": 1}

    def image(self) -> dict[str, Any]:
        return {"k": self.k}

    def restore(self, parameters: Any, *, who: str, facts: dict[str, Any]) -> list[Any]:
        if parameters["k"] > 9:
            raise ConstraintViolationError("too large", name="k")
        self.kept = facts
        changed, self.k = self.k != parameters["k"], parameters["k"]
        return [SimpleNamespace(name="k", version=5)] if changed else []

    def facts(self) -> dict[str, Any]:
        return dict(self.kept)

    def set_facts(self, facts: dict[str, Any]) -> None:
        self.kept = facts


class Host:
    version = "2.1"
    serial = False
    changes_code = False
    keeps_user_state = True

    def __init__(self) -> None:
        self.state: Any = "now"
        self.mode = "eval"
        self.rest: dict[str, Any] = {"demos": 1}
        self.refuses: BaseException | None = None

    def get_user_state(self) -> Any:
        return self.state

    def set_user_state(self, state: Any) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.state = state

    def get_rest(self) -> dict[str, Any]:
        return dict(self.rest)

    def set_rest(self, rest: Any) -> None:
        self.rest = dict(rest)

    def set_mode(self, mode: str) -> None:
        self.mode = mode

    def all(self, owner: Owner) -> tuple[Any, ...]:
        return owner.k, self.state, self.mode, self.rest


@pytest.fixture
def owner() -> Any:
    return Owner()


@pytest.fixture
def host() -> Any:
    return Host()


def image_of(owner: Any, host: Any) -> Image:
    return take("manual", ASSIGNMENT, host, owner, CODEC, {"calls": 4})


def test_everything_that_is_taken_is_given_back(owner: Any, host: Any) -> None:
    before, image = host.all(owner), image_of(owner, host)
    assert (image.id, image.kind, image.version, image.incarnation, image.metrics) == ("sup/qa", "manual", "2.1", 3, {"calls": 4})
    owner.k, host.state, host.mode, host.rest = 2, "later", "train", {}
    assert give_back(image, host, owner, CODEC, who="me") == {"k": 5}
    assert host.all(owner) == before
    assert owner.kept == {"mode": "eval", "other": 1, "edits": 1}


@pytest.mark.parametrize(
    ("kept", "now", "wanted", "pinned_is"),
    [
        ({}, {"compiled": [], "config": {"p": {}}}, {}, None),
        ({}, {"compiled": [], "config": {"p": {}}}, {"compiled": [], "config": {"p": {}}}, None),
        ({}, {"compiled": []}, {"compiled": [""]}, {"compiled": [""]}),
        ({"compiled": [""]}, {"compiled": []}, {"compiled": []}, {"compiled": []}),
        ({}, {"config": {"p": {"n": 1}, "q": {}}}, {"config": {"p": {"n": 2}, "q": {}}}, {"config": {"p": {"n": 2}}}),
        (
            {"config": {"q": {"n": 3}}},
            {"config": {"p": {}}},
            {"config": {"p": {"n": 2}}},
            {"config": {"q": {"n": 3}, "p": {"n": 2}}},
        ),
        ({"compiled": [""]}, {"frozen": {}}, {"frozen": {"f": {"demos": []}}}, {"compiled": [""], "frozen": {"f": {"demos": []}}}),
    ],
)
def test_only_what_a_rest_changes_is_kept_for_the_next_incarnation(
    host: Any, kept: Any, now: Any, wanted: Any, pinned_is: Any
) -> None:
    host.rest = now
    assert pinned({REST: kept} if kept else {}, host, wanted) == ({} if pinned_is is None else {REST: pinned_is})


def test_a_state_that_is_kept_is_not_given_to_what_is_a_parameter_by_now() -> None:
    kept = {"compiled": [""], "frozen": {"a": {"demos": []}, "b": {"demos": []}}}
    assert without(kept, ["b"]) == {"compiled": [""], "frozen": {"a": {"demos": []}}}
    assert without({"compiled": []}, ["b"]) == {"compiled": []}


def test_a_note_is_one_checkpoints_and_not_the_modules(owner: Any, host: Any) -> None:
    image = take("compiled", ASSIGNMENT, host, owner, CODEC, {}, {"note": "best", "compile": {"score": 1.0}})
    assert image.facts == {"mode": "eval", "other": 1, "note": "best", "compile": {"score": 1.0}}
    give_back(image, host, owner, CODEC, who="me")
    assert not owner.kept.keys() & {"note", "compile"}


def test_a_state_of_none_is_a_state_and_no_state_is_none(owner: Any, host: Any) -> None:
    host.state = None
    assert image_of(owner, host).user == CODEC.pack([None])
    host.state = NO_STATE
    assert image_of(owner, host).user is None
    host.keeps_user_state = False
    host.state = "unasked"
    assert image_of(owner, host).user is None


def test_a_refused_parameter_leaves_everything_as_it_was(owner: Any, host: Any) -> None:
    owner.k = 99
    image, owner.k = image_of(owner, host), 1
    host.state, host.mode = "later", "train"
    before = host.all(owner)
    with pytest.raises(ConstraintViolationError):
        give_back(image, host, owner, CODEC, who="me")
    assert host.all(owner) == before


@pytest.mark.parametrize("error", [ValueError("not mine"), SystemExit(1)])
def test_a_state_that_its_module_refuses_puts_the_parameters_back(owner: Any, host: Any, error: BaseException) -> None:
    image = image_of(owner, host)
    owner.k, host.mode, host.refuses = 7, "train", error
    with pytest.raises(type(error)):
        give_back(image, host, owner, CODEC, who="me")
    assert (owner.k, host.mode) == (7, "train")


def test_a_state_that_cannot_be_read_changes_nothing(owner: Any, host: Any) -> None:
    image = Image("sup/qa", "manual", 1.0, None, 1, parameters={"k": 5}, user=b"\xc1")
    with pytest.raises(Exception, match="not a message"):
        give_back(image, host, owner, CODEC, who="me")
    assert owner.k == 1


def test_a_module_without_parameters_takes_none(host: Any) -> None:
    with pytest.raises(CheckpointError, match="has parameters"):
        give_back(Image("sup/qa", "manual", 1.0, None, 1, parameters={"k": 1}), host, None, CODEC, who="me")
    assert give_back(take("manual", ASSIGNMENT, host, None, CODEC, {}), host, None, CODEC, who="me") == {}
