"""The past of a parameter, from the store and from a journal in memory."""

from __future__ import annotations

import os

from dspex_runtime.params.journal import EXECUTIONS, SET
from dspex_runtime.params.volatile import VolatileJournal
from dspex_runtime.state.past import SHOWN_BYTES, merged, shown, volatile_versions
from dspex_runtime.state.store import Version


def entry(version: int, data: bytes = b"v", *, removed: bool = False) -> Version:
    return Version(version, float(version), "me", data, removed)


def test_each_version_is_shown_with_the_value_before_it() -> None:
    found = shown([entry(3, b"c"), entry(2, b"b"), entry(1, b"a")], 2)
    assert [(each["version"], each["value"], each["old"]) for each in found] == [(3, b"c", b"b"), (2, b"b", b"a")]
    assert shown([entry(1)], 10)[0]["old"] is None


def test_a_large_value_is_only_named_with_its_size() -> None:
    (found,) = shown([entry(1, bytes(SHOWN_BYTES + 1))], 1)
    assert (found["value"], found["bytes"]) == (None, SHOWN_BYTES + 1)
    found, _ = shown([entry(2), entry(1, bytes(SHOWN_BYTES + 1))], 2)
    assert (found["old"], found["old_bytes"]) == (None, SHOWN_BYTES + 1)


def test_a_removal_has_no_value() -> None:
    newest, _ = shown([entry(2, b"", removed=True), entry(1)], 5)
    assert (newest["removed"], newest["value"], newest["old"]) == (True, None, b"v")


def test_both_pasts_are_one_newest_first() -> None:
    assert merged([entry(2), entry(1)], [entry(1), entry(3)], 2) == [entry(3), entry(2)]


def test_of_a_journal_in_memory_only_the_sets_of_that_name_are_read() -> None:
    journal = VolatileJournal()
    journal.append([SET, "x", 1, 1.0, "me", b"1", b"", False], [SET, "y", 1, 1.0, "me", b"2", b"", False])
    journal.append([EXECUTIONS, 1.0, []], [SET, "x", 2, 2.0, "me", b"", b"", True])
    found = volatile_versions(os.dup(journal.fd), "x")
    journal.close()
    assert found == [Version(1, 1.0, "me", b"1"), Version(2, 2.0, "me", b"", removed=True)]
