"""A supervisor's answer, as a client gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dspex_runtime.errors import NoProcessError, SupervisorError
from dspex_runtime.node.operations.answers import done, identity, started, supervisor_of, value
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.types import Kind
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import FakeNode, server
from helpers.fake_tree import group, worker

REFUSAL = SupervisorError("running", "it runs")


@dataclass
class FakeResponder:
    """Keeps the one answer."""

    answers: list[Any] = field(default_factory=list)

    def reply(self, value: Any) -> None:
        self.answers.append(("reply", value))

    def fail(self, error: BaseException) -> None:
        self.answers.append(("fail", error))


def responder() -> tuple[list[Any], Responder]:
    fake = FakeResponder()
    return fake.answers, cast(Responder, fake)


def test_done_says_nothing_more(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    answers, to = responder()
    done(runtime.node, "a", to)("whatever", None)
    done(runtime.node, "a", to)(None, REFUSAL)
    assert answers == [("reply", None), ("fail", REFUSAL)]


NEEDING = (
    server("y"), server("z"), server("qa", replicas=2), server("x", depends_on={"y": "fail"}),
    server("w", depends_on={"z": "fail", "qa": "fail"}),
)  # fmt: skip


@pytest.fixture
def depending(runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeNode, dict[str, list[Callable[[], None]]]]:
    """Return a runtime where x and w go by what they are told when the test says so; x is told something already."""
    runtime.boot(*NEEDING, max_restarts=100)
    heard: dict[str, list[Callable[[], None]]] = {"x": [], "w": []}
    for id, told in heard.items():
        monkeypatch.setattr(runtime.process(id), "depend", lambda _table, done, told=told: told.append(done))
    assert answers_to(runtime, "stop", id="y") == []
    assert len(heard["x"]) == 1
    return runtime, heard


def answers_to(runtime: FakeNode, op: str, /, **args: Any) -> list[Any]:
    """Ask, let all happen that does by itself, and return what was answered until then."""
    number = runtime.owner.begin(op, **args)
    for _ in range(20):
        runtime.turn()
    return [message[0] for message in runtime.owner.heard() if message[1] == number]


Depending = tuple[FakeNode, dict[str, list[Callable[[], None]]]]


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("stop", {"id": "z"}),
        ("delete", {"id": "z"}),
        ("restart", {"id": "z"}),
        ("terminate_child", {"supervisor": "root", "id": "z"}),
        ("start", {"spec": server("new")}),
    ],
)
def test_who_has_not_heard_of_something_else_is_not_waited_for(depending: Depending, op: str, args: dict[str, Any]) -> None:
    runtime, heard = depending
    assert answers_to(runtime, op, **args) == ([] if "id" in args else [REPLY])
    for hears in heard["w"]:
        hears()
    runtime.turn()
    assert [message[0] for message in runtime.owner.heard()] == ([REPLY] if "id" in args else [])
    assert len(heard["x"]) == 1


def test_an_error_does_not_wait(depending: Depending) -> None:
    runtime, _ = depending
    assert answers_to(runtime, "start_child", supervisor="root", spec=server("y")) == [FAULT]
    assert answers_to(runtime, "restart_child", supervisor="root", id="nobody") == [FAULT]


@pytest.mark.parametrize(
    ("op", "args"), [("stop", {}), ("delete", {}), ("restart", {}), ("scale", {"n": 0}), ("start", {"spec": {"id": "qa"}})]
)
def test_a_groups_answer_waits_for_those_that_depend_on_it(depending: Depending, op: str, args: dict[str, Any]) -> None:
    runtime, heard = depending
    if op == "start":
        answers_to(runtime, "stop", id="qa")
        heard["w"].pop()()
        runtime.turn()
        runtime.owner.heard()
    found = answers_to(runtime, op, **({"id": "qa"} if op != "start" else {}), **args)
    if op == "restart":  # one after the other: it has been up all the time, and there was nothing to tell
        assert (found, heard["w"]) == ([REPLY], [])
        return
    assert found == []
    for hears in heard["w"]:
        hears()
    runtime.turn()
    assert [message[0] for message in runtime.owner.heard()] == [REPLY]


def test_value_is_passed_on() -> None:
    answers, to = responder()
    value(to)([1], None)
    value(to)(None, REFUSAL)
    assert answers == [("reply", [1]), ("fail", REFUSAL)]


def test_started_is_who_it_is_now(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    answers, to = responder()
    for full_id, error in (("a", None), (None, None), ("gone already", None), (None, REFUSAL)):
        started(runtime.node, to)(full_id, error)
    undefined = ("reply", "undefined")
    assert answers == [("reply", {"id": "a", "incarnation": 1, "kind": "server"}), undefined, undefined, ("fail", REFUSAL)]


@pytest.mark.parametrize(("kind", "expected"), [(None, "server"), (Kind.MODULE, "module")])
def test_the_kind_is_what_the_process_turned_out_to_be(kind: Kind | None, expected: str) -> None:
    assert identity(Record("g/a", worker("a"), incarnation=3, kind=kind)) == {"id": "g/a", "incarnation": 3, "kind": expected}


def test_a_supervisor_is_found_by_its_id_and_nothing_else_is_one(runtime: FakeNode) -> None:
    runtime.boot(server("a"))
    runtime.node.registry.ensure("g/h", group("h"))
    assert supervisor_of(runtime.node, "h").id == "g/h"
    with pytest.raises(SupervisorError, match="'a' is a server, not a supervisor") as caught:
        supervisor_of(runtime.node, "a")
    assert caught.value.code == "not_found"
    with pytest.raises(NoProcessError):
        supervisor_of(runtime.node, "nobody")
