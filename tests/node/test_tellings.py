"""Whoever changes something waits until those whom it concerns go by it, and for nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.core.dependencies import Dependencies
from dspex_runtime.core.dependency_events import Declared
from dspex_runtime.node.tellings import Tellings
from dspex_runtime.types import OnDown

EDGES = {"x": ("y",), "w": ("s/t/z",), "v": ("qa",)}


@pytest.fixture
def tellings() -> Tellings:
    machine = Dependencies()
    machine.handle(*(Declared(id, dict.fromkeys(deps, Dependency(OnDown.FAIL))) for id, deps in EDGES.items()))
    return Tellings(machine)


@pytest.mark.parametrize(
    ("changed", "concerned"),
    [
        (["y"], {"x"}),
        (["s/t/z"], {"w"}),
        (["s"], {"w"}),
        (["s/t"], {"w"}),
        (["s/tt"], set()),
        (["qa#0", "qa"], {"v"}),
        (["qa#0"], set()),
        (["x"], {"x"}),
        (["y", "s"], {"x", "w"}),
    ],
)
def test_only_those_whom_it_concerns_are_waited_for(tellings: Tellings, changed: list[str], concerned: set[str]) -> None:
    heard = {id: tellings.begin(id) for id in EDGES}
    done: list[str] = []
    tellings.when_heard(changed, lambda: done.append("done"))
    assert bool(done) == (not concerned)
    for id in EDGES.keys() - concerned:
        heard[id]()
    assert bool(done) == (not concerned)
    for id in concerned:
        assert not done
        heard[id]()
    assert done == ["done"]


def test_those_told_later_are_not_waited_for(tellings: Tellings) -> None:
    first = tellings.begin("x")
    done: list[str] = []
    tellings.when_heard(["y"], lambda: done.append("first"))
    second = tellings.begin("x")
    tellings.when_heard(["y"], lambda: done.append("second"))
    first()
    first()  # heard once
    assert done == ["first"]
    second()
    assert done == ["first", "second"]


def test_who_is_called_may_wait_again(tellings: Tellings) -> None:
    done: list[str] = []
    later: list[Callable[[], None]] = []

    def again() -> None:
        later.append(tellings.begin("x"))
        tellings.when_heard(["y"], lambda: done.append("again"))

    first = tellings.begin("x")
    tellings.when_heard(["y"], again)
    tellings.when_heard(["y"], lambda: done.append("other"))
    first()
    assert done == ["other"]
    later[0]()
    assert done == ["other", "again"]
