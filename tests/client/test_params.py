"""`.params` as a mapping: reads of shared memory, writes through the module, or the runtime where none runs."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dspex_runtime.client.params import Params
from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.client.session import Session
from dspex_runtime.errors import (
    ConstraintViolationError,
    NoProcessError,
    ParameterError,
    ParameterNotFoundError,
    ProcessDownError,
    RuntimeUnreachableError,
)
from dspex_runtime.params import values
from dspex_runtime.params.table import Table
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.wire.faults import to_fault
from dspex_runtime.wire.messages import CALL, FAULT, REPLY
from helpers.descriptor import Descriptor
from helpers.param_tables import CODEC, Tables, tables

if TYPE_CHECKING:
    from client.conftest import FakeModule, FakePipe, FakeRuntime


class Kept:
    """What the runtime has of one module's parameters, and what it was asked."""

    def __init__(self, runtime: FakeRuntime, made: Tables) -> None:
        self.made = made
        self.table: Table | None = made.new()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.written: list[Any] = []
        for op in ("param_table", "param_blob", "param_history", "param_value_at", "param_write"):
            runtime.handlers[op] = lambda args, op=op: self._answer(op, args)

    def put(self, name: str, value: Any, **how: Any) -> None:
        assert self.table is not None
        self.made.put(self.table, name, value, **how)

    def _answer(self, op: str, args: dict[str, Any]) -> Any:
        self.asked.append((op, args))
        match op:
            case "param_table":
                if args["id"] == "nobody":
                    raise NoProcessError("there is no 'nobody'", id="nobody")
                return None if self.table is None else Descriptor(os.dup(self.table.fd), {"id": args["id"]})
            case "param_blob":
                fd = self.made.fetch(args["name"], args["at"])
                return None if fd is None else Descriptor(fd, {"id": args["id"]})
            case "param_history":
                change = {"version": 2, "when": 5.0, "who": "me", "value": _data(0.3), "old": _data(0.2)}
                large = {"version": 1, "when": 4.0, "who": "me", "value": None, "old": None, "bytes": 70_000}
                nothing = {"version": 0, "when": 3.0, "who": "me", "value": _data(None), "old": None, "bytes": 1}
                large["old_bytes"], nothing["old_bytes"] = None, 80_000
                return [change, large, nothing][: args["n"]]
            case "param_value_at":
                return _data([1, 2])
            case _:
                answer = self.written.pop(0) if self.written else [9, 5.0]
                if isinstance(answer, Exception):
                    raise answer
                return answer

    def ops(self) -> list[str]:
        return [op for op, _ in self.asked]


def _data(value: Any) -> bytes:
    return bytes(values.encode(CODEC, value))


@pytest.fixture
def kept(runtime: FakeRuntime) -> Iterator[Kept]:
    with tables() as made:
        yield Kept(runtime, made)


@pytest.fixture
def params(session: Session, kept: Kept) -> Params:
    kept.put("temperature", 0.2, who="yaml")
    return Params(session, "qa")


# -- reading


def test_a_read_asks_for_the_table_once_and_sees_every_new_value(params: Params, kept: Kept) -> None:
    assert params["temperature"] == 0.2
    for value in (0.3, "warm", [1, {"a": 2}], None):
        kept.put("temperature", value)
        assert params["temperature"] == value
        assert params["temperature"] == value
    assert kept.ops() == ["param_table"]


def test_all_references_of_one_client_read_through_one_view(session: Session, params: Params, kept: Kept) -> None:
    assert params["temperature"] == Params(session, "qa")["temperature"] == 0.2
    assert kept.ops() == ["param_table"]


def test_it_is_a_mapping(params: Params, kept: Kept) -> None:
    kept.put("bias", [1.0, 2.0])
    assert dict(params) == {"bias": [1.0, 2.0], "temperature": 0.2}
    assert dict(params.items()) == dict(params)
    assert list(params) == params.names() == ["bias", "temperature"]
    assert len(params) == 2
    assert "bias" in params
    assert "nothing" not in params
    assert 5 not in params
    assert params.get("nothing", 7) == 7
    assert params == {"bias": [1.0, 2.0], "temperature": 0.2}


def test_a_name_that_is_not_there_is_named_with_one_that_is_near(params: Params) -> None:
    with pytest.raises(ParameterNotFoundError, match="temperatur") as caught:
        params["temperatur"]
    assert (caught.value.id, caught.value.name, caught.value.hint) == ("qa", "temperatur", "did you mean 'temperature'?")


