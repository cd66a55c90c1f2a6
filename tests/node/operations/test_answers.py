"""A supervisor's answer, as a client gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dspex_runtime.errors import NoProcessError, SupervisorError
from dspex_runtime.node.operations.answers import done, identity, started, supervisor_of, value
from dspex_runtime.node.registry import Record
from dspex_runtime.node.session import Responder
from dspex_runtime.types import Kind
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
    done(runtime.node, to)("whatever", None)
    done(runtime.node, to)(None, REFUSAL)
    assert answers == [("reply", None), ("fail", REFUSAL)]


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
