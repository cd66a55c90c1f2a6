"""A question to the runtime: its answer, the runtime's own time-out, and no answer at all."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.client.asking import ask, module_info, referred
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CallTimeoutError, RuntimeUnreachableError
from dspex_runtime.wire.messages import CANCEL
from helpers.asking_client import Client


def test_no_answer_in_time_is_a_runtime_that_cannot_be_reached_and_gives_the_request_up(runtime: Any, session: Any) -> None:
    with pytest.raises(RuntimeUnreachableError, match=r"has not answered 'whereis' for 0\.05 s"):
        run(ask(session, "whereis", {}, 0.05))
    number = runtime.heard(lambda message: message[2:3] == ["whereis"])[1]
    runtime.heard(lambda message: message == [CANCEL, number])


def test_a_time_out_that_the_runtime_answers_with_is_its_own() -> None:
    client = Client()
    client.connection.answers = [CallTimeoutError("still stopping")]
    with pytest.raises(CallTimeoutError, match="still stopping"):
        run(ask(client.session, "stop", {"id": "a"}, 5))


def test_facts_that_a_newer_runtime_adds_are_left_out() -> None:
    assert module_info({"id": "a", "kind": "server", "state": "READY", "newer": 1}).id == "a"


@pytest.mark.parametrize(
    ("identity", "means"), [({"id": "a", "kind": "server"}, ("server", "a")), ("undefined",) * 2, (None, None)]
)
def test_what_was_started_is_a_reference_or_what_the_runtime_says_instead(identity: Any, means: Any) -> None:
    assert referred(Client(), identity) == means
