"""An exception arrives as its own type with the remote one as its cause; what a peer sent never raises here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_runtime import errors
from dspex_runtime.errors import (
    ConfigError,
    OverloadedError,
    ProcessDownError,
    ProtocolError,
    RemoteError,
    StartError,
    SupervisorError,
)
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault

FULL, PLAIN = Codec(pickle=True), Codec()


def caught(make: Callable[[], Any]) -> BaseException:
    try:
        result = make()
        if isinstance(result, BaseException):
            raise result
    except BaseException as exc:
        return exc
    raise AssertionError


def across(exc: BaseException, codec: Codec = FULL) -> Any:
    fault = to_fault(exc, id="m", incarnation=3, codec=codec)
    return from_fault(codec.unpack(codec.pack([8, 1, fault]))[2], codec=codec)


class KeywordOnlyError(Exception):
    """As dspy's AdapterParseError: its constructor does not take its own args."""

    def __init__(self, *, adapter: str, text: str) -> None:
        super().__init__(f"{adapter} cannot read {text}")
        self.adapter = adapter


class SlottedError(Exception):
    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        super().__init__("at " + where)
        self.where = where


class OwnFileError(FileNotFoundError):
    def __init__(self, path: str, extra: int) -> None:
        super().__init__(2, "gone", path)
        self.extra = extra


RAISERS: list[Callable[[], Any]] = [
    lambda: ValueError("x", 1),
    lambda: KeyError("k"),
    lambda: open("/no/such/file"),  # noqa: SIM115
    lambda: b"\xff".decode(),
    lambda: compile("a b", "f.py", "exec"),
    lambda: json.loads("{"),
    lambda: __import__("no_such_module"),
    lambda: "".nothing,  # type: ignore[attr-defined]
    lambda: subprocess.CalledProcessError(2, ["x"], b"out"),
    lambda: KeywordOnlyError(adapter="JSON", text="..."),
    lambda: SlottedError("here"),
    lambda: OwnFileError("/p", 3),
    lambda: TimeoutError("t"),
    lambda: AssertionError(),
]


@pytest.mark.parametrize("make", RAISERS, ids=lambda make: type(caught(make)).__name__)
def test_an_exception_arrives_as_its_own_type_with_text_args_and_attributes(make: Callable[[], Any]) -> None:
    exc = caught(make)
    again = across(exc)
    assert (type(again), str(again), again.args) == (type(exc), str(exc), exc.args)
    for name in ("errno", "filename", "reason", "lineno", "pos", "name", "cmd", "output", "adapter", "where", "extra"):
        assert getattr(again, name, None) == getattr(exc, name, None)
    remote = again.__cause__
    assert type(remote) is RemoteError
    assert (remote.id, remote.incarnation, remote.retryable, remote.message) == ("m", 3, False, str(exc))
    assert "in caught" in remote.remote_traceback


def test_a_constructor_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    exc = caught(lambda: KeywordOnlyError(adapter="a", text="b"))
    monkeypatch.setattr(KeywordOnlyError, "__init__", lambda *_, **__: pytest.fail("called"))
    assert across(exc).adapter == "a"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_two_errors_of_dspy_that_do_not_unpickle_arrive() -> None:
    dspy = pytest.importorskip("dspy")
    from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError

    parse = AdapterParseError("JSONAdapter", dspy.Signature("question -> answer"), "{", message="no", parsed_result=None)
    window = ContextWindowExceededError(model="gpt", message="too long")
    for exc in (parse, window):
        again = across(exc)
        assert (type(again), str(again)) == (type(exc), str(exc))
        assert set(vars(again)) == set(vars(exc))
    assert across(parse).adapter_name == "JSONAdapter"


@pytest.mark.parametrize(
    "exc",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), StopIteration(1), StopAsyncIteration()],
    ids=lambda exc: type(exc).__name__,
)
def test_what_must_not_end_the_caller_arrives_as_remote_error(exc: BaseException) -> None:
    again = across(caught(lambda: exc))
    assert type(again) is RemoteError
    assert again.type_name.endswith(type(exc).__name__)


def test_a_group_arrives_with_its_members_each_as_its_own_type() -> None:
    again = across(caught(lambda: ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [SlottedError("x")])])))
    assert (type(again), again.message) == (ExceptionGroup, "g")
    assert type(again.exceptions[0]) is ValueError
    assert again.exceptions[1].exceptions[0].where == "x"
    harmless = across(caught(lambda: BaseExceptionGroup("b", [SystemExit(1), ValueError(2)])))
    assert [type(exc) for exc in harmless.exceptions] == [RemoteError, ValueError]


