"""An owner that is sealed: who writes waits, and nothing acknowledged is lost whichever way it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.owner import Owner
from dspex_runtime.params.seal import MOVED
from dspex_runtime.types import Durability
from helpers.owners import Keeper, specs

SPECS = specs(n=(int, {"default": 0}), items=(list, {"default": []}), safe=(int, {"default": 0, "durability": "fsync"}))
PATIENCE_S = 20.0


class Writer:
    """A thread of the user's that writes."""

    def __init__(self, write: Callable[[], Any]) -> None:
        self._write = write
        self.outcome: Any = None
        self._begun, self._thread = threading.Event(), threading.Thread(target=self._run)
        self._thread.start()
        assert self._begun.wait(PATIENCE_S)

    def _run(self) -> None:
        self._begun.set()
        try:
            self.outcome = self._write()
        except ParameterError as exc:
            self.outcome = exc

    def ended(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.outcome


WRITES: dict[str, Callable[[Owner], Any]] = {
    "set": lambda owner: owner.set("n", 1, who="t"),
    "of several": lambda owner: owner.set_many({"n": 1, "items": [1]}, who="t"),
    "durable": lambda owner: owner.set("safe", 1, who="t"),
    "reset": lambda owner: owner.reset("n", who="t"),
    "facts": lambda owner: owner.set_facts({"mode": "train"}),
    "an image": lambda owner: owner.restore({}, who="t", facts={"mode": "train"}),
    "no longer declared": lambda owner: owner.undeclare("n"),
}


@pytest.mark.parametrize("way", WRITES, ids=str)
def test_a_write_waits_for_the_end_of_the_seal(keeper: Keeper, way: str) -> None:
    owner = keeper.start(SPECS)
    owner.seal()
    before = owner.image(publish=False)
    writer = Writer(lambda: WRITES[way](owner))
    assert owner.image(publish=False) == before
    assert owner.facts() == {}
    owner.unseal()
    assert not isinstance(writer.ended(), ParameterError)
    assert owner.facts() or owner.image() != before
    owner.unseal()  # again is nothing


@pytest.mark.parametrize("way", WRITES, ids=str)
def test_a_write_that_waits_fails_when_the_parameters_have_gone(keeper: Keeper, way: str) -> None:
    owner = keeper.start(SPECS)
    view = keeper.view()
    owner.seal()
    journal = sorted(path.read_bytes() for path in keeper.directory.iterdir())
    writer = Writer(lambda: WRITES[way](owner))
    owner.let_go()
    error = writer.ended()
    assert isinstance(error, ParameterError)
    assert error.code == MOVED
    assert "'qa' went to the process that takes the place of this one; nothing was set" in str(error)
    assert (view.get("n"), view.version("n"), view.version("safe")) == (0, 1, 1)
    assert sorted(path.read_bytes() for path in keeper.directory.iterdir()) == journal


def test_who_has_let_go_is_nobody(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    owner.set("n", 4, who="t")
    view, lease = keeper.view(), keeper.incarnation
    offered = list(keeper.offered)
    owner.seal()
    owner.let_go()
    owner.unseal()
    for late in (*WRITES.values(), lambda each: each.declare("new", SPECS["n"], keeper.boxes["n"])):
        with pytest.raises(ParameterError, match="went to the process"):
            late(owner)
    owner.hand_over()
    owner.close()
    assert keeper.offered == offered
    assert (view.get("n"), keeper.kept().table.holder()) == (4, lease)  # type: ignore[union-attr]
    keeper.owner = None


def test_a_seal_is_there_when_durable_writes_are_published(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the journal and not in the table would be lost in between."""
    owner = keeper.start(SPECS, durability=Durability.FSYNC)
    at_the_disk, disk = threading.Event(), threading.Event()
    sync = keeper._journal.sync

    def slow(position: int) -> None:
        at_the_disk.set()
        assert disk.wait(PATIENCE_S)
        sync(position)

    monkeypatch.setattr(keeper._journal, "sync", slow)
    writer = Writer(lambda: owner.set("n", 1, who="t"))
    assert at_the_disk.wait(PATIENCE_S)
    sealer = Writer(owner.seal)
    disk.set()
    assert sealer.ended() is None
    assert owner.image(publish=False)["n"][0] == 2
    assert writer.ended().version == 2


def test_a_seal_that_is_broken_while_the_disk_hangs_is_none(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = keeper.start(SPECS, durability=Durability.FSYNC)
    at_the_disk, disk = threading.Event(), threading.Event()
    monkeypatch.setattr(keeper._journal, "sync", lambda _: (at_the_disk.set(), disk.wait(PATIENCE_S)))
    writer = Writer(lambda: owner.set("n", 1, who="t"))
    assert at_the_disk.wait(PATIENCE_S)
    sealer = Writer(owner.seal)
    while owner._ledger._seal is None:
        threading.Event().wait(0.001)
    owner.unseal()
    assert "was broken before their last write was made" in str(sealer.ended())
    disk.set()
    assert writer.ended().version == 2
    assert owner.set("items", [1], who="t").version == 2


def test_a_journal_that_takes_nothing_is_noticed_before_anything_moves(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    keeper.directory.parent.mkdir(exist_ok=True)
    keeper.directory.write_text("not a directory")
    with pytest.raises(ParameterError, match="cannot be written") as caught:
        owner.seal()
    assert caught.value.code == "journal"
    owner.unseal()
    keeper.directory.unlink()
    assert owner.set("n", 2, who="t").version == 2
