"""Monitors over a runtime that the test plays: what a notice is worth before, after and without its monitor."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
from concurrent.futures import Future
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.client import aio
from dspex_runtime.client.runtime import Monitor, Runtime
from dspex_runtime.wire.messages import DOWN

KILLED = dx.Down("a", 1, "killed")


def over(session: Any, kind: Any = Runtime) -> Any:
    rt = kind.__new__(kind)
    rt._session = session
    return rt


@pytest.fixture
def rt(runtime: Any, session: Any) -> Any:
    """A client of the fake runtime; its monitors are numbered from 1."""
    numbers = itertools.count(1)
    runtime.handlers["monitor"] = runtime.handlers["link"] = lambda args: {"ref": next(numbers)}
    runtime.handlers["demonitor"] = lambda args: True
    runtime.handlers["ping"] = lambda args: None
    return over(session)


def die(runtime: Any, session: Any, *refs: int) -> None:
    """The process ends; returns when its notices have been read."""
    for ref in refs:
        runtime.push(DOWN, ref, "a", 1, "killed")
    session.connection.request("ping", {}).result(20)


def notices_held() -> int:
    """How many futures there are that somebody holds."""
    gc.collect()
    return sum(isinstance(one, Future) for one in gc.get_objects())


def test_waiting_again_gives_the_same_notice(runtime: Any, session: Any, rt: Any) -> None:
    monitor = rt.monitor("a")
    assert monitor.wait(0) is None
    die(runtime, session, 1)
    assert [monitor.wait(20), monitor.wait(0), monitor.wait()] == [KILLED] * 3


def test_a_notice_may_come_before_the_answer_that_says_its_number(runtime: Any, session: Any, rt: Any) -> None:
    def at_once(args: Any) -> dict[str, int]:
        runtime.push(DOWN, 7, "nobody", 0, "noproc")
        return {"ref": 7}

    runtime.handlers["monitor"] = runtime.handlers["link"] = at_once
    assert rt.monitor("nobody").wait(20) == rt.link("nobody").wait(20) == dx.Down("nobody", 0, "noproc")


def test_monitors_that_were_waited_for_and_forgotten_leave_nothing(runtime: Any, session: Any, rt: Any) -> None:
    rt.monitor("a").wait(0)
    before = notices_held()
    for ref in range(2, 32):
        monitor = rt.monitor("a")
        die(runtime, session, ref)
        assert monitor.wait(20) == KILLED
    del monitor
    assert notices_held() <= before


def test_monitors_that_were_forgotten_before_their_notice_came_leave_nothing(runtime: Any, session: Any, rt: Any) -> None:
    before = notices_held()
    for watch in (rt.monitor, rt.link):
        for _ in range(15):
            watch("a").wait(0)
    assert notices_held() <= before
    die(runtime, session, *range(1, 31))
    assert notices_held() <= before
    assert not [message for message in runtime.asked if "demonitor" in message]  # a link lasts without its `Monitor`


def test_all_who_wait_are_told(runtime: Any, session: Any, rt: Any) -> None:
    monitor, told = rt.monitor("a"), []
    threads = [threading.Thread(target=lambda: told.append(monitor.wait(20))) for _ in range(5)]
    for thread in threads:
        thread.start()
    die(runtime, session, 1)
    for thread in threads:
        thread.join(20)
    assert told == [KILLED] * 5


def test_ending_one_tells_who_waits_for_it_and_keeps_a_notice_that_came(runtime: Any, session: Any, rt: Any) -> None:
    silent, kept, flushed = rt.monitor("a"), rt.monitor("a"), rt.monitor("a")
    told: list[Any] = []
    waiting = threading.Thread(target=lambda: told.append(silent.wait(20)))
    waiting.start()
    assert rt.demonitor(silent) is True
    waiting.join(20)
    die(runtime, session, 1, 2, 3)
    rt.demonitor(kept)
    rt.demonitor(flushed, flush=True)
    assert [*told, silent.wait(), kept.wait(), flushed.wait()] == [None, None, KILLED, None]


def test_with_the_runtime_gone_only_a_notice_that_came_is_told(runtime: Any, session: Any, rt: Any) -> None:
    told, untold = rt.monitor("a"), rt.monitor("a")
    die(runtime, session, 1)
    runtime.hang_up()
    with pytest.raises(dx.RuntimeUnreachableError):
        untold.wait(20)
    assert told.wait(20) == KILLED


@pytest.mark.process
def test_in_a_forked_child_waiting_is_an_error(rt: Any) -> None:
    monitor = rt.monitor("a")
    pid = os.fork()
    if pid == 0:
        try:
            monitor.wait(5)
        except dx.RuntimeUnreachableError as exc:
            os._exit(0 if "fork" in str(exc) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_tasks_wait_for_the_same_notice(runtime: Any, session: Any, rt: Any) -> None:
    async def main() -> list[Any]:
        monitor = await over(session, aio.Runtime).monitor("a")
        both = [asyncio.ensure_future(monitor.wait(20)) for _ in range(2)]
        await asyncio.to_thread(die, runtime, session, 1)
        return [*await asyncio.gather(*both), await monitor.wait()]

    assert asyncio.run(main()) == [KILLED] * 3


def test_what_a_monitor_looks_like(runtime: Any, session: Any, rt: Any) -> None:
    monitor = rt.monitor("a")
    assert isinstance(monitor, Monitor)
    assert repr(monitor) == "<Monitor 'a' up>"
