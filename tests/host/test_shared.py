"""The runtime's shared parameters as a module process reads them. The test plays the parent."""

from __future__ import annotations

from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import ParameterError
from dspex_runtime.params import values
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

pytestmark = pytest.mark.process

CODEC = Codec(pickle=True)


class Reader(dx.GenServer):
    from dspex_runtime.params.parameter import Shared

    style = Shared("style")

    def init(self) -> Any:
        return None

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(self.style, state)


class Asker(Reader):
    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        try:
            return dx.Reply(self.style, state)
        except ParameterError as exc:
            return dx.Reply(type(exc).__name__, state)


def test_a_shared_parameter_is_read_from_the_runtimes_table(fork: Any) -> None:
    from dspex_runtime.params.table import Table

    table = Table.create("shared")
    table.lease(0)
    slot = table.add("style")
    table.publish(slot, 1, values.encode(CODEC, "brief"))
    process = fork()
    process.start(Reader, shared=True)
    client = process.client()
    client.begin("$call", None)
    _, number, op, args = process.recv()
    assert (op, args) == ("param_table", {"id": "$shared"})
    process.control.send([m.PARAM, number, {}], fds=[table.fd])
    assert client.result() == "brief"
    table.publish(slot, 2, values.encode(CODEC, "full"))
    assert client.call("$call", None) == "full"
    table.close()


def test_without_shared_parameters_reading_one_says_so(fork: Any) -> None:
    lonely = fork()
    lonely.start(Asker)
    assert lonely.client().call("$call", None) == "ParameterError"
    process = fork()
    process.start(Asker, shared=True)
    client = process.client()
    client.begin("$call", None)
    process.control.send([m.REPLY, process.recv()[1], None])
    assert client.result() == "ParameterNotFoundError"
