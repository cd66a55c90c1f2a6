"""User code asks who it is and what became of its request; the answer follows the request to other threads and tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from dspex_runtime.host.context import (
    CallCancelledError,
    Process,
    cancelled,
    check_cancelled,
    current_request,
    deadline,
    incarnation,
    self_id,
)
from dspex_runtime.host.mailbox import Request


@pytest.fixture
def request_() -> Iterator[Request]:
    """The request being served on this thread."""
    request = Request(None, 4, "answer", [], {}, deadline=99.0)
    token = current_request.set(request)
    yield request
    current_request.reset(token)


def test_outside_a_module_process_there_is_no_id() -> None:
    assert Process.assignment is None
    with pytest.raises(RuntimeError, match="only inside a module process"):
        self_id()
    assert incarnation() is None


def test_outside_a_request_nothing_is_due_or_cancelled() -> None:
    assert (deadline(), cancelled()) == (None, False)
    check_cancelled()


def test_the_request_being_served_gives_its_deadline(request_: Request) -> None:
    assert deadline() == 99.0
    check_cancelled()


def test_a_request_given_up_says_which_it_was(request_: Request) -> None:
    request_.cancelled = True
    assert cancelled()
    with pytest.raises(CallCancelledError, match="<request 4 answer>"):
        check_cancelled()


def test_a_users_except_exception_does_not_catch_it() -> None:
    assert not issubclass(CallCancelledError, Exception)


def test_a_task_inherits_the_request(request_: Request) -> None:
    async def asks() -> Any:
        return await asyncio.create_task(inner())

    async def inner() -> Any:
        return deadline()

    assert asyncio.run(asks()) == 99.0


def test_a_thread_has_it_where_the_context_is_copied(request_: Request) -> None:
    seen: list[Any] = []
    context = copy_context()
    threads = [
        threading.Thread(target=lambda: seen.append(deadline())),
        threading.Thread(target=context.run, args=(lambda: seen.append(deadline()),)),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert seen == [None, 99.0]