def test_a_class_that_no_name_leads_to_arrives_when_pickling_is_allowed() -> None:
    class LocalError(Exception):
        pass

    assert type(across(caught(lambda: LocalError("x")))) is LocalError
    again = across(caught(lambda: LocalError("x")), PLAIN)
    assert type(again) is RemoteError
    assert again.type_name.endswith("LocalError")


def test_a_class_of_main_arrives_in_another_process() -> None:
    script = """
import sys
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault
class Mine(ValueError):
    pass
codec = Codec(pickle=True)
error = Mine("x")
error.detail = [1]
sys.stdout.buffer.write(codec.pack([to_fault(error, id="m", incarnation=1, codec=codec)]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    again: Any = from_fault(FULL.unpack(done.stdout)[0])
    assert (type(again).__name__, again.args, again.detail, isinstance(again, ValueError)) == ("Mine", ("x",), [1], True)
    assert type(from_fault(PLAIN.unpack(done.stdout)[0], codec=PLAIN)) is RemoteError


def test_a_class_that_is_not_importable_here_arrives_as_remote_error() -> None:
    fault = to_fault(caught(lambda: ValueError("x")), id="m", incarnation=3, codec=FULL)
    again: Any = from_fault(fault | {"module": "no.such.module", "qualname": "E", "type": "no.such.module.E"})
    assert (type(again), again.type_name, again.message) == (RemoteError, "no.such.module.E", "x")


def test_without_pickle_no_module_is_imported_for_a_class() -> None:
    fault = to_fault(caught(lambda: ValueError("x")), id="m", incarnation=3, codec=PLAIN)
    fault |= {"module": "tabnanny", "qualname": "NannyNag", "type": "tabnanny.NannyNag"}
    sys.modules.pop("tabnanny", None)
    assert type(from_fault(fault, codec=PLAIN)) is RemoteError
    assert "tabnanny" not in sys.modules


@pytest.mark.parametrize(
    "exc",
    [
        ConfigError("c", problems=["p", "q"], hint="h"),
        StartError("s", id="x", reason=("error", "T", "m", "tb"), remote_traceback="tb"),
        ProcessDownError(id="x", incarnation=2, reason=("signal", "SEGV")),
        SupervisorError("already_present", "a", id="x"),
        RemoteError("r", type_name="T", remote_traceback="tb", id="y", incarnation=9),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_our_own_errors_keep_their_facts(exc: errors.DspexError) -> None:
    again = across(exc)
    assert type(again) is type(exc)
    facts = {name: value for name, value in vars(exc).items() if not name.startswith("__")}
    assert {name: vars(again)[name] for name in facts} == facts
    assert again.__cause__ is None, "the runtime made it and never raised it: there is no traceback to show"
    assert type(across(caught(lambda: exc)).__cause__) is RemoteError


def test_an_error_a_module_got_from_another_does_not_say_its_own_call_may_be_retried() -> None:
    assert across(caught(lambda: OverloadedError("o"))).retryable is False


def test_what_was_dropped_and_notes_are_told() -> None:
    error = ValueError("x")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    error.add_note("a note")
    again = across(caught(lambda: error))
    assert again.__notes__ == ["a note"]
    assert again.__cause__.__notes__ == ["(could not be sent with it: lock (lock))"]


def test_a_value_that_cannot_be_rebuilt_costs_only_itself() -> None:
    fault = to_fault(caught(lambda: ValueError("a", "b")), id="m", incarnation=3, codec=FULL)
    fault["args"][1] = b"\xc1"
    fault["state"] = {"x": b"\xc1", "y": FULL.pack([1])}
    again: Any = from_fault(fault)
    assert (type(again), again.args[0], again.y) == (ValueError, "a", 1)
    assert "args[1]" in again.__cause__.__notes__[0]


GOOD = to_fault(caught(lambda: ExceptionGroup("g", [ValueError("x")])), id="m", incarnation=3, codec=PLAIN)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_a_malformed_fault_is_an_exception_all_the_same(data: st.DataObject) -> None:
    junk = (
        st.none()
        | st.integers()
        | st.text(max_size=4)
        | st.binary(max_size=4)
        | st.lists(st.none(), max_size=2)
        | st.just({"a": b"b"})
    )
    fault: Any = dict(GOOD)
    for key in data.draw(st.lists(st.sampled_from([*GOOD, "class", "dspex"]), max_size=4)):
        fault[key] = data.draw(junk)
    if data.draw(st.booleans()):
        fault.pop(data.draw(st.sampled_from(list(GOOD))), None)
    assert isinstance(from_fault(fault, codec=PLAIN), Exception)


@pytest.mark.parametrize(
    "fault", [None, 3, [], {}, "x", {"message": "m"}, GOOD | {"message": 3}, GOOD | {"dropped": None}], ids=repr
)
def test_what_is_no_fault_is_a_protocol_error(fault: Any) -> None:
    assert type(from_fault(fault)) is ProtocolError
