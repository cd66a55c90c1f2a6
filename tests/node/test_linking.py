"""Delivery of exit signals: to the incarnation that was meant and to no other, in the way of whoever it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec, SupervisorSpec
from dspex_runtime.core.links import Signal
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.linking import TAKEN_WITHIN_S, Linking, ProcessId
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.session import Session
from dspex_runtime.types import ChildId, Exit, Kind

A, B, C, OLD, NOBODY = ProcessId("a", 2), ProcessId("b", 1), ProcessId("c", 1), ProcessId("a", 1), ProcessId("x", 0)


@dataclass(eq=False)
class Process:
    kind: Kind
    mail: list[Any] = field(default_factory=list)
    serving: bool = True
    asked: list[Any] = field(default_factory=list)

    def message(self, message: Any) -> None:
        self.mail.append(message)

    def request(self, op: str, args: dict[str, Any], timeout_s: float, answer: Any) -> None:
        self.asked.append((op, args, timeout_s, answer))


@dataclass(eq=False)
class Client:
    told: list[Any] = field(default_factory=list)
    label: str = "client#5"

    def down(self, *notice: Any) -> None:
        self.told.append(notice)


@dataclass(eq=False)
class World:
    """Living and dead children by full id; notes what is ended."""

    registry: Registry = field(default_factory=Registry)
    ended: list[tuple[str, str, ExitReason, str]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.linking = Linking(self.registry, lambda: self)

    def add(self, process: ProcessId, kind: Kind = Kind.SERVER, *, trap_exit: bool = True) -> Record:
        launch = LaunchSpec(kind, target="p:X", trap_exit=trap_exit) if kind is not Kind.SUPERVISOR else None
        supervisor = SupervisorSpec() if kind is Kind.SUPERVISOR else None
        spec = ChildSpec(ChildId(process.id), kind, launch=launch, supervisor=supervisor)
        record = self.registry.ensure(process.id, spec)
        record.incarnation = process.incarnation
        record.process = cast(ModuleProcess, Process(kind)) if launch is not None else None
        return record

    def mail(self, id: str) -> list[Any]:
        record = self.registry.get(id)
        assert record is not None
        return cast(Process, record.process).mail

    def alive(self, record: Record) -> bool:
        return record.id not in self.dead

    def root(self) -> int:
        return 3

    def kill(self, record: Record, reason: ExitReason, sender: str) -> None:
        self.ended.append(("kill", record.id, reason, sender))

    def end(self, record: Record, reason: ExitReason, sender: str) -> None:
        self.ended.append(("end", record.id, reason, sender))


@pytest.fixture
def world() -> World:
    world = World()
    world.add(A)
    world.add(B, trap_exit=False)
    world.add(C, Kind.MODULE)
    return world


def client() -> Session:
    return cast(Session, Client())


def test_each_is_signalled_in_its_own_way(world: World) -> None:
    sup = ProcessId("s", 1)
    world.add(sup, Kind.SUPERVISOR)
    listener = client()
    for one in (A, B, C, sup):
        world.linking.link_client(listener, one, 1)
    world.linking.exited(listener, "shutdown")
    assert world.mail("a") == [Exit("client#5", 0, "shutdown")]
    assert world.ended == [("kill", "b", "shutdown", "client#5"), ("end", "c", "shutdown", "client#5")]
    assert len(world.linking) == 0


def test_a_supervisors_death_is_a_signal(world: World) -> None:
    sup = ProcessId("s", 1)
    world.add(sup, Kind.SUPERVISOR)
    world.linking.link(A, sup)
    world.linking.exited(sup, "shutdown")
    assert world.mail("a") == [Exit("s", 1, "shutdown")]


@pytest.mark.parametrize("gone", [OLD, NOBODY, B])
def test_whoever_is_not_there_is_noproc_from_either_side(world: World, gone: ProcessId) -> None:
    world.dead = {"b"}
    world.linking.link(A, gone)
    world.linking.link(gone, A)
    assert world.mail("a") == [Exit(*gone, "noproc")] * 2
    assert len(world.linking) == 0


def test_a_signal_for_an_earlier_incarnation_reaches_nobody(world: World) -> None:
    world.linking.deliver(Signal(B, OLD, "killed"))
    world.dead = {"a"}
    world.linking.deliver(Signal(B, A, "killed"))
    assert (world.mail("a"), world.ended) == ([], [])


def test_a_client_is_told_under_each_of_its_numbers_and_forgotten(world: World) -> None:
    listener = client()
    world.linking.link_client(listener, A, 7)
    world.linking.link_client(listener, A, 8)
    world.linking.exited(A, "normal")
    world.linking.exited(A, "normal")
    assert cast(Client, listener).told == [(7, "a", 2, "normal"), (8, "a", 2, "normal")]
    assert world.linking.drop_ref(listener, 7) is False


def test_unlinking_takes_a_clients_numbers_along(world: World) -> None:
    listener = client()
    world.linking.link_client(listener, A, 7)
    assert world.linking.unlink(A, listener)
    assert world.linking.drop_ref(listener, 7) is False
    world.linking.exited(A, "killed")
    assert cast(Client, listener).told == []


def test_a_client_is_told_noproc_at_once(world: World) -> None:
    listener = client()
    world.linking.link_client(listener, NOBODY, 7)
    assert cast(Client, listener).told == [(7, "x", 0, "noproc")]
    assert world.linking.drop_ref(listener, 7) is False


def test_find_gives_the_newest_incarnation_and_zero_for_nobody(world: World) -> None:
    assert (world.linking.find("a"), world.linking.find("x")) == (A, NOBODY)
    assert world.linking.alive(A)
    assert not world.linking.alive(OLD)
    assert world.linking.alive(client())


def test_a_server_under_a_modules_name_is_a_server() -> None:
    world = World()
    record = world.add(A, Kind.MODULE)
    assert record.process is not None
    record.process.kind = Kind.SERVER  # as it turned out
    world.linking.deliver(Signal(B, A, "shutdown"))
    assert world.mail("a") == [Exit("b", 1, "shutdown")]


def test_the_root_supervisor_is_found_and_alive_in_its_own_incarnation(world: World) -> None:
    assert world.linking.find("root") == ProcessId("root", 3)
    assert [world.linking.alive(ProcessId("root", incarnation)) for incarnation in (0, 2, 3)] == [False, False, True]


class TestExit:
    """exit(): whoever sent the signal goes on when it has arrived, so that what it sends next comes behind it."""

    @pytest.mark.parametrize("fault", [None, {"type": "BusyError"}])
    def test_who_traps_exits_has_it_in_its_mailbox_or_its_time_is_over(self, world: World, fault: Any) -> None:
        taken: list[None] = []
        world.linking.exit(B, A, "shutdown", lambda: taken.append(None))
        process = cast(Process, world.registry.get("a").process)  # type: ignore[union-attr]
        ((op, args, timeout_s, answer),) = process.asked
        assert (op, args, timeout_s) == ("signal", {"message": Exit("b", 1, "shutdown")}, TAKEN_WITHIN_S)
        assert taken == []
        answer(None, fault)
        assert taken == [None]

    def test_one_that_is_starting_has_no_pipe_over_which_anything_could_get_ahead(self, world: World) -> None:
        taken: list[None] = []
        process = cast(Process, world.registry.get("a").process)  # type: ignore[union-attr]
        process.serving = False
        world.linking.exit(B, A, "shutdown", lambda: taken.append(None))
        assert (process.mail, taken) == ([Exit("b", 1, "shutdown")], [None])

    @pytest.mark.parametrize(
        ("receiver", "reason"), [(OLD, "shutdown"), (NOBODY, "shutdown"), (B, "normal"), (B, "x"), (C, "x"), (A, "kill")]
    )
    def test_where_there_is_no_message_there_is_nothing_to_wait_for(self, world: World, receiver: ProcessId, reason: str) -> None:
        taken: list[None] = []
        world.linking.exit(A, receiver, reason, lambda: taken.append(None))
        assert taken == [None]
