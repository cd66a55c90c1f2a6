"""What a replica is asked for the others: versions, values, and to take theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.host.keeping import contents_of, memfd_of
from dspex_runtime.host.sharing import Sharing
from dspex_runtime.params.spec import ParameterSpec, ParameterType
from dspex_runtime.wire import messages as m
from helpers.owners import CODEC, Keeper, specs

SPECS = {
    **specs(k=(int, {"default": 1}), words=(list, {"default": []})),
    "predict": ParameterSpec(ParameterType.PREDICTOR, default={"demos": []}),
}


class Desk:
    """The control pipe: keeps what is answered, and gives what the parent has sent."""

    def __init__(self) -> None:
        self.answers: list[list[Any]] = []
        self.given: list[bytes] = []
        self.fds: list[int] = []

    def take_fd(self) -> int:
        return self.fds.pop(0)

    def reply(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        self.answers.append(message)
        self.given += [contents_of(os.dup(fd)) for fd in fds]

    def fault(self, exc: BaseException) -> dict[str, Any]:
        return {"message": str(exc)}

    def event(self, payload: dict[str, Any]) -> None:
        raise AssertionError(payload)


class Loop:
    """Puts off what is for the main thread."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def run_on_main(self, function: Callable[[], None]) -> None:
        self.later.append(function)


class Replica:
    """One process, as far as its parameters go."""

    def __init__(self, folder: Path, *, has_any: bool = True) -> None:
        self.keeper = Keeper(folder)
        self.owner = self.keeper.start(SPECS) if has_any else None
        self.desk, self.loop = Desk(), Loop()
        parameters: Any = SimpleNamespace(owner=self.owner, codec=CODEC)
        loop: Any = self.loop
        self.sharing = Sharing(loop, parameters, self.desk)

    def asked(self, op: str, **args: Any) -> Any:
        self.sharing.serve(7, op, args)
        (kind, number, value) = self.desk.answers.pop()
        assert number == 7
        return value if kind == m.REPLY else ValueError(value["message"])

    def values(self, **args: Any) -> tuple[Any, dict[str, Any]]:
        told = self.asked("shared_values", **args)
        return told, CODEC.unpack(self.desk.given.pop())[0]

    def take(self, copies: dict[str, Any]) -> Any:
        self.desk.fds.append(memfd_of(CODEC.pack([copies])))
        return self.asked("shared_take")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    replicas = Replica(tmp_path / "a"), Replica(tmp_path / "b")
    yield replicas
    for replica in replicas:
        replica.keeper.kill_runtime()


def test_versions_are_of_all_parameters(two: tuple[Replica, Replica]) -> None:
    assert two[0].asked("shared_versions") == {"k": 1, "words": 1, "predict": 1}


def test_one_without_parameters_has_none(tmp_path: Path) -> None:
    replica = Replica(tmp_path, has_any=False)
    assert replica.asked("shared_versions") == {}
    assert replica.values() == ({"n": 0, "versions": {}, "behind": False}, {})
    assert replica.take({"k": (2, b"", b"")}) == {}
    assert replica.asked("shared_raise", above={"k": 3}) is None


def test_what_the_other_lacks_goes_from_one_to_the_other(two: tuple[Replica, Replica]) -> None:
    a, b = two
    assert a.owner is not None
    assert b.owner is not None
    a.owner.set("k", 5, who="x")
    told, copies = a.values(newer=b.asked("shared_versions"))
    assert told == {"n": 1, "versions": {"k": 2, "words": 1, "predict": 1}, "behind": False}
    assert b.take(copies) == {}
    assert (b.owner.get("k"), b.owner.version("k")) == (5, 2)


def test_it_says_when_the_other_has_something_newer(two: tuple[Replica, Replica]) -> None:
    told, copies = two[0].values(newer={"k": 2})
    assert (told["behind"], "k" in copies) == (True, False)


def test_names_say_what_is_wanted(two: tuple[Replica, Replica]) -> None:
    _, copies = two[0].values(names=["words"])
    assert list(copies) == ["words"]


def test_what_it_has_otherwise_is_told_and_can_be_set_above(two: tuple[Replica, Replica]) -> None:
    a, b = two
    assert a.owner is not None
    assert b.owner is not None
    a.owner.set("k", 5, who="x")
    for k in (7, 8):
        b.owner.set("k", k, who="y")
    assert b.take(a.values(names=["k"])[1]) == {"k": 3}
    assert a.asked("shared_raise", above={"k": 3}) is None
    assert b.take(a.values(names=["k"])[1]) == {}
    assert (b.owner.get("k"), b.owner.version("k")) == (5, 4)


def test_what_a_running_call_may_use_is_taken_between_two_calls(two: tuple[Replica, Replica]) -> None:
    a, b = two
    assert a.owner is not None
    assert b.owner is not None
    a.owner.set("predict", {"demos": [1]}, who="x")
    b.desk.fds.append(memfd_of(CODEC.pack([a.values(names=["predict"])[1]])))
    b.sharing.serve(8, "shared_take", {})
    assert b.desk.answers == []
    (function,) = b.loop.later
    function()
    assert b.desk.answers == [[m.REPLY, 8, {}]]
    assert b.owner.version("predict") == 2


def test_a_value_that_is_refused_is_a_fault(two: tuple[Replica, Replica]) -> None:
    words = two[0].values(names=["words"])[1]["words"]
    answer = two[1].take({"k": (9, words[1], words[2])})
    assert isinstance(answer, ValueError)
