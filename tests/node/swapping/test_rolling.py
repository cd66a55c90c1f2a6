"""A swap of a group, one replica after the other: when it goes on, and what giving it up comes to."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import SwapError
from helpers.fake_node import FakeNode, server
from helpers.swap_play import Play


class Rolled:
    """Two replicas that have a table, so that one which was swapped has to join again."""

    def __init__(self, runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime = runtime
        self.play = Play(runtime).boot(server("qa", replicas=2), max_restarts=100)
        monkeypatch.setattr(runtime.node.keeping, "holds_table", lambda _id: True)
        self.client = runtime.connect()
        self.play.client = self.client
        self.play.number = self.client.begin("swap", members=[{"id": "qa", "version": "2"}], timeout=30.0)

    def swapped(self, number: int) -> Rolled:
        """Carry a replica's swap to its end."""
        id = f"qa#{number}"
        self.play.old[id] = self.runtime.process(id)
        self.play.to("", id)
        self.runtime.process(id).fd_requests.clear()  # the checkpoint after the swap
        return self

    def joined(self, number: int, other: int) -> Rolled:
        """Have a replica and the first of the others find that they have the same."""
        self.runtime.process(f"qa#{number}").answered("shared_versions", {})
        self.runtime.turn()
        asked = self.runtime.process(f"qa#{other}").fd_requests
        for question in [each for each in asked if each[0] == "shared_values"]:
            asked.remove(question)
            question[2]({"n": 0, "versions": {}, "behind": False}, None, values())
        self.runtime.turn()
        return self

    def begun(self, number: int, n: int = 1) -> bool:
        return self.runtime.launcher.log.count(f"start qa#{number}") == n + 1

    def abort(self) -> Any:
        return self.runtime.connect().ask("abort_swap", id="qa")


def values() -> int:
    return os.memfd_create("values", os.MFD_CLOEXEC)


@pytest.fixture
def rolled(runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Rolled:
    return Rolled(runtime, monkeypatch)


class TestRolling:
    """One after the other."""

    def test_the_next_one_waits_until_the_first_is_called_again(self, rolled: Rolled) -> None:
        rolled.swapped(0)
        assert not rolled.begun(1)
        rolled.joined(0, 1)
        assert rolled.begun(1)
        rolled.swapped(1).joined(1, 0)
        assert rolled.play.answer()["members"][0]["id"] == "qa"


class TestGivingUp:
    """Before all are swapped."""

    def test_while_the_first_is_not_called_again_it_is_brought_back_at_once(self, rolled: Rolled) -> None:
        rolled.swapped(0)
        assert rolled.abort() is True
        assert rolled.begun(0, 2)
        rolled.runtime.process("qa#0").answered("shared_versions", {})  # nobody waits for it any more
        rolled.swapped(0)
        error = rolled.play.error()
        assert isinstance(error, SwapError)
        assert (error.code, error.id) == ("aborted", "qa#1")
        rolled.joined(0, 1)
        assert not rolled.begun(1)
        assert rolled.abort() is False

    def test_when_all_are_swapped_it_is_too_late(self, rolled: Rolled) -> None:
        rolled.swapped(0).joined(0, 1).swapped(1)
        assert rolled.abort() is True
        assert rolled.play.answer()["members"][0]["version"] == "2"

    def test_what_is_brought_back_already_is_brought_back_all_the_same(self, rolled: Rolled) -> None:
        rolled.swapped(0).joined(0, 1)
        rolled.play.old["qa#1"] = rolled.runtime.process("qa#1")
        rolled.play.snapshot("qa#1", ValueError("no"))
        assert rolled.begun(0, 2)
        rolled.client.close()
        rolled.swapped(0)
        record = rolled.runtime.node.registry.get("qa#0")
        assert record is not None
        assert record.version is None
        rolled.play.is_over()
