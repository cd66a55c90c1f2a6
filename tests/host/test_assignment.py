"""The first message of the parent, read or refused."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.child_spec import LaunchSpec, Limits
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import ProtocolError
from dspex_runtime.host.assignment import from_message
from dspex_runtime.types import Kind
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

LAUNCH = LaunchSpec(Kind.SERVER, "m:N", args=(1,), env={"ANSWER": "42", "DSPEX_ID": "mine"}, limits=Limits(nice=3))
SPEC: dict[str, Any] = {
    "id": "sup/it", "incarnation": 3, "runtime": "rt", "socket": "/rt.sock", "slot": 7,
    "log": "/it.log", "log_max_bytes": 9, "log_keep": 2, "cwd": "/", "launch": to_map(LAUNCH),
    "kept": True, "journal": "/journals/a", "base": {"calls": 3},
}  # fmt: skip


def test_what_the_parent_sends_is_what_the_process_becomes() -> None:
    codec = Codec()
    assignment = from_message(codec.unpack(codec.pack([m.CONTROL, 0, "assign", SPEC])))
    assert {name: getattr(assignment, name) for name in SPEC if name != "launch"} == {
        k: v for k, v in SPEC.items() if k != "launch"
    }
    assert assignment.launch == LAUNCH
    assert not assignment.rehearsal
    assert from_message([m.CONTROL, 0, "assign", {**SPEC, "rehearsal": True}]).rehearsal


def test_the_environment_says_who_it_is_and_the_spec_cannot_say_otherwise() -> None:
    assert from_message([m.CONTROL, 0, "assign", SPEC]).environment() == {
        "ANSWER": "42",
        "DSPEX_ID": "sup/it",
        "DSPEX_INCARNATION": "3",
        "DSPEX_RUNTIME": "rt",
        "DSPEX_SOCKET": "/rt.sock",
    }


WRONG = {
    "another operation": [m.CONTROL, 0, "stop", {}],
    "another kind": [m.CHANNEL, 0, {}],
    "no spec": [m.CONTROL, 0, "assign", None],
    "nothing": [],
}


@pytest.mark.parametrize("message", WRONG.values(), ids=WRONG.keys())
def test_another_message_is_refused(message: list[Any]) -> None:
    with pytest.raises(ProtocolError, match="expected the assignment"):
        from_message(message)


@pytest.mark.parametrize("missing", SPEC)
def test_an_incomplete_assignment_names_what_is_missing(missing: str) -> None:
    with pytest.raises(ProtocolError, match=f"incomplete: KeyError\\('{missing}'"):
        from_message([m.CONTROL, 0, "assign", {k: v for k, v in SPEC.items() if k != missing}])


def test_a_launch_of_another_version_is_refused() -> None:
    with pytest.raises(ProtocolError, match="incomplete"):
        from_message([m.CONTROL, 0, "assign", {**SPEC, "launch": {**SPEC["launch"], "from_the_future": 1}}])
