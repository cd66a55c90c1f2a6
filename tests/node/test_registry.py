"""Records of children: kept while their spec is, found by id, counted."""

from __future__ import annotations

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.types import ChildId, Kind, State


def spec(id: str, **facts: object) -> ChildSpec:
    return ChildSpec(ChildId(id), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, target="pkg:X"), **facts)  # type: ignore[arg-type]


def test_a_record_outlives_its_processes_and_keeps_the_newest_spec() -> None:
    registry = Registry()
    first = registry.ensure("qa", spec("qa", version="1"))
    first.exited(1, "killed")
    again = registry.ensure("qa", spec("qa", version="2"))
    assert again is first
    assert again.last_exit == "killed"
    assert again.info({}).version == "2"


def test_incarnations_are_never_used_twice_even_after_a_delete() -> None:
    registry = Registry()
    registry.ensure("qa", spec("qa"))
    numbers = [registry.next_incarnation("qa")]
    registry.remove("qa")
    registry.ensure("qa", spec("qa"))
    numbers.append(registry.next_incarnation("qa"))
    assert numbers == [1, 2]


def test_a_bare_id_finds_the_only_child_of_that_name() -> None:
    registry = Registry()
    registry.ensure("group/a", spec("a"))
    assert registry.resolve("a").id == "group/a"


def test_a_bare_id_that_two_have_is_refused_with_both() -> None:
    registry = Registry()
    for full_id in ("one/a", "two/a"):
        registry.ensure(full_id, spec("a"))
    with pytest.raises(ConfigError, match="one/a, two/a"):
        registry.resolve("a")


def test_an_unknown_id_is_refused_with_what_is_near() -> None:
    registry = Registry()
    registry.ensure("retriever", spec("retriever"))
    with pytest.raises(NoProcessError) as caught:
        registry.resolve("retreiver")
    assert caught.value.hint is not None
    assert "retriever" in caught.value.hint


def test_watchers_are_told_of_a_removal_and_see_that_nothing_is_coming() -> None:
    registry = Registry()
    record = registry.ensure("qa", spec("qa"))
    record.state = State.BACKOFF
    told: list[Record] = []
    registry.on_change.append(told.append)
    registry.remove("qa")
    assert told == [record]
    assert record.gone
    registry.remove("qa")
    assert len(told) == 1


def test_only_the_last_exits_are_kept() -> None:
    record = Registry().ensure("qa", spec("qa"))
    for incarnation in range(1, 101):
        record.exited(incarnation, "killed")
    assert len(record.exits) == 16
    assert 100 in record.exits


def test_counts_leave_supervisors_out() -> None:
    registry = Registry()
    registry.ensure("a", spec("a")).state = State.READY
    registry.ensure("b", spec("b"))
    registry.ensure("group", ChildSpec(ChildId("group"), Kind.SUPERVISOR)).state = State.READY
    assert registry.counts() == (2, 1)


def test_why_a_forgotten_child_ended_is_still_known() -> None:
    registry = Registry()
    registry.ensure("group/once", spec("once")).exited(1, "normal")
    registry.remove("group/once")
    assert registry.exit_reason("group/once", 1) == "normal"
    assert registry.exit_reason("once", 1) == "normal"
    assert registry.exit_reason("once", 2) is None
    assert registry.exit_reason("other", 1) is None
