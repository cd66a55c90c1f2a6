"""What can be compiled: a dspy program that runs, asked for by a client."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import CompileError
from dspex_runtime.wire.faults import from_fault
from helpers.fake_node import FakeNode, server

GROUP: dict[str, Any] = {"id": "g", "supervisor": {"children": []}}


@pytest.mark.parametrize(
    ("id", "why"), [("s", "'s' is a server: only dspy programs can be compiled"), ("g", "'g' is a supervisor: only dspy programs")]
)
def test_only_a_program_can_be_compiled(runtime: FakeNode, id: str, why: str) -> None:
    client = runtime.boot(server("s"), GROUP).owner
    with pytest.raises(CompileError, match=why):
        client.ask("compile", id=id, job=b"")


def test_only_one_that_runs(runtime: FakeNode) -> None:
    client = runtime.boot({"id": "a", "module": "pkg.mod:Name"}).owner
    client.begin("stop", id="a")
    runtime.turn()
    client.heard()
    with pytest.raises(CompileError, match="'a' is STOPPED: only a running module can be compiled") as caught:
        client.ask("compile", id="a", job=b"")
    assert "rt.start('a')" in str(caught.value.hint)


def test_a_module_asks_as_a_client(runtime: FakeNode) -> None:
    runtime.boot({"id": "a", "module": "pkg.mod:Name"})
    ((_, _, fault),) = runtime.process("a").ask("compile", id="a", job=b"")
    assert "dx.connect().compile" in str(from_fault(fault))
