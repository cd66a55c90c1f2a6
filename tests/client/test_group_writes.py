"""What of a write the other replicas are told, and what its writer is answered."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from dspex_runtime.client.group_writes import spread, without_expectations
from dspex_runtime.client.steps import run


class Runtime:
    """Answers that all have version 9 of whatever they are asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def request(self, op: str, args: dict[str, Any]) -> Future[Any]:
        self.asked.append((op, args))
        answer: Future[Any] = Future()
        answer.set_result(dict.fromkeys(args["names"], 9))
        return answer


class Pool:
    id = "qa"
    group = None

    def __init__(self) -> None:
        self.connection = Runtime()


class Leader:
    id = "qa#0"
    incarnation = 4


EDIT = {
    "parts": {"predict": {"expect": 3, "attributes": {}}},
    "cells": {"k": {"expect": 2, "attributes": {}}},
    "flags": {"": True},
    "replaced": {"inner": {"expect": {"inner.predict": 1}, "pickle": b""}},
}


def after(method: str, args: tuple[Any, ...], value: Any) -> tuple[list[str], Any]:
    """Return the names that are spread, and the answer."""
    pool: Any = Pool()
    leader: Any = Leader()
    answer = run(spread(pool, leader, method, args, value))
    names = [name for _, asked in pool.connection.asked for name in asked["names"]]
    assert all(asked["with"] == "qa#0" and asked["incarnation"] == 4 for _, asked in pool.connection.asked)
    return names, answer


@pytest.mark.parametrize(("method", "args"), [("$set", ("k", 1, None)), ("$rollback", ("k", 2)), ("$reset", ("k",))])
def test_one_parameter_is_spread_and_has_the_version_that_all_have(method: str, args: tuple[Any, ...]) -> None:
    assert after(method, args, [3, 100.0]) == (["k"], [9, 100.0])


def test_several_are_spread_together() -> None:
    names, answer = after("$set_many", ({"a": 1, "b": 2},), {"a": [3, 1.0], "b": [4, 1.0]})
    assert (names, answer) == (["a", "b"], {"a": [9, 1.0], "b": [9, 1.0]})


def test_none_is_nothing_to_spread() -> None:
    assert after("$set_many", ({},), {}) == ([], {})


def test_of_an_edit_only_what_was_edited_is_spread() -> None:
    versions = {"predict": 4, "k": 3, "inner.predict": 2, "other": 7, "predict2": 1}
    names, answer = after("$edit", (EDIT,), {"versions": versions, "edits": 1})
    assert sorted(names) == ["inner.predict", "k", "predict"]
    assert answer == {"versions": {**versions, "predict": 9, "k": 9, "inner.predict": 9}, "edits": 1}


def test_an_edit_of_the_whole_program_is_of_all_it_has() -> None:
    edit = {**EDIT, "replaced": {"": {"expect": {}, "pickle": b""}}}
    assert after("$edit", (edit,), {"versions": {"a": 1, "b": 1}})[0] == ["a", "b"]


def test_others_take_an_edit_whatever_versions_they_have() -> None:
    free = without_expectations(EDIT)
    assert [free["parts"]["predict"]["expect"], free["cells"]["k"]["expect"], free["replaced"]["inner"]["expect"]] == [
        None,
        None,
        {},
    ]
    assert free["flags"] == {"": True}
    assert EDIT["parts"]["predict"]["expect"] == 3  # the edit itself stays as it is
