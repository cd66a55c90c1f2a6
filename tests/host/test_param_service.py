"""Writes of parameters by clients: which are made at once, which wait and for what, and what is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.errors import ConstraintViolationError, ParameterNotFoundError
from dspex_runtime.host import param_service
from dspex_runtime.host.hosted import NO_REPLY
from dspex_runtime.host.mailbox import OF_PARAMETERS, Request
from dspex_runtime.host.param_service import EDIT, MIRROR, ParamService
from dspex_runtime.params.spec import ParameterSpec, ParameterType
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire import messages as m
from helpers.leaks import Threads
from helpers.waiting import PATIENCE_S, wait_until

SPECS = {
    "plain": ParameterSpec(ParameterType.FLOAT),
    "safe": ParameterSpec(ParameterType.FLOAT, durability=Durability.FSYNC),
    "checked": ParameterSpec(ParameterType.FLOAT, custom=lambda value: True),
    "answer": ParameterSpec(ParameterType.PREDICTOR),
}


class Owner:
    """Says what it was asked to do, and on which thread."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.threads: list[str] = []
        self.refuses = False

    def spec(self, name: str) -> ParameterSpec:
        if name not in SPECS:
            raise ParameterNotFoundError(f"there is no parameter {name!r}", name=name)
        return SPECS[name]

    def _did(self, what: str, name: str, *args: Any, who: str, **options: Any) -> Change:
        self.spec(name)
        if self.refuses:
            raise ConstraintViolationError("9 is more than 2", name=name, constraint="max", limit=2, value=9)
        self.threads.append(threading.current_thread().name)
        self.done.append((what, name, *args, who, *options.values()))
        return Change("sup/qa", name, len(self.done), None, 12.5, who)

    def set(self, name: str, value: Any, *, who: str, expect: int | None = None) -> Change:
        return self._did("set", name, value, who=who, expect=expect)

    def set_many(self, values: dict[str, Any], *, who: str) -> list[Change]:
        return [self._did("set", name, value, who=who) for name, value in values.items()]

    def apply_gradient(self, name: str, gradient: Any, *, who: str) -> Change:
        return self._did("gradient", name, gradient, who=who)

    def rollback(self, name: str, version: int, *, who: str) -> Change:
        return self._did("rollback", name, version, who=who)

    def reset(self, name: str, *, who: str) -> Change:
        return self._did("reset", name, who=who)


class Client:
    """Stands for a peer; remembers what was sent to it."""

    def __init__(self, *, mux: bool = False) -> None:
        self.client = "7-abc"
        self.mux = mux
        self.heard: list[list[Any]] = []

    def send(self, message: list[Any]) -> bool:
        self.heard.append(message)
        return True


class Calls:
    """What the service needs of whoever runs calls."""

    def __init__(self) -> None:
        self.failures: list[tuple[int, Exception]] = []

    def fault(self, exc: Exception) -> Any:
        return {"type": type(exc).__name__, "id": getattr(exc, "id", None)}

    def failed(self, request: Request, exc: Exception) -> None:
        self.failures.append((request.id, exc))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def service(owner: Any, calls: Any) -> Iterator[ParamService]:
    service = ParamService("sup/qa", owner, Durability.JOURNAL, calls)
    yield service
    service.close()


def request(client: Any, method: str, *args: Any, id: int = 1) -> Request:
    return Request(client, id, method, list(args), {})


