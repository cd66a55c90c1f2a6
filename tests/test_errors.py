"""The errors: a hierarchy to catch by, facts as attributes, and no loss on any way they travel."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest

from dspex_runtime import errors
from dspex_runtime.errors import (
    BusyError,
    CallError,
    CallTimeoutError,
    CheckpointError,
    CompileError,
    ConfigError,
    ConstraintViolationError,
    DeadlockError,
    DependencyDownError,
    DspexError,
    GradientNotRequiredError,
    NoProcessError,
    OverloadedError,
    ParameterError,
    ParameterNotFoundError,
    ProcessDownError,
    ProtocolError,
    RegistryError,
    ReloadError,
    RemoteError,
    RuntimeUnreachableError,
    StartError,
    SupervisorError,
    SwapError,
    UnserialisableError,
)
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault

FULL: list[DspexError] = [
    DspexError("wrong", id="a", hint="try"),
    ConfigError("bad", problems=["x: no", "y: no"], hint="fix it"),
    StartError("did not start", id="a", reason=("error", "ValueError", "no", "tb"), remote_traceback="Traceback ..."),
    CallError("failed", id="a"),
    CallTimeoutError("late", id="a", hint="wait"),
    RemoteError("no", type_name="ValueError", remote_traceback="Traceback ...", id="a", incarnation=2, retryable=True),
    ProcessDownError("down", id="a", incarnation=2, reason=("signal", "SEGV"), hint="look"),
    NoProcessError("gone", id="a", incarnation=2, reason="killed", hint="start it"),
    DependencyDownError("no calls", id="a", dependency="b", reason="killed", hint="start it"),
    OverloadedError("full", id="a", limit=1000, hint="later"),
    DeadlockError("circle", id="a", cycle=["a", "b", "a"], hint="more threads"),
    BusyError("busy", id="a"),
    SupervisorError("already_started", "runs", id="a", hint="stop it"),
    ParameterError("conflict", name="t", id="a", hint="read it again"),
    ParameterNotFoundError("no t", name="t", id="a", hint="did you mean T?"),
    ConstraintViolationError("too large", name="t", constraint="max", limit=2.0, value=9.0, id="a", hint="less"),
    GradientNotRequiredError("no gradient", name="t", id="a"),
    CheckpointError("no checkpoint 7", id="a"),
    CompileError("failed", id="a", remote_traceback="Traceback ...", reason="killed", hint="look"),
    ReloadError("stopped at 'a'", result=None, remote_traceback="Traceback ...", id="a", hint="mend it"),
    SwapError("refused", code="verify", id="a", remote_traceback="Traceback ...", reason="killed", hint="mend it"),
    RegistryError("already_registered", "held", holder="b", id="a", hint="wait"),
    RuntimeUnreachableError("nobody", hint="dspex up"),
    ProtocolError("garbage"),
    UnserialisableError("a lock", path="result.lock", id="a"),
]


def facts(error: DspexError) -> dict[str, Any]:
    return {**vars(error), "type": type(error), "text": str(error), "args": error.args, "code": error.code}


def test_every_class_is_here() -> None:
    there = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, DspexError)}
    assert {type(error).__name__ for error in FULL} == set(errors.__all__) == {name for name in there if name[0] != "_"}


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_no_fact_is_lost_on_the_way(error: DspexError) -> None:
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)
    assert facts(copy.copy(error)) == facts(error)
    wired = Codec().unpack(Codec().pack([error.to_wire()]))[0]
    assert wired["class"] == type(error).__name__
    assert facts(DspexError.from_wire(wired)) == facts(error)


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_what_came_by_wire_can_be_sent_on(error: DspexError) -> None:
    again = DspexError.from_wire(error.to_wire())
    assert again.to_wire() == error.to_wire()


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (ConfigError, (ValueError,)),
        (ParameterNotFoundError, (ParameterError, KeyError)),
        (ConstraintViolationError, (ParameterError, ValueError)),
        (GradientNotRequiredError, (ParameterError,)),
        (CallTimeoutError, (CallError, TimeoutError)),
        (RemoteError, (CallError,)),
        (ProcessDownError, (CallError,)),
        (NoProcessError, (ProcessDownError,)),
        (DependencyDownError, (ProcessDownError,)),
        (OverloadedError, (CallError,)),
        (BusyError, (CallError,)),
        (RuntimeUnreachableError, (ConnectionError,)),
        (UnserialisableError, (TypeError,)),
    ],
)
def test_errors_are_caught_as_what_they_are(cls: type[DspexError], bases: tuple[type[Exception], ...]) -> None:
    assert all(issubclass(cls, base) for base in (*bases, DspexError))


def test_codes_are_words_for_programs_and_unique() -> None:
    codes = [getattr(errors, name).code for name in errors.__all__]
    # A SupervisorError has its supervisor's word instead of one of its own.
    assert len(codes) - len(set(codes)) == 1
    assert SupervisorError("not_found", "no").code == "not_found"


def test_python_shows_the_hint_once_below_the_message_however_the_error_travelled() -> None:
    error = CompileError("dspy has no optimizer 'X'", hint="did you mean 'Y'?")
    error.add_note("while compiling")
    assert str(error) == "dspy has no optimizer 'X'"
    codec = Codec(pickle=True)
    fault = to_fault(error, id="qa", incarnation=1, codec=codec)
    for same in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), from_fault(fault, codec=codec)):
        assert list(same.__notes__) == ["while compiling", "hint: did you mean 'Y'?"]
        with pytest.raises(CompileError) as raised:
            raise same
        assert "".join(traceback.format_exception(raised.value)).count("did you mean") == 1
    again = from_fault(to_fault(error, id="qa", incarnation=1, codec=codec), codec=codec)
    assert "".join(traceback.format_exception(again)).count("did you mean") == 1
    assert DspexError("no hint").__notes__ == []


def test_a_note_is_text_as_python_has_it() -> None:
    with pytest.raises(TypeError, match="note must be a str, not 'int'"):
        DspexError("wrong").add_note(1)  # type: ignore[arg-type]


def test_an_error_of_a_newer_peer_is_still_an_error_with_its_facts() -> None:
    error = DspexError.from_wire({"class": "QuotaError", "code": "quota", "message": "too much", "id": "a", "limit": 3})
    assert type(error) is DspexError
    assert (str(error), error.code, error.id, vars(error)["limit"]) == ("too much", "quota", "a", 3)


@pytest.mark.parametrize("name", ["Exception", "object", "ExitReason", None, 3])
def test_only_our_own_classes_are_made_from_the_wire(name: object) -> None:
    assert type(DspexError.from_wire({"class": name, "message": "x"})) is DspexError


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (CallError("x"), False),
        (CallTimeoutError("x"), False),
        (ProcessDownError(id="a"), False),
        (BusyError("x"), False),
        (RemoteError("x"), False),
        (RemoteError("x", retryable=True), True),
        (NoProcessError(id="a"), True),
        (DependencyDownError(id="a", dependency="b"), True),
        (OverloadedError("x"), True),
    ],
)
def test_only_what_certainly_did_not_begin_is_retryable(error: CallError, retryable: bool) -> None:
    assert error.retryable is retryable


class TestTexts:
    """Made from the facts, with the remote traceback at the end."""

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (DspexError("wrong", hint="try"), "wrong"),
            (StartError("'a' did not start"), "'a' did not start"),
            (StartError("'a' did not start", remote_traceback="Traceback ...\n\n"), "'a' did not start\n\nTraceback ..."),
            (RemoteError("no", type_name="ValueError"), "ValueError: no"),
            (
                RemoteError("no", type_name="ValueError", id="a", incarnation=2, remote_traceback="Traceback ...\n"),
                "ValueError: no in 'a' (incarnation 2)\n\nTraceback ...",
            ),
            (ProcessDownError(id="a", reason="killed"), "'a' went down with the call in flight: killed (SIGKILL)"),
            (NoProcessError("no such id 'b'", id="b"), "no such id 'b'"),
        ],
    )
    def test_of(self, error: DspexError, text: str) -> None:
        assert str(error) == text
