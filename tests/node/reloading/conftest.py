"""A runtime with fake processes that is reloaded by the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config.steps import Action
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.errors import DspexError
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import CANCEL, EVENT, FAULT, REPLY
from helpers.fake_node import Client, FakeNode


class FakeSwap:
    """Stands for a swap: ends as the test says, by itself if it says nothing."""

    def __init__(self, play: Play, order: Order, facts: dict[str, Any]) -> None:
        self.play, self.order, self.facts = play, order, facts
        self.given_up: str | None = None
        self.over = False

    def begin(self) -> None:
        self.facts["tell"]({"type": "swap", "id": self.order.id, "phase": "rehearsing"})
        if self.order.id not in self.play.held:
            self.end(self.play.refused.get(self.order.id))

    def end(self, error: DspexError | None = None) -> None:
        self.over = True
        if error is None:
            node = self.play.runtime.node
            record = node.registry.resolve(self.order.id)
            assert node.supervision is not None
            node.supervision.swapped(record, self.order.spec)
        self.facts["done"](None if error is not None else [{}], error)

    def give_up(self, why: str | None = None) -> None:
        if not self.over:
            self.given_up = why
            self.end(DspexError("given up"))


class Play:
    """One runtime and one client that reloads it.

    Attributes:
        swaps: That were made, latest last.
        held: Ids whose swap the test ends.
        refused: Why the swap of an id fails.
        refuses: Faults with which `configure` of an id is answered.
    """

    def __init__(self, runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime = runtime
        self.swaps: list[FakeSwap] = []
        self.held: set[str] = set()
        self.refused: dict[str, DspexError] = {}
        self.refuses: dict[str, dict[str, Any]] = {}
        self.configured: list[tuple[str, dict[str, Any]]] = []
        self.told: list[dict[str, Any]] = []
        self.answer: Any = None
        monkeypatch.setattr(runtime.node.swaps, "start", self._start)

    def _start(self, orders: list[Order], **facts: Any) -> FakeSwap:
        (order,) = orders
        self.swaps.append(FakeSwap(self, order, facts))
        return self.swaps[-1]

    def boot(self, *children: dict[str, Any], **tree: Any) -> Play:
        self.runtime.boot(*children, **tree)
        self.client = self.runtime.connect()
        return self

    def config(self, *children: dict[str, Any], **tree: Any) -> dict[str, Any]:
        return self.runtime.config(*children, **tree)

    def begin(self, *children: dict[str, Any], plan: bool = False, **tree: Any) -> int:
        """Ask for a reload; let happen what follows."""
        return self.send(self.config(*children, **tree), plan=plan)

    def send(self, config: dict[str, Any], *, plan: bool = False, client: Client | None = None) -> int:
        self.answer = None
        number = (client or self.client).begin("reload", config=config, plan=plan)
        self.turns()
        self.hear(number)
        return number

    def turns(self) -> None:
        """Let everything happen: processes are told, supervisors do, one step follows the other."""
        for _ in range(40):
            self.runtime.turn()
            for id, process in list(self.runtime.launcher.processes.items()):
                for op, args, _, _ in list(process.requests):
                    if op == "configure":
                        self.configured.append((id, args))
                        process.answered("configure", {}, self.refuses.get(id))

    def hear(self, number: int) -> None:
        for message in self.client.heard():
            if message[0] == EVENT and message[1] == number:
                self.told.append(message[2])
            elif message[0] in (REPLY, FAULT) and message[1] == number:
                assert self.answer is None
                self.answer = message

    def cancel(self, number: int) -> None:
        self.client.send([CANCEL, number])
        self.turns()

    @property
    def value(self) -> Any:
        """What the reload was answered with."""
        assert self.answer is not None, "it was not answered"
        if self.answer[0] == FAULT:
            raise from_fault(self.answer[2])
        return self.answer[2]

    def reload(self, *children: dict[str, Any], **tree: Any) -> list[str]:
        """Reload to the end; return "state action id" of each step."""
        self.begin(*children, **tree)
        return self.steps()

    def steps(self) -> list[str]:
        return [f"{step.get('state', 'planned')} {step['action']} {step['id']}" for step in self.value["steps"]]

    def error(self) -> Any:
        """What the step that failed raised."""
        assert self.value["fault"] is not None
        return from_fault(self.value["fault"])

    def spec(self, id: str) -> ChildSpec:
        """The spec by which the supervisor of a child goes."""
        node = self.runtime.node
        assert node.supervision is not None
        path, _, last = id.rpartition("/")
        above = node.supervision.node_of(path)
        assert above is not None
        view = above.machine.child(last)  # type: ignore[arg-type]
        assert view is not None
        return view.spec

    def order(self, path: str = "") -> list[str]:
        node = self.runtime.node
        assert node.supervision is not None
        above = node.supervision.node_of(path)
        assert above is not None
        return [str(view.id) for view in above.machine.children]

    def shown(self) -> dict[str, str]:
        return self.runtime.shown()

    def did(self) -> list[str]:
        return self.runtime.launcher.did()

    def events(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.runtime.node.reports.events if event["type"] == type]


@pytest.fixture
def play(runtime: FakeNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Play]:
    play = Play(runtime, monkeypatch)
    yield play
    assert runtime.node.reload is None, "a reload is still under way"


__all__ = ["Action", "Play"]
