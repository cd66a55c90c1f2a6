"""Changes on their way to one subscriber: versions go up, the last one always comes, and what is left out is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core.changes import Inbox, News, Pending


def news(version: int, name: str = "k", id: str = "qa", skipped: int = 0) -> News:
    return News(id, name, version, float(version), "somebody", bytes([version % 256]), skipped)


def taken(take: Callable[[], News | None]) -> list[tuple[str, int, int]]:
    """Take all there is, as (name, version, skipped)."""
    found = []
    while (one := take()) is not None:
        found.append((one.name, one.version, one.skipped))
    return found


# -- one change


def test_a_change_crosses_as_plain_data() -> None:
    change = news(3, skipped=2)
    assert News.from_wire(change.to_wire()) == change
    from_a_module = {"type": "changed", "name": "k", "version": 1, "when": 0.0, "who": "me", "value": None}
    assert News.from_wire(from_a_module, "qa") == News("qa", "k", 1, 0.0, "me")


@pytest.mark.parametrize("broken", [{"value": "text"}, {"version": None}, {"when": "soon"}])
def test_what_is_no_change_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        News.from_wire({**news(1).to_wire(), **broken})


def test_the_later_of_two_stands_for_both() -> None:
    assert news(9, skipped=1).after(news(5, skipped=2)) == news(9, skipped=6)  # 3 4 | 6 7 8
    assert news(5).after(news(9)) == news(9)


# -- what one has not taken


def test_one_that_keeps_up_gets_all_in_order() -> None:
    pending = Pending(3)
    for version in (1, 2, 3):
        pending.put(news(version))
    assert not pending.is_behind
    assert taken(pending.take) == [("k", 1, 0), ("k", 2, 0), ("k", 3, 0)]


def test_one_that_is_behind_gets_the_latest_of_each_until_it_has_caught_up() -> None:
    pending = Pending(2)
    for version in range(1, 6):
        pending.put(news(version))
    pending.put(news(1, "other"))
    assert pending.is_behind
    assert len(pending) == 2
    assert pending.take() == news(5, skipped=4)
    pending.put(news(6))  # still behind: one more of the same is not queued behind it
    pending.put(news(7))
    assert taken(pending.take) == [("other", 1, 0), ("k", 7, 1)]
    pending.put(news(8))
    pending.put(news(9))
    assert taken(pending.take) == [("k", 8, 0), ("k", 9, 0)]


def test_a_parameter_that_changes_all_the_time_does_not_lose_its_place() -> None:
    pending = Pending(0)
    for version in (1, 2, 3):
        pending.put(news(version, "busy"))
        pending.put(news(version, "other"))
    assert taken(pending.take) == [("busy", 3, 2), ("other", 3, 2)]


def test_what_is_not_wanted_any_more_is_dropped() -> None:
    for keep in (0, 10):
        pending = Pending(keep)
        pending.put(news(1, id="qa"))
        pending.put(news(1, id="qb"))
        pending.drop(lambda one: one.id == "qa")
        assert [pending.take(), pending.take()] == [news(1, id="qb"), None]


@given(st.integers(0, 4), st.lists(st.one_of(st.sampled_from("abc"), st.none()), max_size=60))
def test_versions_go_up_the_last_one_comes_and_all_are_accounted_for(keep: int, steps: list[str | None]) -> None:
    """A name: it changes. None: the subscriber takes one."""
    pending = Pending(keep)
    versions = dict.fromkeys("abc", 0)
    told = dict.fromkeys("abc", 0)

    def tell() -> bool:
        one = pending.take()
        if one is None:
            return False
        assert one.version - one.skipped - 1 == told[one.name]
        told[one.name] = one.version
        return True

    for step in steps:
        if step is None:
            tell()
        else:
            versions[step] += 1
            pending.put(news(versions[step], step))
        assert len(pending) <= max(keep, len(versions))
    while tell():
        pass
    assert told == versions


# -- the subscriber's own side


def test_the_count_is_of_versions_wherever_they_were_lost() -> None:
    inbox = Inbox(10)
    inbox.put(news(4, skipped=1))
    inbox.put(news(9))  # the module's pipe was full: 5 to 8 never came
    assert taken(inbox.take) == [("k", 4, 1), ("k", 9, 4)]


def test_nothing_is_told_twice_or_after_something_later() -> None:
    inbox = Inbox(10)
    for version in (3, 3, 2, 4):
        inbox.put(news(version))
    assert [version for _, version, _ in taken(inbox.take)] == [3, 4]
    inbox.put(news(4))
    assert inbox.take() is None


def test_a_subscription_begins_with_what_a_module_has() -> None:
    inbox = Inbox(10)
    inbox.catch_up("qa", {"k": [7, 0.0, "yaml"]})
    assert inbox.take() is None
    inbox.put(news(9))
    assert taken(inbox.take) == [("k", 9, 1)]


def test_what_a_module_has_and_did_not_tell_is_told() -> None:
    inbox = Inbox(10)
    inbox.put(news(1))
    assert taken(inbox.take) == [("k", 1, 0)]
    inbox.catch_up("qa", {"k": [3, 30.0, "last"]})  # it was killed between publishing 3 and telling of it
    assert inbox.take() == News("qa", "k", 3, 30.0, "last", None, 1)
    inbox.catch_up("qa", {"k": [3, 30.0, "last"]})
    assert inbox.take() is None


def test_a_change_that_waits_is_not_lost_when_the_module_comes_back_later_than_it() -> None:
    inbox = Inbox(10)
    inbox.put(news(3))  # of a parameter of which nothing was known
    inbox.catch_up("qa", {"k": [7, 0.0, "x"]})
    assert taken(inbox.take) == [("k", 3, 0), ("k", 7, 3)]


def test_a_later_version_that_is_found_stands_for_those_before_it() -> None:
    inbox = Inbox(10)
    for version in (1, 2, 3, 5):
        inbox.put(news(version))
    first = inbox.take()
    assert first is not None
    assert inbox.found(first, 3) == 2
    assert taken(inbox.take) == [("k", 5, 1)]


def test_a_new_subscription_to_the_same_begins_with_what_there_is_by_then() -> None:
    inbox = Inbox(10)
    inbox.put(news(1))
    inbox.put(news(1, "other"))
    assert len(taken(inbox.take)) == 2
    inbox.begin_anew(lambda *which: which == ("qa", "k"))
    inbox.catch_up("qa", {"k": [6, 6.0, "me"], "other": [2, 2.0, "me"]})
    assert taken(inbox.take) == [("other", 2, 0)]
    inbox.put(news(7))
    assert taken(inbox.take) == [("k", 7, 0)]


def test_another_module_of_the_same_id_counts_from_the_beginning() -> None:
    inbox = Inbox(10)
    inbox.put(news(50))
    assert inbox.take() is not None
    inbox.put(news(51))
    inbox.forget("qa")
    assert inbox.take() is None
    inbox.put(news(1))
    assert taken(inbox.take) == [("k", 1, 0)]


def test_another_inbox_goes_on_with_the_contents_of_this_one() -> None:
    inbox, other = Inbox(10), Inbox(10)
    for version in (1, 2, 3):
        inbox.put(news(version))
    assert inbox.take() is not None
    other.adopt(*inbox.contents())
    other.put(news(2))
    other.put(news(5))
    taken = [other.take() for _ in range(4)]
    assert [(each.version, each.skipped) for each in taken if each is not None] == [(2, 0), (3, 0), (5, 1)]
