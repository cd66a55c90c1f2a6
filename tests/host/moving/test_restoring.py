"""A state of another version at a start and in a checkpoint: code_change has it first, and only where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import SwapError
from dspex_runtime.host.checkpoint_image import give_back, take
from dspex_runtime.host.moving.restoring import give_user_state
from dspex_runtime.params.parameter import Parameter
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class One(dx.GenServer):
    __version__ = "1"
    n = Parameter(int, 0)

    def init(self) -> Any:
        return {"init": True}

    def set_state(self, saved: Any, state: Any) -> Any:
        return {**state, **saved}


class Two(One):
    __version__ = "2"

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        if state.get("bad"):
            raise ValueError("a bad state")
        return {**state, "from": old_version, "extra": extra}


def image_of(old: Any, **more: Any) -> Any:
    taken = take("manual", old.assignment, old.hosted, old.owner, CODEC, {})
    return replace(taken, **more)


def test_a_checkpoint_of_another_version_goes_through_code_change(version: Any) -> None:
    old, new = version(One), version(Two)
    old.hosted.state = {"v": 1}
    old.owner.set("n", 4, who="me")
    give_back(image_of(old), new.hosted, new.owner, CODEC, who="restore")
    assert (new.hosted.state, new.owner.get("n")) == ({"init": True, "v": 1, "from": "1", "extra": None}, 4)


def test_one_of_the_same_version_or_of_a_class_without_it_does_not(version: Any) -> None:
    for old, new in ((version(Two), version(Two)), (version(Two), version(One))):
        old.hosted.state = {"v": 1}
        give_back(image_of(old), new.hosted, new.owner, CODEC, who="restore")
        assert new.hosted.state == {"init": True, "v": 1}


def test_a_code_change_that_fails_leaves_everything_as_it_was(version: Any) -> None:
    old, new = version(One), version(Two)
    old.hosted.state = {"bad": True}
    old.owner.set("n", 4, who="me")
    with pytest.raises(SwapError, match="code_change of 'sup/it' failed: ValueError: a bad state"):
        give_back(image_of(old), new.hosted, new.owner, CODEC, who="restore")
    assert (new.hosted.state, new.owner.get("n")) == ({"init": True}, 0)


class Bare(dx.GenServer):
    """A server that keeps nothing; what a swap has found in it is in that one checkpoint."""

    __version__ = "1"

    def init(self) -> Any:
        return "init"


class BareTwo(Bare):
    __version__ = "2"

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        return [old_version, state]


@pytest.mark.parametrize(("found", "expected"), [(Bare, "before"), (BareTwo, ["1", "before"]), (One, {"init": True, "b": 1})])
def test_the_checkpoint_before_a_swap_gives_back_a_plain_state(version: Any, found: Any, expected: Any) -> None:
    old, new = version(Bare), version(found)
    old.hosted.state = {"b": 1} if found is One else "before"
    give_back(old.image(), new.hosted, new.owner, CODEC, who="restore")
    assert new.hosted.state == expected
    give_back(image_of(old), new.hosted, new.owner, CODEC, who="restore")
    assert new.hosted.state == expected, "any other has none"


def test_a_kept_state_is_changed_at_a_start(version: Any) -> None:
    new = version(Two)
    give_user_state({"v": 1}, None, new.hosted, new.owner, id="sup/it")
    assert new.hosted.state == {"init": True, "v": 1, "from": None, "extra": None}
    with pytest.raises(SwapError, match="a bad state"):
        give_user_state({"bad": 1}, "1", new.hosted, new.owner, id="sup/it")
    assert "bad" not in new.hosted.state


@pytest.mark.parametrize(("kept_by", "changed"), [("1", True), ("2", False), (None, True)])
def test_a_start_asks_for_the_version_of_what_is_kept(version: Any, kept_by: Any, changed: bool) -> None:
    new = version(Two)
    new.parameters._user, new.parameters._user_version = CODEC.pack([{"v": 1}]), kept_by
    new.parameters._hosted = new.hosted
    new.parameters.give_user_state()
    assert ("from" in new.hosted.state, new.hosted.state["v"]) == (changed, 1)


def test_a_state_that_code_change_refuses_is_reported_and_left(version: Any) -> None:
    new = version(Two)
    new.parameters._user, new.parameters._user_version = CODEC.pack([{"bad": 1}]), "1"
    new.parameters.give_user_state()
    assert new.hosted.state == {"init": True}
    assert "a bad state" in new.pipe.told[-1]["message"]


# -- modules


@pytest.fixture
def programs() -> Any:
    from dspex_runtime.modules.module import Module

    class Old(Module):
        __version__ = "1"
        ratio = Parameter(float, 0.5)

        def forward(self) -> None: ...

        def get_state(self) -> Any:
            return vars(self).get("seen")

        def set_state(self, state: Any) -> None:
            self.seen = state

    class New(Old):
        __version__ = "2"
        ratio = Parameter(float, 50.0)

        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            params = {"ratio": state["params"]["ratio"] * 100}
            return {"params": params, "state": [old_version, state["state"]]}

    return Old, New


def test_a_module_s_checkpoint_is_converted_with_its_parameters(version: Any, programs: Any) -> None:
    old, new = map(version, programs)
    old.owner.set("ratio", 0.25, who="me")
    old.hosted.program[0].seen = "state"
    assert give_back(image_of(old), new.hosted, new.owner, CODEC, who="restore") == {"ratio": 2}
    assert (new.owner.get("ratio"), new.hosted.program[0].seen) == (25.0, ["1", "state"])


def test_at_a_start_only_the_state_is_taken(version: Any, programs: Any) -> None:
    new = version(programs[1])
    give_user_state("state", "1", new.hosted, new.owner, id="sup/it")
    assert (new.owner.get("ratio"), new.hosted.program[0].seen) == (50.0, ["1", "state"])