WRITES = {
    "$set": (["plain", 0.5], ("set", "plain", 0.5, "client#7", None), [1, 12.5]),
    "$set expecting": (["plain", 0.5, 7], ("set", "plain", 0.5, "client#7", 7), [1, 12.5]),
    "$set_many": ([{"plain": 0.5}], ("set", "plain", 0.5, "client#7"), {"plain": [1, 12.5]}),
    "$gradient": (["plain", 0.1], ("gradient", "plain", 0.1, "client#7"), [1, 12.5]),
    "$reset": (["plain"], ("reset", "plain", "client#7"), [1, 12.5]),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_plain_write_is_made_and_answered_at_once(service: ParamService, owner: Owner, client: Client, what: str) -> None:
    args, done, answer = WRITES[what]
    assert service.serve(request(client, what.partition(" ")[0], *args))
    assert owner.done == [done]
    assert client.heard == [[m.REPLY, 1, answer]]


def test_a_rollback_waits_for_nobody_on_a_thread_of_its_own(service: ParamService, owner: Owner, client: Client) -> None:
    assert service.serve(request(client, "$rollback", "plain", 3))
    wait_until(lambda: client.heard, what="the answer")
    assert (owner.done, owner.threads) == ([("rollback", "plain", 3, "client#7")], ["dspex-params"])


def test_what_waits_for_the_disk_does_so_there_too_in_order(service: ParamService, owner: Owner, client: Client) -> None:
    for n in range(5):
        assert service.serve(request(client, "$set", "safe", n, id=n + 1))
    wait_until(lambda: len(client.heard) == 5, what="all answers")
    assert [each[2] for each in owner.done] == [0, 1, 2, 3, 4]
    assert set(owner.threads) == {"dspex-params"}


def test_a_modules_own_durability_counts_where_a_parameter_has_none(owner: Any, calls: Any, client: Client) -> None:
    service = ParamService("sup/qa", owner, Durability.FSYNC, calls)
    service.serve(request(client, "$set", "plain", 1))
    wait_until(lambda: client.heard, what="the answer")
    service.close()
    assert owner.threads == ["dspex-params"]


def test_what_the_writer_was_given_is_made_and_answered_when_the_service_is_closed(
    service: ParamService, owner: Owner, client: Client
) -> None:
    before = Threads.take()
    for n in range(5):
        service.serve(request(client, "$set", "safe", n, id=n + 1))
    service.close()
    assert len(owner.done) == len(client.heard) == 5
    assert before.leaks_since(deadline=time.monotonic() + PATIENCE_S) == []


def test_a_write_that_does_not_come_to_an_end_holds_the_close_up_no_longer_than_its_bound(
    service: ParamService, owner: Owner, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(param_service, "CLOSE_S", 0.01)
    disk = threading.Event()
    monkeypatch.setattr(owner, "set", lambda *args, **keys: disk.wait())
    service.serve(request(client, "$set", "safe", 1))
    service.close()
    assert client.heard == []
    disk.set()


QUEUED = [
    ("$set", "checked", 1.0),
    ("$set", "answer", {}),
    ("$reset", "answer"),
    ("$rollback", "checked", 3),
    ("$set_many", {"plain": 1.0, "checked": 1.0}),
]


@pytest.mark.parametrize("write", QUEUED)
def test_user_code_and_predictors_are_left_to_a_call_thread(
    service: ParamService, owner: Owner, client: Client, write: tuple[Any, ...]
) -> None:
    queued = request(client, *write)
    assert not service.serve(queued)
    assert (owner.done, client.heard) == ([], [])
    entry = service.entry(write[0])
    assert entry.takes_request
    assert entry.function(queued) is not NO_REPLY
    assert owner.done


def test_a_refusal_on_a_call_thread_fails_the_request_and_nothing_else(
    service: ParamService, owner: Owner, client: Client, calls: Calls
) -> None:
    owner.refuses = True
    assert service.entry("$set").function(request(client, "$set", "checked", 9, id=4)) is NO_REPLY
    ((id, error),) = calls.failures
    assert (id, error.id, error.limit) == (4, "sup/qa", 2)  # type: ignore[attr-defined]


WRONG: dict[str, tuple[list[Any], str]] = {
    "an unknown name": (["colour", 1], "ParameterNotFoundError"),
    "a name that is none": ([["plain"], 1], "TypeError"),
    "no name": ([], "TypeError"),
    "too much": (["plain", 1, None, 5], "TypeError"),
}


@pytest.mark.parametrize(("args", "fault"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_answered_with_a_fault(service: ParamService, client: Client, args: list[Any], fault: str) -> None:
    assert service.serve(request(client, "$set", *args))
    ((kind, id, answer),) = client.heard
    assert (kind, id) == (m.FAULT, 1)
    assert answer["type"] == fault


def test_a_refused_value_says_whose_parameter_it_was(service: ParamService, owner: Owner, client: Client) -> None:
    owner.refuses = True
    service.serve(request(client, "$set", "plain", 9))
    assert client.heard == [[m.FAULT, 1, {"type": "ConstraintViolationError", "id": "sup/qa"}]]


def test_a_program_is_shown_by_the_writer_and_edited_in_the_queue(calls: Any, owner: Owner, client: Client) -> None:
    told: list[Any] = []
    service = ParamService("sup/qa", owner, Durability.JOURNAL, calls, lambda *args, **kwargs: told.append((args, kwargs)))  # type: ignore[arg-type]
    asked = request(client, MIRROR)
    asked.kwargs = {"by_value": True}
    assert service.serve(asked)
    service.close()
    wait_until(lambda: bool(told))
    edit = request(client, EDIT, {"parts": {}})
    assert not service.serve(edit)
    service.entry(EDIT).function(edit)
    assert told == [((False, owner, "client#7"), {"by_value": True}), ((True, owner, "client#7", {"parts": {}}), {})]


@pytest.mark.parametrize("method", [MIRROR, EDIT])
def test_a_server_has_no_mirror(calls: Any, client: Client, method: str) -> None:
    service = ParamService("sup/qa", None, Durability.JOURNAL, calls)
    assert service.serve(request(client, method))
    ((kind, _, answer),) = client.heard
    assert (kind, answer["type"]) == (m.FAULT, "UnknownMethodError")


@pytest.mark.parametrize("method", sorted(OF_PARAMETERS - {MIRROR, EDIT}))
def test_a_module_without_parameters_says_so(calls: Any, client: Client, method: str) -> None:
    service = ParamService("sup/qa", None, Durability.JOURNAL, calls)
    assert service.serve(request(client, method, "plain", 1))
    service.close()
    assert client.heard == [[m.FAULT, 1, {"type": "ParameterNotFoundError", "id": "sup/qa"}]]


def test_a_client_with_many_in_flight_hears_that_a_write_has_begun_before_it_is_made(service: ParamService, owner: Owner) -> None:
    client = Client(mux=True)
    service.serve(request(client, "$set", "plain", 1))
    assert client.heard == [[m.BEGUN, 1, True], [m.REPLY, 1, [1, 12.5]]]
    assert not service.serve(request(client, "$set", "checked", 1, id=2))
    assert len(client.heard) == 2  # a queued one is announced as any


def test_a_cast_is_made_and_not_answered(service: ParamService, owner: Owner, client: Client) -> None:
    service.serve(request(client, "$set", "plain", 1, id=0))
    assert (len(owner.done), client.heard) == (1, [])
