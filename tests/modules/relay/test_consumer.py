"""A stream that nobody reads any more does not keep its module busy; one that is read slowly loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_runtime.modules.relay import consumer
from dspex_runtime.testing import DummyLM
from helpers.runtimes import Standing

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def runtime(standing: Standing) -> dx.Runtime:
    rt = standing("consumer", runtime={"spares": 0}, tree={"children": []})
    rt.start(dspy.Predict("question -> answer"), id="asked")
    return rt


@pytest.fixture
def proxy(runtime: dx.Runtime) -> Iterator[Any]:
    """Of a client of its own for each test: its pipes end with it."""
    with dx.connect("consumer") as rt:
        yield rt.module("asked")


def long_lm() -> DummyLM:
    return DummyLM({"re:.": {"answer": "word " * 500}})


async def breaks(program: Any, **options: Any) -> None:
    async for _ in dspy.streamify(program, **options)(question="q"):
        break


async def breaks_async(program: Any) -> None:
    await breaks(program, is_async_program=True)


async def closes(program: Any) -> None:
    chunks = dspy.streamify(program)(question="q")
    await anext(chunks)
    await chunks.aclose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("abandon", [breaks, breaks_async, closes])
def test_a_module_is_free_again_when_its_stream_is_abandoned(proxy: Any, abandon: Callable[[Any], Any]) -> None:
    with dspy.context(lm=long_lm()):
        asyncio.run(abandon(proxy))
        assert proxy(question="q").answer.startswith("word")


def test_a_consumer_that_is_slow_gets_everything(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_LOOK_S", 0.0)  # so that every chunk that waits is looked after

    async def slow() -> list[Any]:
        taken = []
        async for chunk in dspy.streamify(proxy)(question="q"):
            for _ in range(20):
                await asyncio.sleep(0)
            taken.append(chunk)
        return taken

    with dspy.context(lm=long_lm()):
        taken = asyncio.run(slow())
    assert len(taken) > 400
    assert taken[-1].answer.count("word") == 500
