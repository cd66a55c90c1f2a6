"""Parameters of a GenServer: plain attributes of it, checked when the class is made."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import dspex_runtime as dx
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import NO_STATE


class Counter(dx.GenServer):
    step = dx.Parameter(int, default=1, min=1)
    label = dx.Parameter(str, default="n")

    def __init__(self) -> None:
        self.label = "made"

    def init(self, start: int = 0) -> int:
        return start * self.step

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        return dx.Reply(state, state + self.step)


class Keeping(dx.GenServer):
    def init(self) -> dict[str, Any]:
        return {"fresh": True, "handle": object()}

    def get_state(self, state: dict[str, Any]) -> Any:
        return {"n": 1}

    def set_state(self, saved: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, **saved}


def test_parameters_are_attributes_also_without_a_runtime() -> None:
    server = Counter()
    assert (server.step, server.label) == (1, "made")
    server.step = 3
    assert server.init(2) == 6
    with pytest.raises(dx.ConstraintViolationError, match="step"):
        server.step = 0
    assert Counter().step == 1


def test_a_host_lists_them_before_init() -> None:
    host = ServerHost(Counter())
    host.build((2,), {})
    listed = {name: (spec.type.value, spec.default, holder) for name, spec, holder in host.parameters()}
    assert {name: entry[:2] for name, entry in listed.items()} == {"step": ("int", 1), "label": ("str", "made")}
    listed["step"][2].store(5)
    assert host.start((2,), {})
    assert host.get_state() == 10
    assert not host.changed()
    assert host.mode == "eval"


def test_a_server_without_parameters_loads_nothing_for_them() -> None:
    code = (
        "import sys, dspex_runtime as dx\n"
        "from dspex_runtime.host.genserver import ServerHost\n"
        "class Plain(dx.GenServer):\n    def init(self): return 0\n"
        "host = ServerHost(Plain()); host.build((), {}); assert host.parameters() == []; host.start((), {})\n"
        "print([name for name in sys.modules if name.startswith('dspex_runtime.params')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["init", "terminate", "handle_call", "set_state", "format_status"])
def test_a_callbacks_name_is_refused_when_the_class_is_made(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Server\.{name} needs another name"):
        type("Server", (dx.GenServer,), {name: dx.Parameter(int)})


def test_a_wrong_declaration_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(ValueError, match=r"^Server\.rate: "):
        type("Server", (dx.GenServer,), {"rate": dx.Parameter(float, default=3, max=2)})


def test_the_state_is_kept_only_when_the_class_takes_it_back() -> None:
    host = ServerHost(Counter())
    assert not host.keeps_user_state
    assert host.get_user_state() is NO_STATE
    keeping = ServerHost(Keeping())
    keeping.start((), {})
    assert keeping.keeps_user_state
    assert keeping.get_user_state() == {"n": 1}
    keeping.set_user_state({"n": 2})
    assert keeping.state["n"] == 2
    assert keeping.state["fresh"]


def test_without_get_state_it_is_the_state_itself_that_is_kept() -> None:
    class Whole(dx.GenServer):
        def init(self) -> int:
            return 7

        def set_state(self, saved: int, state: int) -> int:
            return saved + state

    host = ServerHost(Whole())
    host.start((), {})
    assert host.get_user_state() == 7
    host.set_user_state(10)
    assert host.state == 17
