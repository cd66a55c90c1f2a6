"""Whom gather, map and pipeline call: what stands for a child, and what its inputs mean."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client.callees import AWAITED_AT_ONCE, Callee, Local, Module, Server, fields_of, find
from dspex_runtime.client.ids import Via
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.steps import run
from dspex_runtime.errors import ConfigError
from helpers.words import Words


@pytest.fixture
def home(session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, "dspy", raising=False)  # as in a program that has not imported it
    return SimpleNamespace(session=session)


def told(kind: str, **facts: Any) -> dict[str, Any]:
    return {"id": "x", "kind": kind, "at_once": 1, "awaited": False, "takes": None, **facts}


def one(home: Any, target: Any, **options: Any) -> Callee:
    (found,) = run(find(home, [target], **options))
    return found


def test_references_need_no_question(runtime: Any, session: Any, home: Any) -> None:
    assert isinstance(one(home, ServerRef(session, "a")), Server)
    assert isinstance(one(home, ModuleRef(session, "a")), Module)
    assert isinstance(one(home, print), Local)
    assert not [message for message in runtime.asked if "callees" in message]


def test_an_id_is_what_the_runtime_says_it_is(runtime: Any, home: Any) -> None:
    runtime.handlers["callees"] = lambda args: [told("server") if id == "s" else told("module") for id in args["ids"]]
    kinds = [type(each) for each in run(find(home, ["s", "m", "s"]))]
    assert kinds == [Server, Module, Server]


def test_one_that_there_is_not_is_called_all_the_same(runtime: Any, home: Any) -> None:
    runtime.handlers["callees"] = lambda args: [None]
    assert one(home, "nobody").id == "nobody"


def test_a_key_is_whoever_holds_it(runtime: Any, home: Any) -> None:
    runtime.handlers["whereis"] = lambda args: {"id": "s", "kind": "server"}
    runtime.handlers["callees"] = lambda args: [told("server")]
    assert one(home, Via("k")).id == "s"


def test_facts_are_asked_of_references_too(runtime: Any, session: Any, home: Any) -> None:
    runtime.handlers["callees"] = lambda args: [told("module", at_once=3, takes=["question"])]
    found = one(home, ModuleRef(session, "m"), facts=True)
    assert (found.at_once, found.takes) == (3, ["question"])
    runtime.handlers["callees"] = lambda args: [told("module", at_once=2, awaited=True)]
    assert one(home, ModuleRef(session, "m"), facts=True).at_once == 2 * AWAITED_AT_ONCE
    runtime.handlers["callees"] = lambda args: [told("module", at_once=0)]  # a group without replicas: its calls wait
    assert one(home, ModuleRef(session, "m"), facts=True).at_once == 1


@pytest.mark.parametrize("target", [7, None, ["a"], {"id": "a"}], ids=str)
def test_anything_else_is_refused(home: Any, target: Any) -> None:
    with pytest.raises(ConfigError, match="expected an id, a reference, or a program to call"):
        one(home, target)


def test_a_server_gets_its_inputs_as_the_request(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a")
    assert Server(session, "a").run("now") == "NOW"
    assert desk.begun == ["now"]


def test_a_module_gets_keywords_or_positions(runtime: Any, session: Any, module: Any) -> None:
    Words(runtime, module, "a")
    assert Module(session, "a").run({"word": "now"}) == "NOW"
    assert Module(session, "a").run(["now"]) == "NOW"


async def doubled(n: int) -> int:
    return n * 2


class Doubling:
    async def __call__(self, n: int) -> int:
        return n * 2


ASYNC = [doubled, Doubling(), partial(doubled), lambda n: doubled(n)]


@pytest.mark.parametrize("function", ASYNC, ids=["function", "object", "partial", "gives a coroutine"])
def test_what_is_async_is_awaited_by_tasks_and_refused_by_threads(function: Any) -> None:
    callee = Local(function)
    assert asyncio.run(callee.arun({"n": 2})) == 4
    with pytest.raises(ConfigError, match="is async, only a task can call it"):
        callee.run({"n": 2})


class Fields:
    """As a Prediction."""

    def keys(self) -> list[str]:
        return ["a", "b"]

    def __getitem__(self, name: str) -> str:
        return name.upper()


@pytest.mark.parametrize(
    ("value", "fields"),
    [({"a": 1}, {"a": 1}), (Fields(), {"a": "A", "b": "B"}), ("text", None), ([1], None), (None, None), (7, None)],
    ids=["dict", "prediction", "text", "list", "none", "number"],
)
def test_what_has_fields(value: Any, fields: Any) -> None:
    assert fields_of(value) == fields