def test_version_and_entry_say_who_set_it_when(params: Params, kept: Kept) -> None:
    kept.put("temperature", 0.5, who="client#1", grad=0.25)
    entry = params.entry("temperature")
    assert (entry.version, entry.value, entry.who, entry.updated_at, entry.grad) == (2, 0.5, "client#1", 1002.0, 0.25)
    assert params.version("temperature") == 2
    with pytest.raises(ParameterNotFoundError):
        params.version("nothing")


def test_meta_is_what_was_declared(params: Params, kept: Kept) -> None:
    kept.put("\0meta\0temperature", {"type": "float", "max": 2.0})
    assert params.meta("temperature") == {"type": "float", "max": 2.0}
    with pytest.raises(ParameterNotFoundError):
        params.meta("nothing")
    assert list(params) == ["temperature"]


def test_a_module_without_parameters_has_no_names(session: Session, kept: Kept) -> None:
    kept.table = None
    params = Params(session, "plain")
    assert params.names() == []
    with pytest.raises(ParameterNotFoundError, match="'plain' has no parameters"):
        params["temperature"]
    with pytest.raises(ParameterNotFoundError, match="the runtime has no shared parameters"):
        Params(session, SHARED)["style"]


def test_a_module_that_is_not_there_is_no_process(session: Session, kept: Kept) -> None:
    with pytest.raises(NoProcessError, match="there is no 'nobody'"):
        Params(session, "nobody")["temperature"]


def test_a_large_value_is_fetched_once_for_each_version(params: Params, kept: Kept) -> None:
    for letter in "ab":
        kept.put("text", letter * 100_000)
        assert params["text"] == params["text"] == letter * 100_000
    assert [args["at"] for op, args in kept.asked if op == "param_blob"] == [1, 2]


def test_a_value_that_is_superseded_while_it_is_fetched_is_read_again(params: Params, kept: Kept) -> None:
    kept.put("text", "a" * 100_000)
    fetch = kept.made.fetch

    def superseded(name: str, version: int) -> int | None:
        kept.made.fetch = fetch  # type: ignore[method-assign]
        kept.put("text", "short")
        return None

    kept.made.fetch = superseded  # type: ignore[method-assign]
    assert params["text"] == "short"


def test_a_table_that_was_replaced_is_attached_anew(params: Params, kept: Kept) -> None:
    assert params["temperature"] == 0.2
    assert kept.table is not None
    kept.table.retire()
    kept.table = kept.made.new()
    kept.put("temperature", "other")
    assert params["temperature"] == "other"
    assert kept.ops() == ["param_table", "param_table"]


def test_a_table_that_goes_on_being_replaced_is_an_error_and_no_endless_loop(params: Params, kept: Kept) -> None:
    assert kept.table is not None
    kept.table.retire()
    with pytest.raises(ParameterError, match="just being replaced"):
        params["temperature"]


@pytest.mark.process
def test_views_and_descriptors_go_with_the_session(runtime: FakeRuntime) -> None:
    with tables() as made:
        kept = Kept(runtime, made)
        kept.put("text", "a" * 100_000)
        session = runtime.session()
        params = Params(session, "qa")
        assert params["text"]
        session.close()
        with pytest.raises(RuntimeUnreachableError):
            params["text"]
    gc.collect()
    runtime.close()


def test_a_forgotten_session_is_not_kept_by_its_parameters(runtime: FakeRuntime, kept: Kept) -> None:
    kept.put("temperature", 0.2)
    session = runtime.session()
    known = weakref.ref(session)
    assert ModuleRef(session, "qa").params["temperature"] == 0.2
    gc.disable()
    try:
        del session
        assert known() is None
    finally:
        gc.enable()


# -- the past


def test_history_has_old_and_new_who_and_when(params: Params, kept: Kept) -> None:
    newest, large, nothing = params.history("temperature")
    assert newest == {"version": 2, "when": 5.0, "who": "me", "new": 0.3, "old": 0.2}
    assert large == {"version": 1, "when": 4.0, "who": "me", "new": None, "old": None, "bytes": 70_000}
    assert nothing == {"version": 0, "when": 3.0, "who": "me", "new": None, "old": None, "old_bytes": 80_000}
    assert kept.asked[-1] == ("param_history", {"id": "qa", "name": "temperature", "n": 100})
    assert len(params.history("temperature", 1)) == 1


def test_a_value_of_the_past_can_be_read(params: Params, kept: Kept) -> None:
    assert params.at("temperature", 7) == [1, 2]
    assert kept.asked[-1] == ("param_value_at", {"id": "qa", "name": "temperature", "at": 7})


# -- writing


