"""One request to many servers: OTP's multi_call and abcast (otp-semantics §2.6)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from time import monotonic
from typing import Any

from dspex_runtime.client.async_calls import acast
from dspex_runtime.client.async_ref import ServerRef as AsyncServerRef
from dspex_runtime.client.async_requests import Requests as AsyncRequests
from dspex_runtime.client.ref import Ref, ServerRef
from dspex_runtime.client.request import SENT_WITHIN_S
from dspex_runtime.client.requests import Requests
from dspex_runtime.client.session import Session
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.ids import id_of

Target = str | Ref


def multi_call(
    session: Session, targets: Iterable[Target], request: Any, timeout: float | None
) -> tuple[list[tuple[str, Any]], list[str]]:
    """Send a request to many servers; see `Runtime.multi_call`."""
    requests = Requests(timeout)
    sent = [requests.send(ServerRef(session, id), request) for id in _ids(session, targets)]
    for _ in requests:
        pass
    return [(one.id, one.outcome()) for one in sent if one.answered], [one.id for one in sent if not one.answered]


async def amulti_call(
    session: Session, targets: Iterable[Target], request: Any, timeout: float | None
) -> tuple[list[tuple[str, Any]], list[str]]:
    """`multi_call` for tasks."""
    requests = AsyncRequests(timeout)
    sent = [requests.send(AsyncServerRef(session, id), request) for id in _ids(session, targets)]
    async for _ in requests:
        pass
    return [(one.id, one.outcome()) for one in sent if one.answered], [one.id for one in sent if not one.answered]


def abcast(session: Session, targets: Iterable[Target], request: Any) -> None:
    """Cast a request to many servers and wait for none of them to be ready; ends when it is written to those that are."""
    background = session.background()
    sent: list[threading.Event] = []
    for id in _ids(session, targets):
        written = threading.Event()
        cast = background.submit(acast(session, id, "$cast", (request,), {}, written.set))
        cast.add_done_callback(lambda _, written=written: written.set())  # type: ignore[misc]
        sent.append(written)
    until = monotonic() + SENT_WITHIN_S
    for written in sent:
        background.wait(written, max(0.0, until - monotonic()))


async def aabcast(session: Session, targets: Iterable[Target], request: Any) -> None:
    """`abcast` for tasks."""
    await asyncio.gather(*(acast(session, id, "$cast", (request,), {}) for id in _ids(session, targets)), return_exceptions=True)


def _ids(session: Session, targets: Iterable[Target]) -> list[str]:
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        raise ConfigError(f"targets are several ids or references, a list of them; got {show(targets)}")
    return list(dict.fromkeys(id_of(target, session.socket_path) for target in targets))
