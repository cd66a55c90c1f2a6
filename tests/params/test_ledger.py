"""The order of a write: what is left when it ends between any two of its instructions, and when the disk does not take it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.owner import Box, Owner
from dspex_runtime.params.view import View
from dspex_runtime.types import Durability
from helpers.killing import dies_at
from helpers.owners import Keeper, specs

PARAMS = "dspex_runtime/params"
SPECS = specs(
    disk=int,
    memory=(int, {"durability": "memory"}),
    safe=(int, {"durability": "fsync"}),
    text=(str, {"default": "t"}),
    w=(float, {"requires_grad": True, "learning_rate": 1.0}),
)
SYNC = "dspex_runtime.params.segments.os.fdatasync"
LARGE = "l" * 70_000
# What is done, and what each parameter is before and after. Set before: disk 1, memory 1, safe 1, text LARGE.
WRITES: dict[str, tuple[Any, dict[str, tuple[Any, Any]]]] = {
    "journal": (lambda owner: owner.set("disk", 2, who="x"), {"disk": (1, 2)}),
    "memory": (lambda owner: owner.set("memory", 2, who="x"), {"memory": (1, 2)}),
    "fsync": (lambda owner: owner.set("safe", 2, who="x"), {"safe": (1, 2)}),
    "large": (lambda owner: owner.set("text", "m" * 70_000, who="x"), {"text": (LARGE, "m" * 70_000)}),
    "small again": (lambda owner: owner.set("text", "s", who="x"), {"text": (LARGE, "s")}),
    "first": (lambda owner: owner.set("w", 2.0, who="x"), {"w": (0.0, 2.0)}),
    "gradient": (lambda owner: owner.apply_gradient("w", 1.0, who="x"), {"w": (0.0, -1.0)}),
}


def prepared(keeper: Keeper) -> Owner:
    owner = keeper.start(SPECS)
    owner.set_many({"disk": 1, "memory": 1, "safe": 1, "text": LARGE}, who="before")
    return owner


Operation = Callable[[], object]


def killed_ever_later(folder: Path, begin: Callable[[Owner], Operation], *, step: int) -> Iterator[tuple[Keeper, View, bool]]:
    """Do what `begin` returns, killed before its first instruction, then `step` later, and so on until it is done.

    Yields what is left of each: its keeper, a view that was opened before, and whether it was killed.
    """
    instruction, died = 0, True
    while died:
        keeper = Keeper(folder / str(instruction))
        keeper.directory.parent.mkdir()
        operation = begin(prepared(keeper))
        view = keeper.view()
        died = dies_at(instruction, operation, inside=PARAMS)
        yield keeper, view, died
        keeper.kill_runtime()
        instruction += step


def assert_the_old_then_the_new(is_new: list[bool], *, behind_the_journal: int) -> None:
    """Killed at first, it is as before; from some instruction on, and at more than these, it is done."""
    assert is_new == sorted(is_new)
    assert is_new[0] is False
    assert is_new.count(True) > behind_the_journal, "killed behind the journal"


@pytest.mark.parametrize("what", WRITES)
def test_a_kill_between_any_two_instructions_loses_nothing_that_was_acknowledged(tmp_path: Path, what: str) -> None:
    operation, touched = WRITES[what]
    before = {"disk": 1, "memory": 1, "safe": 1, "text": LARGE, "w": 0.0}
    outcomes = []
    for keeper, view, died in killed_ever_later(tmp_path, lambda owner: partial(operation, owner), step=3):
        seen = {name: (view[name], view.version(name)) for name in SPECS}
        keeper.kill()
        heir = keeper.start(SPECS)
        for name in SPECS:
            old, new = touched.get(name, (before[name], before[name]))
            value, version = heir.get(name), heir.version(name)
            assert value in (old, new) if died else value == new
            assert version >= seen[name][1], "what a reader has seen was taken back"
            assert value == seen[name][0] or (value == new and version > seen[name][1])
            assert (view[name], view.version(name)) == (value, version)
        outcomes.append(all(heir.get(name) == new for name, (_, new) in touched.items()))
        for name in touched:
            next_version = heir.set(name, heir.get(name), who="heir").version
            assert [r.version for r in keeper.records(name)].count(next_version) == 1, "a version was used twice"
        assert keeper.reports == []
    assert_the_old_then_the_new(outcomes, behind_the_journal=10)


@pytest.mark.parametrize("what", ["journal", "fsync", "large", "first"])
def test_a_killed_runtime_has_every_acknowledged_write_and_at_most_one_more(tmp_path: Path, what: str) -> None:
    operation, touched = WRITES[what]
    for keeper, _, died in killed_ever_later(tmp_path, lambda owner: partial(operation, owner), step=11):
        keeper.kill_runtime()
        heir = keeper.start(SPECS)
        for name, (old, new) in touched.items():
            assert heir.get(name) in (old, new) if died else heir.get(name) == new
        assert heir.get("disk") >= 1
        assert heir.get("safe") >= 1


class FullDisk:
    """Takes only so many bytes more, then none, as write(2) on a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr("dspex_runtime.params.journal.os", self)

    def write(self, fd: int, data: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = data[: self.room]
        self.room -= len(taken)
        return self._write(fd, taken)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)


