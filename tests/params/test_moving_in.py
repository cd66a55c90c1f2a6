"""Two owners of one table, one after the other, while a reader has it mapped all the time; and kills in between."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from dspex_runtime.params import values
from dspex_runtime.params.journal import Journal, tail
from dspex_runtime.params.moving_in import SWAP, Plan
from dspex_runtime.params.owner import Box, Kept, Owner
from dspex_runtime.params.records import FACTS, SET
from dspex_runtime.params.spec import ParameterSpec
from dspex_runtime.params.table import Table
from dspex_runtime.types import Durability
from helpers.killing import dies_at
from helpers.owners import CODEC, Keeper, specs

OLD = specs(
    kept=(int, {"default": 1}),
    unset=(int, {"default": 1}),
    gone=(str, {"default": "old"}),
    big=("array", {"default": [0.0]}),
    quick=(int, {"default": 0, "durability": "memory"}),
    step=("array", {"default": [0.0], "requires_grad": True}),
)
NEW = specs(
    kept=(int, {"default": 5}),
    unset=(int, {"default": 2}),
    fresh=(str, {"default": "new"}),
    big=("array", {"default": [0.0]}),
    quick=(int, {"default": 0, "durability": "memory"}),
    step=("array", {"default": [0.0], "requires_grad": True}),
)
BIG = np.arange(20_000.0)
TURNS = 40
LAST = 100 * (TURNS - 1) + 50


class Unheard:
    """The hooks of a rehearsal."""

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        pass

    def notify(self, change: Any) -> None:
        pass

    def report(self, text: str) -> None:
        pass

    def value_at(self, name: str, version: int) -> bytes:
        raise AssertionError


class Next:
    """The process that takes the place of the one that a keeper has started."""

    def __init__(self, keeper: Keeper, declared: Mapping[str, ParameterSpec], configured: Mapping[str, Any] | None = None) -> None:
        self.keeper, self.declared, self.configured = keeper, declared, configured or {}
        self.boxes = {name: Box(copy.deepcopy(spec.default)) for name, spec in declared.items()}
        self.private: Owner | None = None
        self.before: dict[str, Any] = {}

    def rehearse(self, before: Mapping[str, Any] | None = None) -> Owner:
        """Give it a copy of what the old one has."""
        old = self.keeper.owner
        assert old is not None
        stored = {name: tuple(entry) for name, entry in {**old.kept_back(), **old.image()}.items()}
        encoded = {name: bytes(values.encode(CODEC, value)) for name, value in (before or {}).items()}
        self.private = owner = self._owner(None, Unheard())
        owner.open(Kept(stored=stored, configured=encoded, facts=old.facts()), self.configured)
        self.configured_before, self.before = encoded, owner.image()
        return owner

    def plan(self) -> Plan:
        assert self.private is not None
        after = self.private.image()
        changed = {name for name, entry in after.items() if entry[1] != self.before[name][1]}
        return Plan(after, changed, self.private.facts())

    def move_in(self, plan: Plan | None = None) -> Any:
        """Seal the old one, and take its place."""
        keeper, old = self.keeper, self.keeper.owner
        assert old is not None
        plan = plan or self.plan()
        old.seal()
        has = old.descriptors()
        kept = Kept(table=Table.adopt(has.table), blobs=has.blobs, volatile_fd=has.volatile, configured=self.configured_before)
        keeper._journal.close()
        old.let_go()
        keeper._journal = Journal.at(keeper.directory)
        keeper.owner = owner = self._owner(keeper._journal, keeper)
        keeper.boxes = dict(self.boxes)
        changes = owner.move_in(kept, self.configured, plan, position=has.position)
        assert self.private is not None
        self.private.close()
        return changes

    def _owner(self, journal: Any, hooks: Any) -> Owner:
        owner = Owner("qa", CODEC, durability=Durability.JOURNAL, journal=journal, incarnation=self.keeper.incarnation, hooks=hooks)
        for name, spec in self.declared.items():
            owner.declare(name, spec, self.boxes[name])
        return owner


@pytest.fixture
def old(keeper: Keeper) -> Owner:
    owner = keeper.start(OLD)
    owner.set("kept", 7, who="me")
    owner.set("gone", "value", who="me")
    owner.set("big", BIG, who="me")
    owner.set("quick", 3, who="me")
    owner.apply_gradient("step", [1.0], who="me")
    owner.set_facts({"mode": "train"})
    return owner


def test_what_was_not_migrated_stays_as_it_is_for_everybody(keeper: Keeper, old: Owner) -> None:
    view = keeper.view()
    arrays = view.get("big")
    before = {name: view.entry(name) for name in ("kept", "big", "quick", "step")}
    offered, written = list(keeper.offered), keeper.records("kept")
    new = Next(keeper, NEW)
    new.rehearse()
    assert [change.name for change in new.move_in()] == ["unset"]
    for name, entry in before.items():
        now = view.entry(name)
        assert (now.version, now.updated_at, now.who) == (entry.version, entry.updated_at, "me"), name
        assert np.array_equal(now.value, entry.value), name
    assert view.get("big") is arrays, "its blob is the same, and was not read again"
    assert keeper.offered == offered
    assert keeper.records("kept") == written
    assert (new.boxes["kept"].value, new.boxes["quick"].value) == (7, 3)
    assert np.array_equal(view.entry("step").grad, before["step"].grad)


def test_names_come_and_go_and_what_nobody_has_set_is_todays_default(keeper: Keeper, old: Owner) -> None:
    view = keeper.view()
    new = Next(keeper, NEW)
    new.rehearse()
    new.move_in()
    assert view.names() == sorted(NEW)
    assert (view.entry("unset").value, view.entry("unset").version, view.entry("unset").who) == (2, 2, "default")
    assert (view.entry("fresh").value, view.entry("fresh").version, view.entry("fresh").who) == ("new", 1, "default")
    assert keeper.owner is not None
    assert keeper.owner.kept_back()["gone"][0] == 2, "it is kept, should it be declared again"
    assert keeper.owner.facts() == {"mode": "train"}


def test_what_a_migration_changed_is_one_record_with_the_facts(keeper: Keeper, old: Owner) -> None:
    view = keeper.view()
    new = Next(keeper, NEW)
    private = new.rehearse()
    private.set_many({"kept": 70, "fresh": "made"}, who="anybody")
    private.set_facts({"mode": "eval"})
    before = list(tail(keeper.directory))
    changes = new.move_in()
    assert [(change.name, change.version, change.value, change.who) for change in changes] == [
        ("kept", 3, 70, SWAP),
        ("fresh", 1, "made", SWAP),
        ("unset", 2, 2, "default"),
    ]
    assert [(change.name, change.who) for change in keeper.changes[-3:]] == [("kept", SWAP), ("fresh", SWAP), ("unset", "default")]
    written = [payload for _, payload in list(tail(keeper.directory))[len(before) :]]
    assert [payload[0] for payload in written][:4] == [FACTS, SET, SET, FACTS], "the old one's last word, then the new one's first"
    assert (view.get("kept"), view.get("fresh"), view.version("kept")) == (70, "made", 3)
    assert keeper.owner is not None
    assert keeper.owner.set("kept", 71, who="me").version == 4


def test_a_value_that_is_configured_otherwise_is_set_by_the_configuration(keeper: Keeper) -> None:
    keeper.start(OLD, configured={"kept": 3, "unset": 3})
    keeper.boxes["kept"].store(3)
    assert keeper.owner is not None
    keeper.owner.set("unset", 9, who="me")
    new = Next(keeper, NEW, {"kept": 4, "unset": 3})
    new.rehearse({"kept": 3, "unset": 3})
    changes = new.move_in()
    assert [(change.name, change.version, change.value, change.who) for change in changes] == [("kept", 2, 4, "yaml")]
    entry = keeper.view().entry("unset")
    assert (entry.value, entry.who) == (9, "me"), "what it says of this one is what it said before"


def test_a_name_that_comes_back_has_its_value_again(keeper: Keeper, old: Owner) -> None:
    view = keeper.view()
    away = Next(keeper, NEW)
    away.rehearse()
    away.move_in()
    assert "gone" not in view.names()
    back = Next(keeper, OLD)
    back.rehearse()
    back.move_in()
    assert (view.get("gone"), view.version("gone")) == ("value", 3)
    assert keeper.owner is not None
    assert list(keeper.owner.kept_back()) == ["fresh"]
    keeper.kill()
    keeper.start(OLD)
    assert view.get("gone") == "value"


def test_the_next_incarnation_has_all_of_it_also_from_the_disk_alone(keeper: Keeper, old: Owner) -> None:
    new = Next(keeper, NEW)
    new.rehearse().set("kept", 70, who="anybody")
    new.move_in()
    assert keeper.owner is not None
    keeper.owner.set("fresh", "later", who="me")
    keeper.kill_runtime()
    owner = keeper.start(NEW)
    assert (owner.get("kept"), owner.version("kept"), owner.get("fresh")) == (70, 3, "later")
    assert np.array_equal(owner.get("big"), BIG)
    assert owner.facts() == {"mode": "train"}


def test_who_declares_nothing_withdraws_everything(keeper: Keeper, old: Owner) -> None:
    view = keeper.view()
    new = Next(keeper, {})
    new.rehearse()
    new.move_in()
    assert view.names() == []
    assert set(new.keeper.owner.kept_back()) == set(OLD)  # type: ignore[union-attr]


def test_a_table_is_made_where_the_old_one_had_none(keeper: Keeper) -> None:
    keeper.incarnation = 3
    new = Next(keeper, NEW, {"kept": 8})
    new.private = private = new._owner(None, Unheard())
    private.open(Kept(), new.configured)
    new.before = private.image()
    private.set("fresh", "made", who="anybody")
    keeper._journal = Journal.at(keeper.directory)
    keeper.owner = owner = new._owner(keeper._journal, keeper)
    owner.move_in(Kept(), new.configured, new.plan(), position=0)
    private.close()
    view = keeper.view()
    assert [(view.get(name), view.entry(name).who) for name in ("kept", "fresh", "unset")] == [
        (8, "yaml"),
        ("made", SWAP),
        (2, "default"),
    ]
    assert keeper.offered == ["table"]


@pytest.mark.parametrize("part", range(12))
def test_killed_anywhere_it_is_all_or_nothing_and_nothing_acknowledged_is_lost(keeper: Keeper, part: int) -> None:
    """The first of two processes is interrupted at every so-maniest instruction; a third one takes what is there."""
    for step in range(37 * part, 100_000, 12 * 37):
        owner = keeper.start(OLD)
        acknowledged = {name: owner.set(name, value, who="me").version for name, value in (("kept", 7 + step), ("quick", step))}
        view = keeper.view()
        new = Next(keeper, NEW)
        private = new.rehearse()
        private.set_many({"kept": 70, "fresh": "made"}, who="anybody")
        plan = new.plan()
        was_killed = dies_at(step, partial(new.move_in, plan), inside="dspex_runtime/params/")
        seen = view.version("kept")
        assert seen >= acknowledged["kept"]
        private._publisher.close()  # whatever lock was held, nobody waits for it
        keeper.kill()
        found = keeper.start(NEW)
        both = (found.get("kept"), found.get("fresh"))
        assert both in ((70, "made"), (7 + step, "new")), both
        assert found.version("kept") >= max(seen, acknowledged["kept"])
        assert found.get("quick") == step
        keeper.kill_runtime()
        for path in keeper.directory.glob("*"):
            path.unlink()
        if not was_killed:
            return
    pytest.fail("it never came to its end")


def test_a_reader_in_another_process_sees_neither_torn_nor_backwards_nor_lost(keeper: Keeper) -> None:
    """Ten swaps, with writes in between, while a forked reader reads all the time."""
    keeper.start(OLD)
    view = keeper.view()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = _read_until(view, LAST, tell)
        finally:
            os._exit(status)
    os.close(tell)
    declared = (NEW, OLD)
    for turn in range(TURNS):
        owner = keeper.owner
        assert owner is not None
        for n in range(5):
            owner.set("kept", 100 * turn + n, who="me")
        new = Next(keeper, declared[turn % 2])
        new.rehearse().set("kept", 100 * turn + 50, who="anybody")
        new.move_in()
        assert view.get("kept") == 100 * turn + 50
    status = os.waitpid(pid, 0)[1]
    assert status == 0, os.read(told, 1000).decode()
    os.close(told)


def _read_until(view: Any, end: int, tell: int) -> int:
    last = (0, 0)
    while last[1] != end:
        entry = view.entry("kept")
        now = (entry.version, entry.value)
        if now < last and entry.version > 1:
            os.write(tell, f"{now} after {last}".encode())
            return 2
        last = now
    return 0
