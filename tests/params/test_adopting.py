"""What a parameter is when its owner is opened: kept, configured, default; and what becomes of what cannot be used."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.errors import ConstraintViolationError, ParameterError, ParameterNotFoundError
from dspex_runtime.params import values
from dspex_runtime.params.owner import Box
from dspex_runtime.params.records import FACTS, SetRecord
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.params.values import Annex
from helpers.owners import CODEC, Keeper, specs

TEMPERATURE = {"default": 0.2, "min": 0.0, "max": 2.0}
SPECS = specs(temperature=(float, TEMPERATURE), k=(int, {"default": 3, "durability": "memory"}), text=str)


def encoded(value: Any) -> bytes:
    return bytes(values.encode(CODEC, value))


def write_record(keeper: Keeper, name: str, version: int, value: Any, *, who: str = "x", removed: bool = False) -> None:
    """Write what a module wrote down and did not come to publish."""
    journal = SegmentJournal(keeper.directory)
    annex = b"" if removed else Annex(5.0, who, 1.0).pack()
    journal.append(SetRecord(name, version, 5.0, who, b"" if removed else encoded(value), annex, removed).payload())
    journal.close()


def test_the_next_incarnation_has_what_the_killed_one_had(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    view = keeper.view()
    owner.set_many({"temperature": 0.5, "k": 4, "text": "x" * 100_000}, who="x")
    before = owner.image()
    keeper.kill()
    heir = keeper.start(SPECS)
    assert heir.image() == before
    assert keeper.boxes["text"].load() == "x" * 100_000
    assert view.version("temperature") == 2
    heir.set("text", "y" * 100_000, who="y")
    assert view["text"] == "y" * 100_000
    assert keeper.reports == []


def test_a_killed_runtime_comes_back_with_what_was_written_down(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    owner.set_many({"temperature": 0.5, "k": 4, "text": "x" * 100_000}, who="x")
    keeper.kill_runtime()
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.get("text")) == (0.5, "x" * 100_000)
    assert heir.version("temperature") == 2
    assert heir.get("k") == 3, "durability memory ends with the runtime"
    assert heir.entry("temperature").who == "x"


def test_what_is_in_the_store_is_taken_where_nothing_newer_is(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    owner.set("temperature", 0.5, who="x")
    owner.set("text", "old", who="x")
    keeper.kill_runtime()
    keeper.fold()
    write_record(keeper, "text", 3, "new")
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.get("text")) == (0.5, "new")


def test_a_record_ahead_of_the_table_wins_and_one_behind_does_not(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    owner.set("temperature", 0.5, who="x")
    owner.set("text", "two", who="x")
    keeper.kill()
    write_record(keeper, "temperature", 3, 0.7)
    write_record(keeper, "text", 1, "one")
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.version("temperature")) == (0.7, 3)
    assert (heir.get("text"), heir.version("text")) == ("two", 2)
    assert keeper.view()["temperature"] == 0.7


def test_what_was_adopted_once_is_not_read_again(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill()
    keeper.start(SPECS)
    keeper.kill()
    for path in keeper.directory.glob("*.journal"):
        path.write_bytes(b"no journal at all")
    assert keeper.start(SPECS).get("temperature") == 0.5
    assert keeper.reports == []


def test_a_removal_ahead_of_the_table_wins_too(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill()
    write_record(keeper, "temperature", 3, None, removed=True)
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.version("temperature")) == (0.2, 4)


def test_positions_only_grow_although_folded_segments_are_deleted(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill()
    keeper.fold()
    heir = keeper.start(SPECS)
    heir.set("temperature", 0.6, who="x")
    assert [path.name for path in keeper.directory.iterdir()] == ["2.journal"]
    keeper.kill()
    assert keeper.start(SPECS).get("temperature") == 0.6


@pytest.mark.parametrize("durability", ["memory", "journal"])
def test_a_kept_value_that_breaks_todays_constraints_is_dropped_with_a_report(keeper: Keeper, durability: str) -> None:
    wide = specs(temperature=(float, {**TEMPERATURE, "max": 9.0, "durability": durability}))
    keeper.start(wide).set("temperature", 5.0, who="x")
    keeper.kill()
    heir = keeper.start(specs(temperature=(float, {**TEMPERATURE, "durability": durability})))
    assert (heir.get("temperature"), heir.version("temperature")) == (0.2, 3)
    (report,) = keeper.reports
    assert "temperature: the kept version 2 cannot be used and is dropped" in report
    assert "must be at most 2.0 (max); got 5.0" in report


@pytest.mark.parametrize("now", [str, "array", list])
def test_a_parameter_of_another_type_begins_with_its_default(keeper: Keeper, now: Any) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    view = keeper.view()
    keeper.kill()
    heir = keeper.start(specs(temperature=now))
    assert heir.version("temperature") == view.version("temperature") == 3
    assert len(keeper.reports) == 1


def test_a_holder_that_refuses_what_is_kept_keeps_what_it_has(keeper: Keeper) -> None:
    class Picky(Box):
        def store(self, value: Any) -> None:
            raise ValueError("fields do not fit")

    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill()
    heir = keeper.start(SPECS, holders={"temperature": Picky(0.3)})
    assert heir.get("temperature") == keeper.view()["temperature"] == 0.3
    assert "fields do not fit" in keeper.reports[0]


def test_what_a_holder_has_already_is_not_stored_again(keeper: Keeper) -> None:
    class Once(Box):
        def store(self, value: Any) -> None:
            raise AssertionError("it has that")

    keeper.start(SPECS).set("text", "mine", who="x")
    keeper.kill()
    heir = keeper.start(SPECS, holders={"text": Once("mine")})
    assert (heir.get("text"), heir.version("text")) == ("mine", 2)
    assert keeper.reports == []


def test_a_holder_that_adopts_is_given_what_is_kept_there_and_what_is_set_as_ever(keeper: Keeper) -> None:
    calls = []

    class Adopts(Box):
        def adopt(self, value: Any) -> None:
            calls.append("adopt")
            self.value = value

        def store(self, value: Any) -> None:
            calls.append("store")
            self.value = value

    keeper.start(SPECS).set("text", "mine", who="x")
    keeper.kill()
    heir = keeper.start(SPECS, holders={"text": Adopts("")})
    heir.set("text", "theirs", who="x")
    assert calls == ["adopt", "store"]
    assert keeper.boxes["text"].load() == "theirs"


def test_a_default_that_nobody_overrode_follows_the_code(keeper: Keeper) -> None:
    keeper.start(SPECS).set("text", "mine", who="x")
    keeper.kill()
    heir = keeper.start(specs(temperature=(float, {"default": 0.9}), text=(str, {"default": "theirs"})))
    assert (heir.get("temperature"), heir.version("temperature")) == (0.9, 2)
    assert heir.get("text") == "mine"


def test_the_same_default_is_no_new_version(keeper: Keeper) -> None:
    keeper.start(SPECS)
    keeper.kill()
    heir = keeper.start(SPECS)
    assert heir.version("temperature") == 1
    heir.set("temperature", 0.4, who="x")
    assert [(r.version, r.who) for r in keeper.records("temperature")] == [(1, "default"), (2, "x")]


# -- the configuration


def test_a_configured_value_is_what_a_parameter_begins_with(keeper: Keeper) -> None:
    owner = keeper.start(SPECS, configured={"temperature": 1})
    entry = keeper.view().entry("temperature")
    assert (owner.get("temperature"), entry.value, entry.version, entry.who) == (1.0, 1.0, 1, "yaml")


def test_a_configured_value_that_is_as_before_does_not_undo_a_set(keeper: Keeper) -> None:
    keeper.start(SPECS, configured={"temperature": 1}).set("temperature", 0.5, who="x")
    keeper.kill()
    keeper.configured = {"temperature": encoded(1)}
    assert keeper.start(SPECS, configured={"temperature": 1}).get("temperature") == 0.5


@pytest.mark.parametrize("before", [None, 0.7], ids=["not configured before", "configured otherwise"])
def test_a_configured_value_that_changed_is_a_set(keeper: Keeper, before: float | None) -> None:
    keeper.start(SPECS, configured={} if before is None else {"temperature": before}).set("temperature", 0.5, who="x")
    keeper.kill()
    keeper.configured = {} if before is None else {"temperature": encoded(before)}
    heir = keeper.start(SPECS, configured={"temperature": 1})
    assert (heir.get("temperature"), heir.version("temperature"), heir.entry("temperature").who) == (1.0, 3, "yaml")
    assert keeper.records("temperature")[-1].who == "yaml"


def test_a_configured_value_that_is_no_more_gives_way_to_the_default_but_not_a_set_one(keeper: Keeper) -> None:
    both = {"temperature": 1.0, "text": "theirs"}
    keeper.start(SPECS, configured=both).set("text", "mine", who="x")
    keeper.kill()
    keeper.configured = {name: encoded(value) for name, value in both.items()}
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.get("text")) == (0.2, "mine")


def test_a_configured_value_that_is_refused_is_an_error_with_its_place(keeper: Keeper) -> None:
    with pytest.raises(ConstraintViolationError, match=r"temperature of 'qa' must be at most 2.0 \(max\); got 3") as caught:
        keeper.start(SPECS, configured={"temperature": 3})
    assert caught.value.hint == "this value is configured under `params` of 'qa'"


def test_configuring_what_is_not_declared_is_an_error_that_lists_what_is(keeper: Keeper) -> None:
    with pytest.raises(ParameterNotFoundError, match=r"no parameter 'temp', which its `params` set; it has k, temperature, text"):
        keeper.start(SPECS, configured={"temp": 3})


def test_whoever_opens_without_the_configuration_changes_nothing(keeper: Keeper) -> None:
    """As the keeper does, for a stopped module: its holders have what is kept."""
    keeper.start(SPECS, configured={"temperature": 1.0})
    keeper.kill()
    stopped = keeper.start(SPECS, holders={"temperature": Box(1.0)})
    entry = stopped.entry("temperature")
    assert (entry.value, entry.version, entry.who) == (1.0, 1, "yaml")


# -- names that come and go


def test_what_is_kept_and_not_declared_is_not_read_and_comes_back_when_it_is(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    view = keeper.view()
    keeper.kill()
    heir = keeper.start(specs(text=str))
    assert view.names() == ["text"]
    box = Box(0.2)
    heir.declare("temperature", SPECS["temperature"], box)
    assert box.value == view["temperature"] == 0.5
    assert heir.version("temperature") == view.version("temperature") == 3
    heir.set("temperature", 0.6, who="x")
    assert [r.version for r in keeper.records("temperature")] == [1, 2, 3, 4]


def test_what_is_declared_late_takes_its_configured_value(keeper: Keeper) -> None:
    keeper.start(specs(text=str))
    keeper.kill()
    heir = keeper.start(SPECS, configured={"temperature": 1.0})
    assert heir.get("temperature") == 1.0


WITHOUT_TEMPERATURE = specs(text=str)
CYCLES = {"killed in between": Keeper.kill, "the runtime killed in between": Keeper.kill_runtime}


@pytest.mark.parametrize("end", CYCLES.values(), ids=CYCLES)
@pytest.mark.parametrize("size", [1, 100_000])
def test_what_was_set_is_there_again_when_its_name_is_and_its_versions_only_grow(keeper: Keeper, end: Any, size: int) -> None:
    """Whatever ends in between: the store and the table agree."""
    declared = specs(text=str, note=str)
    keeper.start(declared).set("note", "n" * size, who="x")
    last = 2
    for _ in range(3):
        end(keeper)
        keeper.start(WITHOUT_TEMPERATURE)
        end(keeper)
        keeper.start(WITHOUT_TEMPERATURE)
        end(keeper)
        heir = keeper.start(declared)
        assert heir.get("note") == "n" * size
        assert heir.version("note") >= last
        last = heir.version("note")
    keeper.kill_runtime()
    assert keeper.start(declared).version("note") == last


def test_what_only_the_store_has_of_a_name_that_is_not_declared_is_there_when_it_is(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill_runtime()
    keeper.fold()
    keeper.start(WITHOUT_TEMPERATURE)
    keeper.kill()
    keeper.stored = {}  # whoever keeps the table gives nothing else
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.version("temperature")) == (0.5, 2)


def test_a_configured_value_that_is_back_applies_where_nobody_has_set_anything(keeper: Keeper) -> None:
    """Also where whoever keeps the configuration has not heard that it was gone."""
    keeper.configured = {"temperature": encoded(1.0)}
    keeper.start(SPECS).set("temperature", 1.5, who="x")
    narrow = specs(temperature=(float, {"default": 0.9, "max": 1.0}))
    for configured, value in (({"temperature": 1.0}, 1.0), ({}, 0.9), ({"temperature": 1.0}, 1.0)):
        keeper.kill_runtime()
        assert keeper.start(narrow, configured=configured).get("temperature") == value


def test_what_user_code_took_away_does_not_come_back_with_its_value_but_with_a_higher_version(keeper: Keeper) -> None:
    owner = keeper.start(SPECS)
    owner.set("temperature", 0.5, who="x")
    owner.undeclare("temperature")
    keeper.kill()
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.version("temperature")) == (0.2, 4)


def test_a_default_or_a_configured_value_in_the_place_of_an_older_one_is_written_down(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 1.5, who="x")
    versions = [2]
    narrow = specs(temperature=(float, {"default": 0.9, "max": 1.0}))
    for declared, configured in ((narrow, {}), (SPECS, {}), (narrow, {"temperature": 0.8}), (narrow, {}), (SPECS, {})):
        keeper.kill()
        heir = keeper.start(declared, configured=configured)
        before = (heir.get("temperature"), heir.version("temperature"))
        assert before[1] >= versions[-1]
        versions.append(before[1])
        keeper.configured = {name: encoded(value) for name, value in configured.items()}
        keeper.kill_runtime()
        again = keeper.start(declared, configured=configured)
        assert (again.get("temperature"), again.version("temperature")) == before
    assert [record.version for record in keeper.records("temperature")] == sorted({1, *versions})


def test_a_default_that_cannot_be_written_down_is_reported_and_no_failed_start(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.start(SPECS).set("temperature", 1.5, who="x")
    keeper.kill()
    monkeypatch.setattr(SegmentJournal, "append", _full)
    heir = keeper.start(specs(temperature=(float, {"default": 0.9, "max": 1.0})))
    assert heir.get("temperature") == 0.9
    assert "temperature has version 3 as long as the runtime lasts: the disk is full" in keeper.reports


def _full(*_: Any, **__: Any) -> int:
    raise ParameterError("the disk is full")


# -- what is broken


def test_a_torn_tail_is_dropped_silently(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill()
    write_record(keeper, "temperature", 3, 0.7)
    path = keeper.directory / "2.journal"
    path.write_bytes(path.read_bytes()[:-3])
    heir = keeper.start(SPECS)
    assert (heir.get("temperature"), heir.version("temperature")) == (0.5, 2)
    assert keeper.reports == []
    heir.set("temperature", 0.8, who="x")
    keeper.kill_runtime()
    assert keeper.start(SPECS).get("temperature") == 0.8


def test_a_journal_that_cannot_be_read_is_reported_and_the_table_counts(keeper: Keeper) -> None:
    keeper.start(SPECS).set("temperature", 0.5, who="x")
    keeper.kill()
    (keeper.directory / "7.journal").mkdir()
    assert keeper.start(SPECS).get("temperature") == 0.5
    assert "the journal cannot be read any further" in keeper.reports[0]


def test_a_large_value_whose_blob_is_lost_comes_from_the_journal(keeper: Keeper) -> None:
    keeper.start(SPECS).set("text", "x" * 100_000, who="x")
    keeper.kill()
    for fd in keeper.blobs.values():
        os.close(fd)
    keeper.blobs = {}
    write_record(keeper, "text", 2, "x" * 100_000)
    heir = keeper.start(SPECS)
    assert heir.get("text") == "x" * 100_000
    assert "the kept value of 'text' cannot be read" in keeper.reports[0]


def test_facts_survive_the_module_and_the_runtime(keeper: Keeper) -> None:
    keeper.start(SPECS).set_facts({"mode": "train"})
    keeper.kill()
    assert keeper.start(SPECS).facts() == {"mode": "train"}
    keeper.kill_runtime()
    journal = SegmentJournal(keeper.directory)
    journal.append([FACTS, 1.0, {"metrics": {"calls": 3}}])
    journal.close()
    assert keeper.start(SPECS).facts() == {"mode": "train"}
