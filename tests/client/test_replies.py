"""`dx.reply` in a client: asked of the process that got the call, through the runtime."""

from __future__ import annotations

from typing import Any

import dspex_runtime.host.behaviours as dx
from dspex_runtime.client.replies import send_reply
from dspex_runtime.errors import NoProcessError
from dspex_runtime.host.deferred import From


def test_an_answer_goes_to_the_incarnation_that_got_the_call(runtime: Any, session: Any) -> None:
    asked: list[Any] = []
    runtime.handlers["module_op"] = lambda args: asked.append(args) or True
    assert dx.reply(From(session.socket_path, "x", 2, 5), {"a": 1}) is True
    (args,) = asked
    assert (args["id"], args["incarnation"], args["op"]) == ("x", 2, "reply")
    assert args["args"] == {"number": 5, "value": {"a": 1}}


def test_an_answer_nobody_waits_for_is_dropped(runtime: Any, session: Any) -> None:
    def gone(args: Any) -> None:
        raise NoProcessError("gone")

    runtime.handlers["module_op"] = gone
    assert send_reply(From(session.socket_path, "x", 1, 1), "late") is False
    assert send_reply(From("/no/such/runtime.sock", "x", 1, 1), "late") is False
