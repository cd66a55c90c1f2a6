"""Pipes of one process to one module: borrowed, given back, dropped."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dspex_runtime.client.calls import cast
from dspex_runtime.client.channel_pool import MAX_IDLE
from dspex_runtime.client.session import SWEEP_EVERY
from dspex_runtime.errors import CallTimeoutError
from dspex_runtime.wire.messages import HELLO, PROTOCOL
from helpers.waiting import wait_readable


def test_the_most_recently_used_pipe_comes_first(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    pool = session.pool("qa")
    one, two = pool.borrow(None), pool.borrow(None)
    pool.give_back(one)
    pool.give_back(two)
    assert pool.borrow(None) is two


def test_that_of_the_threads_last_cast_comes_before_the_idle_ones_and_none_is_opened(
    runtime: Any, session: Any, module: Any
) -> None:
    qa = runtime.start("qa", module())
    pool = session.pool("qa")
    idle = pool.borrow(None)
    cast(pool, "note", (), {})
    pool.give_back(idle)
    kept = pool.pooled()
    assert kept not in (None, idle)
    assert pool.pooled() is idle
    assert pool.pooled() is None
    assert len(qa.pipes) == 2


def test_few_idle_pipes_are_kept(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    pool = session.pool("qa")
    links = [pool.borrow(None) for _ in range(MAX_IDLE + 3)]
    for link in links:
        pool.give_back(link)
    assert len(pool.idle) == MAX_IDLE
    assert [link.channel.fileno() == -1 for link in links] == [False] * MAX_IDLE + [True] * 3


def test_an_idle_pipe_whose_module_ended_is_closed_when_it_is_looked_for(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("dies", module(lambda pipe: pipe.die()))
    runtime.start("lives", module())
    dead, alive = (session.pool(id).borrow(None) for id in ("dies", "lives"))
    assert wait_readable(dead.channel.fileno())  # its end has come
    for id, link in (("dies", dead), ("lives", alive)):
        session.pool(id).give_back(link)
    for n in range(SWEEP_EVERY):
        session.pool(f"another-{n}")
    assert dead.channel.fileno() == -1
    assert session.pool("lives").idle == [alive]


def test_a_pipe_to_an_incarnation_that_died_meanwhile_is_not_kept(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    pool = session.pool("qa")
    one, two = pool.borrow(None), pool.borrow(None)
    pool.lost(one)
    pool.give_back(two)
    assert pool.idle == []
    assert pool.after == 1


def test_the_runtime_knows_better_which_incarnation_lives(runtime: Any, session: Any, module: Any) -> None:
    runtime.modules["qa"] = None
    pool = session.pool("qa")
    pool.after = 3
    with pytest.raises(CallTimeoutError):
        pool.borrow(0.0)
    runtime.start("qa", module(incarnation=2))
    assert pool.borrow(None).incarnation == 2


def test_a_pipe_says_hello_first(runtime: Any, session: Any, module: Any) -> None:
    greeted = threading.Event()

    def serve(pipe: Any) -> None:
        pipe.next()
        greeted.set()

    qa = runtime.start("qa", module(serve))
    pool = session.pool("qa")
    cast(pool, "note", (), {})
    assert greeted.wait(20)
    assert qa.pipes[0].hello == [HELLO, 0, {"protocol": list(PROTOCOL), "mux": False, "client": session.client}]


def test_a_thread_that_ends_after_a_cast_leaves_no_pipe(runtime: Any, session: Any, module: Any) -> None:
    ended = threading.Event()

    def serve(pipe: Any) -> None:
        while pipe.next() is not None:
            pass
        ended.set()

    runtime.start("qa", module(serve))
    caster = threading.Thread(target=cast, args=(session.pool("qa"), "note", (), {}))
    caster.start()
    caster.join()
    assert ended.wait(20)


def test_keys_are_unique(session: Any) -> None:
    keys = [session.pool(id).new_key() for id in ("a", "b") for _ in range(10)]
    assert len(set(keys)) == 20


@pytest.mark.process
def test_a_pipe_that_comes_when_its_caller_gives_up_is_closed(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    pool = session.pool("qa")
    asking = pool.request_pipe(None)
    step = next(asking)
    step.future.result(20)
    with pytest.raises(KeyboardInterrupt):
        asking.throw(KeyboardInterrupt)
    session.close()
    runtime.close()
