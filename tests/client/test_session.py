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
from dspex_runtime.client.session import Session, session_at
from dspex_runtime.client.steps import run
from dspex_runtime.errors import NoProcessError, RuntimeUnreachableError
from dspex_runtime.wire.messages import EVENT
from helpers.group_facts import group_facts
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


class TestGroups:
    """What is heard of a group, in whichever order it comes."""

    @pytest.fixture(autouse=True)
    def group(self, grouped: Any) -> None:
        """It is starting: its id leads to the one replica that serves."""
        grouped(None)

    def members(self, session: Session) -> list[str]:
        group = session.pool("qa").group
        return [] if group is None else [member.id for member in group.members]

    def heard_meanwhile(self, runtime: Any, facts: dict[str, Any]) -> None:
        """Have the client hear this after it was given a pipe, and before it can know that this was a group's."""
        board = runtime.handlers["board"]

        def answer(args: dict[str, Any]) -> Any:
            runtime.push(EVENT, 0, {"type": "group", **facts})
            return board(args)

        runtime.handlers["board"] = answer

    def test_a_replica_that_comes_while_the_group_gets_known_is_known(self, runtime: Any, session: Session) -> None:
        self.heard_meanwhile(runtime, group_facts("qa#0", "qa#1", seq=5))
        assert ModuleRef(session, "qa").call("ask", 1) == 1
        assert self.members(session) == ["qa#0", "qa#1"]

    def test_a_group_that_ends_while_it_gets_known_is_none(self, runtime: Any, session: Session) -> None:
        board = runtime.handlers["board"]

        def answer(args: dict[str, Any]) -> Any:
            del runtime.modules["qa"]
            runtime.push(EVENT, 0, {"type": "group", "id": "qa", "members": None, "seq": 5})
            return board(args)

        runtime.handlers["board"] = answer
        with pytest.raises(NoProcessError):
            ModuleRef(session, "qa").call("ask", 1)
        assert session.pool("qa").group is None

    def test_what_came_with_a_pipe_is_no_newer_for_being_used_later(self, runtime: Any, session: Session) -> None:
        ref = ModuleRef(session, "qa")
        assert ref.call("ask", 1) == 1
        session.changed({"type": "group", **group_facts("qa#0", "qa#1", seq=6)})
        run(session.pool("qa").open(None))  # its answer says what there was at 4
        assert self.members(session) == ["qa#0", "qa#1"]

    def test_of_two_events_the_newer_holds(self, session: Session) -> None:
        assert ModuleRef(session, "qa").call("ask", 1) == 1
        session.changed({"type": "group", "id": "qa", "members": None, "seq": 6})
        session.changed({"type": "group", **group_facts("qa#0", "qa#1", seq=5)})
        assert session.pool("qa").group is None