@pytest.mark.parametrize("room", [0, 1, 7, 8, 20, 40])
def test_a_full_disk_refuses_the_write_and_everything_stays_readable(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    owner = prepared(keeper)
    before = owner.image()
    with monkeypatch.context() as patch:
        FullDisk(patch, room)
        for name in ("disk", "safe", "text"):
            with pytest.raises(ParameterError, match=r"the journal .*/1\.journal cannot be written") as caught:
                owner.set(name, "x" * 100_000 if name == "text" else 7, who="x")
            assert caught.value.code == "journal"
        assert owner.image() == before
        assert owner.set("memory", 7, who="x").version == 3, "a parameter of durability memory needs no disk"
    assert owner.set("disk", 8, who="x").version == 3, "no version was used up"
    keeper.kill_runtime()
    assert keeper.start(SPECS).get("disk") == 8


def test_a_disk_that_loses_what_it_was_given_fails_the_write_and_not_the_next_one(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = prepared(keeper)

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(SYNC, fails)
        with pytest.raises(ParameterError, match="Input/output error"):
            owner.set("safe", 7, who="x")
        assert owner.get("safe") == keeper.view()["safe"] == 1
        assert owner.set("disk", 7, who="x").version == 3, "only what asks for the disk waits for it"
    assert owner.set("safe", 8, who="x").version == 4, "the number of the failed one may be on the disk"
    keeper.kill_runtime()
    heir = keeper.start(SPECS)
    assert (heir.get("safe"), heir.get("disk")) == (8, 7)


def test_no_descriptor_left_for_a_large_value_refuses_it(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = prepared(keeper)

    def fails(data: Any, annex: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.publisher.Blob.create", fails)
        with pytest.raises(ParameterError, match=r"no room for the \d+ bytes of 'text' \(Too many open files\)"):
            owner.set("text", "x" * 100_000, who="x")
    assert (owner.get("text"), owner.version("text")) == (LARGE, 2)
    assert [r.version for r in keeper.records("text")] == [1, 2]


def test_a_durable_write_holds_nobody_else_up(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = prepared(keeper)
    entered, released = threading.Event(), threading.Event()
    sync = os.fdatasync

    def slow(fd: int) -> None:
        entered.set()
        assert released.wait(10)
        sync(fd)

    monkeypatch.setattr(SYNC, slow)
    thread = threading.Thread(target=lambda: owner.set("safe", 2, who="x"))
    thread.start()
    assert entered.wait(10)
    assert owner.set("disk", 2, who="x").version == 3
    assert owner.set("memory", 2, who="x").version == 3
    assert keeper.view()["safe"] == 1, "published before it was on the disk"
    position = owner._publisher.table.journal_position
    released.set()
    thread.join()
    assert keeper.view()["safe"] == 2
    assert owner._publisher.table.journal_position >= position


def test_a_write_that_waits_for_the_disk_is_not_passed_by_the_tables_position(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a kill would leave a version in the journal that nobody adopts, and its number would be used again."""
    owner = prepared(keeper)

    def meanwhile(fd: int) -> None:
        owner.set("disk", 2, who="x")
        raise SystemExit  # killed before the disk answered

    monkeypatch.setattr(SYNC, meanwhile)
    with pytest.raises(SystemExit):
        owner.set("safe", 2, who="x")
    monkeypatch.undo()
    keeper.kill()
    heir = keeper.start(SPECS)
    assert (heir.get("safe"), heir.get("disk")) == (2, 2)
    assert heir.version("safe") == 3


LEARNT = {"rest": {"compiled": [""]}}


def test_a_kill_in_a_set_of_several_leaves_all_of_it_or_nothing_and_so_with_its_facts(tmp_path: Path) -> None:
    def begin(owner: Owner) -> Operation:
        for number in range(32):  # so that the table's position is due in the midst of it
            owner.set("disk", number, who="x")
        return lambda: owner.set_many({"disk": 7, "text": "later"}, who="x", facts=LEARNT)

    outcomes = []
    for keeper, _, _ in killed_ever_later(tmp_path, begin, step=7):
        keeper.kill()
        heir = keeper.start(SPECS)
        found = heir.get("disk"), heir.get("text"), heir.facts().get("rest")
        assert found in ((31, LARGE, None), (7, "later", LEARNT["rest"]))
        outcomes.append(found[0] == 7)
    assert_the_old_then_the_new(outcomes, behind_the_journal=5)


@pytest.mark.parametrize(("durability", "synced"), [(Durability.FSYNC, 1), (Durability.JOURNAL, 0)])
def test_facts_that_are_set_wait_for_the_disk_as_the_module_does(
    tmp_path: Path, durability: Durability, synced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(tmp_path)
    owner = keeper.start(specs(memory=(int, {"durability": "memory"})), durability=durability)
    syncs: list[int] = []
    monkeypatch.setattr(SYNC, syncs.append)
    assert owner.set_many({}, who="x", facts={"rest": {"compiled": [""]}}) == []
    assert len(syncs) == synced
    keeper.kill_runtime()
    assert keeper.start(specs(memory=int)).facts() == {"rest": {"compiled": [""]}}
    keeper.kill_runtime()


@pytest.mark.parametrize("on_disk", ["disk", "safe"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_a_kill_in_a_set_of_both_journals_leaves_all_of_it_or_nothing(tmp_path: Path, on_disk: str, is_first: bool) -> None:
    def begin(owner: Owner) -> Operation:
        if is_first:  # in memory: there is no memfd before
            return lambda: owner.set_many({"more": 2, on_disk: 2, "memory": 2}, who="x", facts=LEARNT)
        owner.set_many({"more": 1, "memory": 1}, who="x")
        return lambda: owner.set_many({"more": 2, on_disk: 2, "memory": 2}, who="x", facts=LEARNT)

    declared = {**SPECS, **specs(more=(int, {"durability": "memory"}))}
    instruction, died, outcomes = 0, True, []
    while died:
        keeper = Keeper(tmp_path / str(instruction))
        keeper.directory.parent.mkdir()
        died = dies_at(instruction, begin(keeper.start(declared)), inside=PARAMS)
        keeper.kill()
        heir = keeper.start(declared)
        found = [heir.get(name) == 2 for name in (on_disk, "memory", "more")] + [heir.facts() == LEARNT]
        assert found in ([True] * 4, [False] * 4)
        outcomes.append(found[0])
        for name in (on_disk, "memory", "more"):
            after = heir.set(name, 3, who="heir").version
            written = [record.version for record in keeper.records(name)]
            assert written == sorted(set(written)), "a version was used twice"
            assert written[-1] == after
        assert keeper.reports == []
        keeper.kill_runtime()
        instruction += 3
    assert_the_old_then_the_new(outcomes, behind_the_journal=10)


def test_what_a_kill_left_to_be_completed_is_completed_once(tmp_path: Path) -> None:
    """The record on the disk is read again by who comes later; what took the place of what it speaks of stays."""
    keeper = Keeper(tmp_path)
    owner = prepared(keeper)

    def killed() -> None:
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner._ledger.journals.volatile, "complete", killed)
        with pytest.raises(SystemExit):
            owner.set_many({"disk": 2, "memory": 2}, who="x")
    for value in (3, 4):
        keeper.kill()
        heir = keeper.start(SPECS)
        assert (heir.get("disk"), heir.get("memory")) == (2, value - 1)
        heir.set("memory", value, who="x")
    keeper.kill_runtime()


@pytest.mark.parametrize("on_disk", ["disk", "safe"])
def test_where_memory_takes_nothing_the_disk_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: str) -> None:
    keeper = Keeper(tmp_path)
    owner = keeper.start(SPECS)

    def fails(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.volatile.os.memfd_create", fails)
        with pytest.raises(ParameterError, match=r"the journal in memory cannot be written \(Too many open files\)") as caught:
            owner.set_many({on_disk: 7, "memory": 7}, who="x")
    assert caught.value.code == "journal"
    assert keeper.records(on_disk) == keeper.records("memory") == []
    assert (owner.get(on_disk), owner.get("memory")) == (0, 0)
    (on_the_disk, in_memory) = owner.set_many({on_disk: 8, "memory": 8}, who="x")
    assert (on_the_disk.version, in_memory.version) == (2, 2)
    keeper.kill()
    heir = keeper.start(SPECS)
    assert (heir.get(on_disk), heir.get("memory")) == (8, 8)
    keeper.kill_runtime()


def test_where_the_disk_takes_nothing_memory_has_nothing(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = prepared(keeper)
    with monkeypatch.context() as patch:
        patch.setattr("dspex_runtime.params.segments.write_all", _full)
        with pytest.raises(ParameterError, match="cannot be written"):
            owner.set_many({"memory": 7, "disk": 7}, who="x")
    keeper.kill()
    heir = keeper.start(SPECS)
    assert (heir.get("memory"), heir.get("disk")) == (1, 1)
    assert heir.set_many({"memory": 8, "disk": 8}, who="x")[0].version == 3
    assert [record.version for record in keeper.records("memory")] == [1, 2, 3]


@pytest.mark.parametrize("name", ["disk", "memory", "safe"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_number_that_a_journal_may_have_is_not_used_again(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, name: str, at_once: bool
) -> None:
    owner = prepared(keeper)
    journal = owner._ledger.journals.volatile if name == "memory" else owner._ledger.journals.disk
    append = journal.append

    def interrupted(*payloads: Any, **options: Any) -> int:
        append(*payloads, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _ = owner.set_many({name: 7}, who="x") if at_once else owner.set(name, 7, who="x")
    assert owner.set(name, 8, who="x").version == 4
    assert [record.version for record in keeper.records(name)] == [1, 2, 3, 4]


def test_a_write_that_waits_for_the_disk_is_not_passed_by_the_mark_in_memory(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = prepared(keeper)

    def meanwhile(fd: int) -> None:
        for number in range(200):
            owner.set("more", number, who="x")
        raise SystemExit  # killed before the disk answered

    owner.declare("more", specs(more=(int, {"durability": "memory"}))["more"], Box(0))
    monkeypatch.setattr(SYNC, meanwhile)
    with pytest.raises(SystemExit):
        owner.set_many({"safe": 2, "memory": 2}, who="x")
    monkeypatch.undo()
    keeper.kill()
    heir = keeper.start(SPECS)
    assert (heir.get("safe"), heir.get("memory")) == (2, 2)


def test_facts_that_no_disk_takes_are_not_there(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = prepared(keeper)
    monkeypatch.setattr("dspex_runtime.params.segments.write_all", _full)
    with pytest.raises(ParameterError, match="cannot be written"):
        owner.set_many({"memory": 7}, who="x", facts={"mode": "train"})
    assert (owner.facts(), owner.get("memory"), keeper.view().facts()) == ({}, 1, {})


def _full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_kill_in_a_restore_leaves_all_of_it_or_nothing_and_so_with_its_facts(tmp_path: Path) -> None:
    def begin(owner: Owner) -> Operation:
        image = {name: entry for name, entry in owner.image().items() if name in ("disk", "text")}
        owner.set_many({"disk": 7, "text": "later"}, who="x")
        return lambda: owner.restore(image, who="x", facts=LEARNT)

    outcomes = []
    for keeper, _, _ in killed_ever_later(tmp_path, begin, step=7):
        keeper.kill()
        heir = keeper.start(SPECS)
        found = heir.get("disk"), heir.get("text"), heir.facts().get("rest")
        assert found in ((7, "later", None), (1, LARGE, LEARNT["rest"]))
        outcomes.append(found[0] == 1)
    assert_the_old_then_the_new(outcomes, behind_the_journal=5)
