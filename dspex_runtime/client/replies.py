"""`dx.reply` in a client: an answer to a call that another process got, given through the runtime. Imported with the references."""

from __future__ import annotations

from typing import Any

from dspex_runtime.client.asking import ask
from dspex_runtime.client.session import session_at
from dspex_runtime.client.steps import run
from dspex_runtime.client.values import as_sent
from dspex_runtime.errors import CallError, RuntimeUnreachableError
from dspex_runtime.host import deferred


def send_reply(from_: deferred.From, value: Any) -> bool:
    """Ask the process that got the call to answer it; False when nobody waits for it any more."""
    try:
        session = session_at(from_.socket)
        return bool(run(ask(session, "module_op", deferred.question(from_, as_sent(session.codec, value)))))
    except (CallError, RuntimeUnreachableError):
        return False  # as OTP: a reply to a client that is gone is dropped


deferred.elsewhere = send_reply
