"""Calls in a row: what one gives is what the next one takes."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.client.callees import Callee, Local, Server
from dspex_runtime.client.mapping import amap_calls
from dspex_runtime.client.pipelines import AsyncPipeline, Pipeline, Row
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.errors import CallTimeoutError, ConfigError
from helpers.words import Words


class Stage(Local):
    """A program of this process that says what it takes."""

    def __init__(self, function: Any, takes: list[str] | None = None, at_once: int = 1) -> None:
        super().__init__(function)
        self.takes = takes
        self.at_once = at_once


class Fields:
    """As a Prediction: neither a dict nor iterable over its names."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def keys(self) -> Any:
        return self._fields.keys()

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]


def retrieve(question: str) -> Any:
    return {"question": question, "passages": [question] * 2, "scores": [1, 2]}


def answer(question: str, passages: list[str]) -> Fields:
    return Fields(answer=f"{question}: {len(passages)}", cost=3)


def shout(answer: str) -> str:
    return answer.upper()


HOME: Any = SimpleNamespace(session=None)
STAGES = [Stage(retrieve, ["question"]), Stage(answer, ["question", "passages"]), Stage(shout, ["answer"])]


@pytest.fixture(params=["thread", "task"])
def piped(request: pytest.FixtureRequest) -> Any:
    """Makes a pipeline that is called, and one whose results are waited for."""
    if request.param == "thread":
        return lambda *stages, **options: Pipeline(options.get("home", HOME), stages, options.get("timeout"))

    def made(*stages: Any, **options: Any) -> Any:
        pipeline = AsyncPipeline(options.get("home", HOME), stages, options.get("timeout"))

        def call(*args: Any, **inputs: Any) -> Any:
            return asyncio.run(pipeline(*args, **inputs))

        call.map = lambda inputs, **how: asyncio.run(pipeline.map(inputs, **how))  # type: ignore[attr-defined]
        return call

    return made


def test_a_stage_gets_the_fields_that_it_takes(piped: Any) -> None:
    assert piped(*STAGES)(question="why") == "WHY: 2"


def test_one_that_does_not_say_gets_them_all(piped: Any) -> None:
    got: list[Any] = []
    piped(STAGES[0], Stage(lambda **fields: got.append(fields)))(question="why")
    assert got == [retrieve("why")]


def test_the_first_gets_what_it_is_given(piped: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        piped(*STAGES)(question="why", colour="red")
    assert piped(*STAGES)("why") == "WHY: 2"
    with pytest.raises(ConfigError, match="keywords or positions; got both"):
        piped(*STAGES)("why", question="why")


def test_what_has_no_fields_is_the_one_input(piped: Any) -> None:
    assert piped(STAGES[2], Stage(lambda text: len(text), ["text"]))(answer="abc") == 3
    assert piped(STAGES[2], Stage(lambda text, k=2: text * k))(answer="abc") == "ABCABC"


class Edited:
    """A proxy's mirror, edited."""

    has_edits = True

    def push(self) -> None:
        self.has_edits = False


def test_what_was_edited_of_a_stage_is_sent_first(runtime: Any, session: Any, module: Any, piped: Any) -> None:
    Words(runtime, module, "a")
    runtime.handlers["callees"] = lambda args: [None for _ in args["ids"]]
    mirror: Any = Edited()
    session.edits.track("a", mirror)
    assert piped(ModuleRef(session, "a"), home=SimpleNamespace(session=session))(word="now") == "NOW"
    assert not mirror.has_edits


def test_one_of_tasks_is_a_program_that_tasks_map_over() -> None:
    async def main() -> Any:
        pipeline = AsyncPipeline(HOME, STAGES, None)
        return await amap_calls(
            Local(pipeline), [["a"], ["b"]], concurrency=None, timeout=None, on_progress=None, return_exceptions=False
        )

    assert asyncio.run(main()) == ["A: 2", "B: 2"]


def test_an_error_of_a_stage_is_the_pipelines(piped: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        piped(Stage(lambda n: 1 / n))(n=0)


def test_it_has_a_stage(piped: Any) -> None:
    with pytest.raises(ConfigError, match="at least one stage"):
        piped()


def test_many_go_through_at_once(piped: Any) -> None:
    """Each stage is at another input: a barrier that only all of them together pass."""
    together = threading.Barrier(3)

    def stage(n: int) -> dict[str, int]:
        together.wait(20)
        return {"n": n + 1}

    assert piped(*[Stage(stage, ["n"])] * 3).map([{"n": n} for n in range(3)]) == [{"n": n + 3} for n in range(3)]


def test_errors_may_be_results(piped: Any) -> None:
    found = piped(Stage(lambda n: {"n": 1 / n}), Stage(lambda n: n)).map([{"n": 1}, {"n": 0}], return_exceptions=True)
    assert (found[0], type(found[1])) == (1.0, ZeroDivisionError)


def test_a_row_is_as_wide_as_its_stages_and_carries_their_names(session: Any) -> None:
    row = Row([Stage(retrieve, at_once=2), Stage(answer, at_once=3)])
    assert (row.id, row.at_once, row.session) == ("retrieve -> answer", 5, None)
    assert Row([Server(session, "a"), Server(session, "b")]).session is session
    assert Row([Server(session, "a"), Stage(answer)]).session is None
    assert isinstance(row, Callee)


def test_servers_take_what_comes_as_their_request(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a", "b")
    home = SimpleNamespace(session=session)
    runtime.handlers["callees"] = lambda args: [
        {"id": id, "kind": "server", "at_once": 1, "awaited": False, "takes": None} for id in args["ids"]
    ]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(Pipeline(home, ["a", ServerRef(session, "b")], 20)("x")))
    thread.start()
    desk.answer("x")
    desk.answer("X")
    thread.join(20)
    assert found == ["X"]
    with pytest.raises(ConfigError, match="takes one request; got 2"):
        Pipeline(home, ["a"], 20)("x", "y")


def test_all_stages_have_one_deadline(runtime: Any, session: Any, module: Any) -> None:
    desk = Words(runtime, module, "a", "b")
    runtime.handlers["callees"] = lambda args: [None for _ in args["ids"]]
    home = SimpleNamespace(session=session)
    for id in "ab":
        assert ServerRef(session, id).call("now") == "NOW"  # the pipes are there: the time is that of the stages
    desk.begun.clear()
    desk.deadlines.clear()
    with pytest.raises(CallTimeoutError):
        Pipeline(home, [ServerRef(session, "a"), ServerRef(session, "b")], 1.0)("now")
    assert desk.begun == ["now", "NOW"]
    assert desk.deadlines[0] == desk.deadlines[1]


def test_it_says_what_it_is() -> None:
    assert repr(Pipeline(HOME, ["a", STAGES[0]], None)) == "<Pipeline a -> retrieve>"
