"""The order in which an end is made known (otp-semantics §2.7, resource guarantee), and the sessions of modules that ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.registry import Registry
from dspex_runtime.node.relations import Relations
from dspex_runtime.node.session import Session
from helpers.fake_node import FakeNode, server


@dataclass(eq=False)
class Watcher:
    """A client that notes what it is told."""

    log: list[Any]
    label: str = "client#1"
    open_requests: dict[int, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> Session:
        return cast(Session, self)

    def down(self, ref: int, id: str, incarnation: int, reason: Any) -> None:
        self.log.append((ref, id, incarnation, reason))


def relations() -> tuple[Relations, Registry]:
    registry = Registry()
    made = Relations(registry, lambda: None, lambda process: cast(ModuleSession, process))
    return made, registry


def test_what_it_held_is_free_before_anybody_is_told_and_monitors_are_told_before_links(runtime: FakeNode) -> None:
    log: list[Any] = []
    node = runtime.boot(server("a"), max_restarts=10).node
    node.relations.on_process_end.append(lambda *ended: log.append(("free", *ended)))
    client = cast(Session, Watcher(log))
    ref = node.relations.monitoring.monitor(ProcessId("a", 1), client)
    node.relations.linking.link_client(client, ProcessId("a", 1), 77)
    node.registry.on_change.append(lambda record: log.append(record.state.value))
    runtime.crash("a")
    assert log[:3] == [("free", "a", 1), (ref, "a", 1, "killed"), (77, "a", 1, "killed")]
    assert log[3:] == ["STARTING", "READY"]  # only then its supervisor


def test_a_supervisors_end_is_told_in_the_same_order(runtime: FakeNode) -> None:
    log: list[Any] = []
    node = runtime.boot({"id": "g", "supervisor": {"children": [server("x")]}}).node
    node.relations.on_process_end.append(lambda *ended: log.append(("free", *ended)))
    node.relations.monitoring.monitor(ProcessId("g", 1), cast(Session, Watcher(log)))
    runtime.owner.begin("stop", id="g")
    assert log == [("free", "g/x", 1), ("free", "g", 1), (1, "g", 1, "shutdown")]


def test_a_client_that_is_gone_releases_what_it_held_before_its_links_tell() -> None:
    made, _ = relations()
    log: list[Any] = []
    client = cast(Session, Watcher(log))
    made.on_session_end.append(lambda session: log.append(session is client))
    made.monitoring.monitor(ProcessId("a", 1), client)
    made.client_gone(client, "normal")
    made.ended("a", 1, "killed")
    assert log == [True]


def test_a_session_begins_with_the_first_request_and_ends_with_the_process() -> None:
    made, _ = relations()
    begun: list[Any] = []

    class Asking:
        id, incarnation = "a", 1

        def message(self, message: Any) -> None:
            begun.append(message)

        def closed(self) -> None:
            begun.append("closed")

    process = cast(ModuleProcess, Asking())
    made.on_session_end.append(lambda session: begun.append("released"))
    made.asked(process, [1])
    made.asked(process, [2])
    made.process_ended(process, "normal")
    made.process_ended(process, "normal")
    assert begun == [[1], [2], "closed", "released"]
