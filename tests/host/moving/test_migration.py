"""Migrations as a table: what is called with what, what is taken of what it returns, and how it is refused."""

from __future__ import annotations

from typing import Any

import cloudpickle
import pytest

from dspex_runtime.errors import ConstraintViolationError, SwapError
from dspex_runtime.host.moving import migration
from dspex_runtime.params import values
from dspex_runtime.params.constraints import refusal
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class Host:
    """What is hosted: with a code_change, or without."""

    def __init__(self, *, changes_code: bool = True) -> None:
        self.changes_code = changes_code

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        return ["code_change", old_version, state, extra]


def chosen(migrate: Any = None, *, extra: Any = None, changes_code: bool = True) -> Any:
    hosted: Any = Host(changes_code=changes_code)
    packed = [None if each is None else cloudpickle.dumps(each) for each in (migrate, extra)]
    return migration.chosen(packed[0], hosted, "1", packed[1], "sup/it")


def with_default(state: Any, old_version: Any = "nobody's") -> Any:
    return [state, old_version]


CALLED = [
    ("the state", lambda state: [state], ["s"]),
    ("version and state", lambda old, state: [old, state], ["1", "s"]),
    ("all three", lambda old, state, extra: [old, state, extra], ["1", "s", "x"]),
    ("as few as it needs", with_default, ["s", "nobody's"]),
    ("any number", lambda *args: list(args), ["s"]),
    ("a class of Python's own", str, "s"),
]


@pytest.mark.parametrize(("_", "function", "result"), CALLED, ids=[name for name, _, _ in CALLED])
def test_a_function_is_called_with_as_much_as_it_takes(_: str, function: Any, result: Any) -> None:
    assert chosen(function, extra="x")("s") == result


def test_what_the_caller_gives_goes_before_code_change_and_without_both_there_is_none() -> None:
    assert chosen(extra="x")("s") == ["code_change", "1", "s", "x"]
    assert chosen(lambda state: "given")("s") == "given"
    assert chosen(changes_code=False) is None


@pytest.mark.parametrize("function", [lambda: 0, lambda a, b, c, d: 0])
def test_a_function_that_cannot_be_called_like_that_is_refused(function: Any) -> None:
    with pytest.raises(SwapError, match=r"migrate of 'sup/it' takes \(state\), .* not \(.*\)") as caught:
        chosen(function)
    assert caught.value.code == "migrate"


def test_a_function_that_cannot_be_rebuilt_says_why() -> None:
    hosted: Any = Host()
    with pytest.raises(SwapError, match="migrate, rebuilt in the new version of 'sup/it', failed: UnpicklingError"):
        migration.chosen(b"no pickle", hosted, "1", None, "sup/it")


BEFORE = {"n": 1, "ratio": 0.5, "words": ["a", "b"]}


def migrated(change: Any, state: Any = "state") -> migration.Migrated:
    params = {name: bytes(values.encode(CODEC, value)) for name, value in BEFORE.items()}
    return migration.migrated(change, params, state, CODEC, what="migrate", id="sup/it")


def in_place(before: Any) -> Any:
    before["params"]["words"].append("c")
    return before


TAKEN = [
    ("as it was", lambda before: before, ({}, [], "state")),
    ("equal, and made anew", lambda before: {"params": {"n": 1, "ratio": 0.5, "words": ["a", "b"]}, "state": 0}, ({}, [], 0)),
    ("changed", lambda before: {**before, "params": {**before["params"], "ratio": 50}}, ({"ratio": 50}, [], "state")),
    ("changed in place", in_place, ({"words": ["a", "b", "c"]}, [], "state")),
    ("of another type", lambda before: {**before, "params": {**before["params"], "n": 1.0}}, ({"n": 1.0}, [], "state")),
    ("new", lambda before: {**before, "params": {**before["params"], "new": None}}, ({"new": None}, [], "state")),
    ("left out", lambda before: {"params": {"n": 1}, "state": None}, ({}, ["ratio", "words"], None)),
]


@pytest.mark.parametrize(("_", "change", "expected"), TAKEN, ids=[name for name, _, _ in TAKEN])
def test_what_a_module_s_migration_returns_is_compared_with_what_it_got(_: str, change: Any, expected: Any) -> None:
    made = migrated(change)
    assert (made.params, list(made.dropped), made.state) == expected


WRONG = [None, {"params": {}}, {"state": 0}, {"params": [1], "state": 0}, [1]]


@pytest.mark.parametrize("result", WRONG, ids=repr)
def test_another_shape_is_refused_and_said(result: Any) -> None:
    with pytest.raises(SwapError, match=r"migrate of 'sup/it' is to return what it was given: .*; got ") as caught:
        migrated(lambda _: result)
    assert caught.value.code == "migrate"


def test_names_are_text() -> None:
    with pytest.raises(SwapError, match="returned a parameter named 1; names are text"):
        migrated(lambda _: {"params": {1: 1}, "state": None})


def failing(_: Any) -> Any:
    raise LookupError("no such thing")


def test_what_raises_is_told_with_the_users_traceback_and_not_ours() -> None:
    with pytest.raises(SwapError) as caught:
        migrated(failing)
    error = caught.value
    assert (error.code, error.id, error.message) == ("migrate", "sup/it", "migrate failed: LookupError: no such thing")
    assert error.remote_traceback is not None
    assert "in failing" in error.remote_traceback
    assert "dspex_runtime/host" not in error.remote_traceback


def test_exit_is_no_way_out() -> None:
    with pytest.raises(SwapError, match="migrate failed: SystemExit: 3"):
        migrated(lambda _: exit(3))


def test_a_value_of_a_class_that_is_gone_is_named() -> None:
    with pytest.raises(SwapError, match="the value of n of 'sup/it' cannot be read here"):
        migration.migrated(lambda x: x, {"n": b"\xc7\x01\x14x"}, None, CODEC, what="migrate", id="sup/it")


def test_a_refused_value_says_parameter_constraint_and_value_and_promises_nothing() -> None:
    refused: ConstraintViolationError = refusal("target", "max", 30, 99, "at most 30 (max)")
    error = migration.refused(refused, "migrate of 'sup/it'", "sup/it")
    assert str(error) == "migrate of 'sup/it': target must be at most 30 (max); got 99 (int)"
    assert error.remote_traceback is None


def test_a_parameter_that_nobody_declares_is_perhaps_another_one() -> None:
    error = migration.undeclared("tempo", ["temp"], "migrate of 'sup/it'", "sup/it")
    assert "'sup/it' has no parameter 'tempo'; it has temp" in str(error)
