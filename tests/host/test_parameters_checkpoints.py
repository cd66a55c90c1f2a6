"""Checkpoints of a real module process with parameters, and what is given back of them. The test plays parent and keeper."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.params import image
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec
from helpers.hosted_parameters import Thermostat, killed, memory, restarted
from helpers.hosted_process import HostedProcess

pytestmark = pytest.mark.process

CODEC = Codec(pickle=True)


def checkpoint(process: HostedProcess) -> bytes:
    size = process.ask("checkpoint", kind="manual")["size"]
    fd = process.control.take_fd()
    try:
        return os.pread(fd, size + 1, 0)
    finally:
        os.close(fd)


def test_the_user_state_of_the_last_checkpoint_is_given_back_at_a_restart(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat, "begun")
    first.client().call("$call", ["state", 42])
    kept = keeper(first)
    saved = image.decode(checkpoint(first))
    killed(first)
    second = restarted(fork, kept, first, user=saved.user)
    assert second.ask("get_state") == ["given back", 42, None]


def test_a_user_state_that_is_refused_is_reported_and_not_fatal(fork: Any, keeper: Any) -> None:
    first = fork()
    first.start(Thermostat)
    kept = keeper(first)
    killed(first)
    second = fork()
    second.assign(Thermostat, "fresh", kept=True, journal=str(first.folder / "journal"))
    kept.give(second, user=CODEC.pack(["no map"]))
    kind, _, event = second.recv()
    assert (kind, event["type"]) == (m.EVENT, "state_report")
    assert "was refused" in event["message"]
    assert second.recv()[0] == m.READY
    assert second.ask("get_state") == "fresh"


@pytest.mark.parametrize("suspended", [False, True])
def test_a_checkpoint_is_given_back_whole(fork: Any, suspended: bool) -> None:
    process = fork()
    process.start(Thermostat, "s0")
    client = process.client()
    client.call("$set_many", {"target": 11.0, "name": "cellar"})
    client.call("$call", ["state", "s1"])
    if suspended:
        process.ask("suspend")
    data = checkpoint(process)
    if suspended:
        process.ask("resume")
    assert image.decode(data).metrics["calls"] >= 1
    client.call("$set_many", {"target": 29.0, "name": "roof"})
    client.call("$call", ["state", "s2"])
    fd = memory(data)
    assert set(process.ask("restore", fd, who="me")) == {"target", "name"}
    os.close(fd)
    assert client.call("$call", "get") == {"target": 11.0, "name": "cellar", "odd": 1, "quick": 0, "safe": 0}
    assert process.ask("get_state") == ["given back", "s1", "s2"]


def test_a_checkpoint_that_is_refused_changes_nothing(fork: Any) -> None:
    process = fork()
    process.start(Thermostat)
    client = process.client()
    fd = memory(b"nothing of the kind")
    with pytest.raises(Exception, match="no checkpoint"):
        process.ask("restore", fd)
    os.close(fd)
    assert client.call("$call", "get")["target"] == 20.0