class Writer:
    """A module that notes what is set and answers version 5."""

    def __init__(self, error: Exception | None = None) -> None:
        self.heard: list[tuple[str, list[Any]]] = []
        self.error = error

    def serve(self, pipe: FakePipe) -> None:
        while (message := pipe.next()) is not None:
            assert message[0] == CALL
            self.heard.append((message[2], message[3]))
            if self.error is not None:
                pipe.say(FAULT, message[1], to_fault(self.error, id="qa", incarnation=1, codec=pipe.codec))
            elif message[2] == "$set_many":
                pipe.say(REPLY, message[1], {name: [5, 1.0] for name in message[3][0]})
            else:
                pipe.say(REPLY, message[1], [5, 1.0])


@pytest.fixture
def writer(runtime: FakeRuntime, module: type[FakeModule]) -> Writer:
    writer = Writer()
    runtime.start("qa", module(writer.serve))
    return writer


def test_every_write_is_a_call_of_the_module(params: Params, writer: Writer) -> None:
    params["temperature"] = 0.7
    assert params.set("temperature", 0.8, expect=4) == 5
    assert params.update({"a": 1, "b": [2]}) == {"a": 5, "b": 5}
    assert params.apply_gradient("bias", [0.1, 0.2]) == 5
    assert params.rollback("temperature", 2) == 5
    assert params.reset("temperature") == 5
    assert writer.heard == [
        ("$set", ["temperature", 0.7, None]),
        ("$set", ["temperature", 0.8, 4]),
        ("$set_many", [{"a": 1, "b": [2]}]),
        ("$gradient", ["bias", [0.1, 0.2]]),
        ("$rollback", ["temperature", 2]),
        ("$reset", ["temperature"]),
    ]


def test_a_refused_value_says_constraint_limit_and_value(params: Params, writer: Writer) -> None:
    writer.error = ConstraintViolationError("too hot", name="temperature", constraint="max", limit=2.0, value=9)
    with pytest.raises(ConstraintViolationError, match="too hot") as caught:
        params["temperature"] = 9
    assert (caught.value.name, caught.value.constraint, caught.value.limit, caught.value.value) == ("temperature", "max", 2.0, 9)


def test_a_module_that_ends_while_it_writes_may_or_may_not_have(
    params: Params, runtime: FakeRuntime, module: type[FakeModule]
) -> None:
    def die(pipe: FakePipe) -> None:
        pipe.next()
        pipe.die()

    runtime.start("qa", module(die))
    with pytest.raises(ProcessDownError):
        params["temperature"] = 0.7


def test_of_a_stopped_module_the_runtime_writes(params: Params, kept: Kept) -> None:
    assert params.set("temperature", 0.7, expect=1) == 9
    assert params.rollback("temperature", 2) == 9
    assert params.reset("temperature") == 9
    assert params.update({"a": 1, "b": 2}) == {"a": 9, "b": 9}
    start = {"id": "qa", "name": "temperature"}
    assert [args for op, args in kept.asked if op == "param_write"] == [
        {**start, "how": "set", "value": _data(0.7), "expect": 1},
        {**start, "how": "rollback", "at": 2},
        {**start, "how": "reset"},
        {"id": "qa", "name": "a", "how": "set", "value": _data(1), "expect": None},
        {"id": "qa", "name": "b", "how": "set", "value": _data(2), "expect": None},
    ]


def test_a_module_that_was_started_meanwhile_writes_itself(
    params: Params, kept: Kept, runtime: FakeRuntime, module: type[FakeModule]
) -> None:
    writer = Writer()

    def started(args: dict[str, Any]) -> None:
        runtime.start("qa", module(writer.serve))

    runtime.handlers["param_write"] = started
    assert params.set("temperature", 0.7) == 5
    assert writer.heard == [("$set", ["temperature", 0.7, None])]


def test_a_gradient_is_for_a_module_that_runs(params: Params) -> None:
    with pytest.raises(NoProcessError) as caught:
        params.apply_gradient("bias", 1.0)
    assert caught.value.hint is not None
    assert "start it" in caught.value.hint


def test_what_a_stopped_modules_own_code_has_to_check_is_refused(params: Params, kept: Kept) -> None:
    kept.written = [ParameterError("'temperature' has a check of its own: start the module", name="temperature")]
    with pytest.raises(ParameterError, match="a check of its own"):
        params["temperature"] = 0.7


def test_the_runtimes_own_parameters_are_written_by_the_runtime(session: Session, kept: Kept) -> None:
    kept.put("style", "brief")
    params = Params(session, SHARED)
    assert params["style"] == "brief"
    params["style"] = "full"
    assert kept.asked[-1] == ("param_write", {"id": SHARED, "how": "set", "name": "style", "value": _data("full"), "expect": None})
    with pytest.raises(ParameterError, match="no gradients"):
        params.apply_gradient("style", 1.0)


def test_it_says_whose_it_is(params: Params) -> None:
    assert repr(params) == "<Params of 'qa'>"
