"""Records of children: kept while their spec is, found by id, counted."""

from __future__ import annotations

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.node.registry import KEPT_DEPARTED, Record, Registry
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


def test_a_numbered_id_is_never_made_twice() -> None:
    registry = Registry()
    forgotten: list[str] = []
    registry.on_forgotten.append(forgotten.append)
    made = [registry.unique_id("g/v"), registry.unique_id("g/v")]
    assert forgotten == made == ["g/v#1", "g/v#2"]  # an earlier runtime's logs are not theirs
    assert [registry.unique_id(base) for base in ("g/w", "g/w", "w", "g/w")] == ["g/w#1", "g/w#2", "w#1", "g/w#3"]


def test_a_numbered_id_is_no_replicas() -> None:
    registry = Registry()
    registry.ensure("w#1", spec("w#1"))
    assert registry.unique_id("w") == "w#2"


def test_what_has_gone_is_remembered_under_its_last_incarnations() -> None:
    registry = Registry()
    for incarnation in range(1, 21):
        registry.ensure("w", spec("w")).exited(incarnation, ("exit_status", incarnation))
        registry.remove("w")
    departed = registry.departed("w")
    assert departed is not None
    assert list(departed.exits) == list(range(5, 21))
    assert registry.departed("v") is None


def test_only_the_last_to_go_are_remembered_and_the_rest_is_forgotten_altogether() -> None:
    registry = Registry()
    forgotten: list[str] = []
    registry.on_forgotten.append(forgotten.append)
    for number in range(KEPT_DEPARTED + 3):
        registry.ensure(f"w{number}", spec("w"))
        registry.remove(f"w{number}")
        if number == KEPT_DEPARTED - 1:
            registry.ensure("w1", spec("w"))  # it came back: its log is in use
    assert forgotten == ["w0", "w2"]
    assert registry.departed("w0") is None


def test_an_id_that_is_used_once_leaves_no_count_behind() -> None:
    registry = Registry()
    made = registry.unique_id("pool/w")
    for full_id in (made, f"{made}/below", "pool/w", "pool/v#7"):
        registry.ensure(full_id, spec(full_id.rpartition("/")[2]))
        registry.next_incarnation(full_id)
    for full_id in (f"{made}/below", made, "pool/w", "pool/v#7"):
        registry.remove(full_id)
    assert registry.next_incarnation("pool/w") == 2
    assert registry.next_incarnation("pool/v#7") == 2  # nobody promised that this is never used again
    assert registry.next_incarnation(made) == 1


def test_what_is_pruned_is_said_innermost_first() -> None:
    registry = Registry()
    for full_id in ("g", "g/a", "g/h", "g/h/b", "ga"):
        registry.ensure(full_id, spec("x"))
    assert registry.prune("g", frozenset({"a"})) == ["g/h/b", "g/h"]
    assert [record.id for record in registry] == ["g", "g/a", "ga"]


def test_what_was_known_of_an_id_before_this_runtime_is_shown() -> None:
    registry = Registry()
    known_before = {"a": {"restarts": 3, "last_exit": ("signal", "SEGV")}}
    registry.noted = lambda full_id: known_before.get(full_id, {})
    known, new = registry.ensure("a", spec("a")), registry.ensure("b", spec("b"))
    known.restarts = 2
    assert (known.info({}).restarts, known.info({}).last_exit) == (5, ("signal", "SEGV"))
    assert (new.info({}).restarts, new.info({}).last_exit) == (0, None)
