"""A stream that nobody reads any more does not keep its module busy; one that is read slowly loses nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import dspy
import pytest
from dspy import lm15

import dspex_runtime as dx
from dspex_runtime.modules.relay import consumer
from dspex_runtime.testing import DummyLM
from helpers.relayed_programs import AsyncWords, Words
from helpers.runtimes import Standing
from helpers.waiting import PATIENCE_S, wait_until

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


class Endless(Words):
    """Streams words for ever; what is not streamed is answered."""

    def stream(self, request: Any) -> Iterator[Any]:
        start, *_ = lm15.response_to_events(self.complete(request))
        yield start
        while True:
            yield lm15.StreamDeltaEvent(delta=lm15.TextDelta(text="word ", part_index=0))


class AsyncEndless(AsyncWords):
    async def stream(self, request: Any) -> Any:
        for event in self.words.stream(request):
            await asyncio.sleep(0)  # as a network would
            yield event


def endless_lm() -> Any:
    words = Endless("[[ ## answer ## ]]\nword\n\n[[ ## completed ## ]]\n")
    return dspy.LM("local/endless", engine=words, async_engine=AsyncEndless(words), cache=False)


async def breaks(program: Any, **options: Any) -> None:
    async for _ in dspy.streamify(program, **options)(question="q"):
        break


async def breaks_async(program: Any) -> None:
    await breaks(program, is_async_program=True)


async def closes(program: Any) -> None:
    chunks = dspy.streamify(program)(question="q")
    await anext(chunks)
    await chunks.aclose()


@pytest.mark.parametrize("abandon", [breaks, breaks_async, closes])
def test_a_module_is_free_again_when_its_stream_is_abandoned(proxy: Any, abandon: Callable[[Any], Any]) -> None:
    with dspy.context(lm=endless_lm()):
        asyncio.run(abandon(proxy))
        assert proxy(question="q").answer == "word"


def test_a_consumer_that_is_slow_gets_everything(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_LOOK_S", 0.0)  # so that every chunk that waits is looked after

    async def slow() -> list[Any]:
        taken = []
        async for chunk in dspy.streamify(proxy)(question="q"):
            for _ in range(20):
                await asyncio.sleep(0)
            taken.append(chunk)
        return taken

    with dspy.context(lm=DummyLM({"re:.": {"answer": "word " * 500}})):
        taken = asyncio.run(slow())
    assert len(taken) > 400
    assert taken[-1].answer.count("word") == 500


# -- what a worker thread is told, without a module


class Worker:
    """Runs a function in a worker thread of a loop, as `dspy.streamify` does, and keeps how it ended."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._work = work

    def __call__(self) -> None:
        self.began.set()
        try:
            self._work()
        except BaseException as exc:
            self.error = exc
        self.ended.set()

    async def run(self) -> None:
        await anyio.to_thread.run_sync(self, abandon_on_cancel=True)

    async def begin(self) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.run())
        await asyncio.to_thread(self.began.wait, PATIENCE_S)
        return task


def test_what_is_watched_is_closed_when_the_loop_ends() -> None:
    closed = threading.Event()

    def work() -> None:
        with consumer.watched(closed.set):
            assert closed.wait(PATIENCE_S)

    worker = Worker(work)
    asyncio.run(worker.begin())
    assert worker.ended.wait(PATIENCE_S)
    assert worker.error is None


def test_a_send_ends_when_the_loop_is_closed_before_it_came_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_LOOK_S", 0.01)
    go = threading.Event()

    async def taken() -> None: ...

    def work() -> None:
        assert go.wait(PATIENCE_S)
        consumer.send(taken)

    worker, loop = Worker(work), asyncio.new_event_loop()
    task = loop.run_until_complete(worker.begin())
    go.set()
    wait_until(lambda: loop._ready, what="a send that waits for the loop")  # type: ignore[attr-defined]
    loop.close()
    assert worker.ended.wait(PATIENCE_S)
    assert isinstance(worker.error, asyncio.CancelledError)
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_send_for_a_task_that_was_cancelled_is_not_begun() -> None:
    go, sent = threading.Event(), []

    async def taken() -> None:
        sent.append(1)

    def work() -> None:
        assert go.wait(PATIENCE_S)
        consumer.send(taken)

    async def main() -> None:
        worker = Worker(work)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await asyncio.to_thread(worker.began.wait, PATIENCE_S)
            group.cancel_scope.cancel()
        go.set()
        assert await asyncio.to_thread(worker.ended.wait, PATIENCE_S)
        assert isinstance(worker.error, asyncio.CancelledError)

    asyncio.run(main())
    assert sent == []
