"""What one process holds of one runtime."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import pytest

from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.client.request import Request
from dspex_runtime.client.session import session_at
from dspex_runtime.errors import RuntimeUnreachableError
from helpers.waiting import wait_until


def test_names_for_children_without_one_are_numbered_from_the_second_on(session: Any) -> None:
    assert [session.new_id("a"), session.new_id("a"), session.new_id("b"), session.new_id("a")] == ["a", "a-2", "b", "a-3"]


def test_a_session_is_found_by_the_runtimes_address_while_it_lives(session: Any) -> None:
    assert session_at("/fake.sock") is session
    session.close()
    with pytest.raises(RuntimeUnreachableError):
        session_at("/fake.sock")


@pytest.mark.process
def test_loops_that_ended_without_closing_leave_one_pipe_at_most(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("qa", module())
    ref = ModuleRef(session, "qa")
    asyncio.run(ref.acall("ask", 0))
    before = len(os.listdir("/proc/self/fd"))
    for n in range(5):
        assert asyncio.run(ref.acall("ask", n)) == n
    session.close()
    runtime.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_closed_session_takes_no_requests(session: Any) -> None:
    session.close()
    session.close()
    with pytest.raises(RuntimeUnreachableError, match="closed"):
        session.background()


@pytest.mark.process
def test_a_forgotten_session_hangs_up_although_its_loop_has_a_pipe_open(runtime: Any, module: Any) -> None:
    qa = runtime.start("qa", module())
    session = runtime.session()
    assert Request(session, "qa", "ask", (1,), {}, None).wait(20) == 1
    connection = session.connection
    del session
    gc.collect()
    wait_until(lambda: connection.closed)
    wait_until(lambda: all(thread.name != "dspex-requests" for thread in threading.enumerate()))
    assert qa.pipes[0].next() is None
