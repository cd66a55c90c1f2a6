"""Many calls in one go, of real modules: from a program and inside a `forward`, for threads and for tasks."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.dummies import DummyLM

import dspex_runtime as dx
from helpers.system import Start, asker, part
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def lm() -> Any:
    with dspy.context(lm=DummyLM([{"answer": "because"}] * 50), track_usage=False):
        yield


def test_gather_by_id_by_reference_and_by_proxy(shared: Start) -> None:
    rt = shared(part("retriever", "Retriever"), asker("a"))
    results = dict(
        rt.gather(
            [
                ("retriever", {"question": "id"}),
                ("ref", rt.ref("retriever"), {"question": "ref"}),
                ("proxy", rt.module("retriever"), ["proxy", 1]),
                ("a", "request"),
                ("nobody", {"question": "x"}),
                ("wrong", "retriever", {"colour": "red"}),
            ],
            timeout=20,
        )
    )
    assert results["retriever"].passages == ["id 0", "id 1"]
    assert results["ref"].passages == ["ref 0", "ref 1"]
    assert results["proxy"].passages == ["proxy 0"]
    assert results["a"] == "request"
    assert isinstance(results["nobody"], dx.NoProcessError)
    assert isinstance(results["wrong"], TypeError)


@pytest.mark.usefixtures("lm")
def test_the_callers_settings_go_along_and_what_was_traced_comes_back(shared: Start) -> None:
    rt = shared(part("reader", "Reader"))
    reader = rt.module("reader")
    with dspy.context(trace=[]):
        ((label, result),) = rt.gather([(reader, {"question": "why", "passages": ["p"]})])
        assert (label, result.answer) == ("reader", "because")
        ((predictor, inputs, _),) = dspy.settings.trace
        assert (predictor, inputs["question"]) == (reader.answer, "why")


def test_map_keeps_the_order_and_uses_as_much_as_there_is(shared: Start) -> None:
    rt = shared(part("retriever", "Retriever", concurrency=3))
    told: list[Any] = []
    found = rt.map("retriever", ({"question": f"q{n}"} for n in range(50)), on_progress=lambda *how: told.append(how))
    assert [each.passages[0] for each in found] == [f"q{n} 0" for n in range(50)]
    assert told[-1] == (50, None)
    examples = [dspy.Example(question=f"q{n}", answer="x").with_inputs("question") for n in range(3)]
    assert [each.question for each in rt.map(rt.module("retriever"), examples)] == ["q0", "q1", "q2"]


def test_map_over_a_group_uses_all_replicas(shared: Start) -> None:
    rt = shared(part("retriever", "Retriever", replicas=2))
    found = rt.map("retriever", [{"question": f"q{n}"} for n in range(40)])
    assert [each.question for each in found] == [f"q{n}" for n in range(40)]
    assert {each.pid for each in found} == {rt.info(f"retriever#{n}").pid for n in range(2)}


def test_a_pipeline_gives_each_stage_what_it_takes(shared: Start) -> None:
    rt = shared(part("retriever", "Retriever"), part("joiner", "Joiner", concurrency=2))
    ask = rt.pipeline("retriever", "joiner", timeout=20)
    assert ask(question="why").answer == "why: 2"  # `pid` is none of the joiner's inputs
    found = ask.map([{"question": f"q{n}"} for n in range(10)], timeout=20)
    assert [each.answer for each in found] == [f"q{n}: 2" for n in range(10)]
    with pytest.raises(dx.CallTimeoutError):
        rt.pipeline("retriever", "joiner", timeout=0)(question="why")
    with pytest.raises(dx.NoProcessError):
        rt.pipeline("retriever", "nobody")(question="why")


def test_inside_a_forward(shared: Start, tmp_path: Path) -> None:
    names = {"scatter": "Scatter", "retriever": "Retriever", "other": "Retriever", "joiner": "Joiner", "hop": "Hop"}
    rt = shared(*(part(id, name) for id, name in names.items()), asker("a"))
    scatter = rt.module("scatter")
    assert scatter(question="q", ids=["retriever", "other"]).found == {"retriever": 2, "other": 2}
    assert scatter.dx.call("mapped", ["x", "y", "z"]) == ["x 0", "y 0", "z 0"]
    assert scatter.dx.call("piped", "why") == "why: 2"
    assert scatter.dx.call("inline", "q") == [1, 2]
    assert list(scatter.dx.call("first", str(tmp_path / "gate"))) == ["a", "x"]
    wait_until((tmp_path / "gate.given-up").exists)


def test_inside_an_async_method(shared: Start) -> None:
    rt = shared(part("scatter", "Scatter"), part("retriever", "Retriever"), part("joiner", "Joiner"))
    assert rt.ref("scatter").call("awaited", "why") == [["retriever"], [0, 1, 2], "why: 2"]


def test_for_tasks(shared: Start) -> None:
    rt = shared(part("retriever", "Retriever", concurrency=2), asker("a"))
    socket = rt.status()["socket"]

    async def main() -> Any:
        art = await dx.aio.connect(socket)
        calls = [("retriever", {"question": "q"}), ("server", "a", "x"), ("ref", await art.ref("retriever"), {"question": "r"})]
        results = {label: result async for label, result in art.gather(calls, timeout=20)}
        assert (results["server"], len(results["retriever"].passages), results["ref"].question) == ("x", 2, "r")
        found = await art.map("retriever", ({"question": f"q{n}"} for n in range(20)), timeout=20)
        assert [each.question for each in found] == [f"q{n}" for n in range(20)]
        piped = await art.pipeline("a", "retriever", timeout=inf)({"question": "z"})
        assert piped.passages == ["z 0", "z 1"]
        await art.close()

    asyncio.run(main())


def test_a_circle_is_found_through_a_gather(shared: Start) -> None:
    rt = shared(part("a", "Hop"), part("b", "Hop", concurrency=2))
    assert rt.ref("a").call("both", ["b"], ["b", "a"]) == [["a", "b", "a"], "b"]


def test_outside_a_module_there_are_no_ids() -> None:
    with pytest.raises(RuntimeError, match=r"only inside a module process; a client has rt\.gather"):
        dx.gather([("qa", {})])
    with pytest.raises(RuntimeError, match=r"rt\.aio"):
        asyncio.run(_collected(dx.aio.gather([("qa", {})])))


async def _collected(responses: Any) -> list[Any]:
    return [response async for response in responses]


def test_a_program_with_its_parts_inline_needs_no_runtime() -> None:
    """As in a unit test of a composite."""
    results = dict(dx.gather([("one", lambda n: n + 1, [1]), ("two", lambda n: n + 1, {"n": 2})]))
    assert results == {"one": 2, "two": 3}
    assert dx.map(lambda n: 2 * n, [[1], [2]]) == [2, 4]
    assert dx.pipeline(lambda n: {"m": n + 1}, lambda m: m * 2)(n=1) == 4
