"""Monitors of clients: one notice each, none after demonitor, "noproc" where there is nothing to watch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.monitoring import Monitoring
from dspex_runtime.node.session import Session


@dataclass(eq=False)
class FakeSession:
    downs: list[tuple[Any, ...]] = field(default_factory=list)

    def down(self, *notice: Any) -> None:
        self.downs.append(notice)


def client() -> Session:
    return cast(Session, FakeSession())


def downs(session: Session) -> list[tuple[Any, ...]]:
    return cast(FakeSession, session).downs


def process(incarnation: int = 1) -> ProcessId:
    return ProcessId("qa", incarnation)


def test_each_monitor_gets_its_own_notice_once() -> None:
    monitoring, session = Monitoring(), client()
    refs = [monitoring.monitor(process(), session) for _ in range(2)]
    monitoring.down("qa", 1, "killed")
    monitoring.down("qa", 1, "killed")
    assert downs(session) == [(ref, "qa", 1, "killed") for ref in refs]


def test_a_monitor_watches_one_incarnation() -> None:
    monitoring, session = Monitoring(), client()
    monitoring.monitor(process(2), session)
    monitoring.down("qa", 1, "killed")
    assert downs(session) == []


def test_no_notice_after_demonitor() -> None:
    monitoring, session = Monitoring(), client()
    ref = monitoring.monitor(process(), session)
    assert monitoring.demonitor(ref, session)
    assert not monitoring.demonitor(ref, session)
    monitoring.down("qa", 1, "killed")
    assert downs(session) == []


def test_nothing_to_watch_is_told_at_once() -> None:
    monitoring, session = Monitoring(), client()
    ref = monitoring.monitor(process(), session)
    monitoring.no_process(process(), ref, session)
    monitoring.down("qa", 1, "killed")
    assert downs(session) == [(ref, "qa", 1, "noproc")]


def test_a_client_that_is_gone_is_told_nothing() -> None:
    monitoring, session = Monitoring(), client()
    monitoring.monitor(process(), session)
    monitoring.owner_gone(session)
    monitoring.down("qa", 1, "killed")
    assert downs(session) == []
