"""What is kept for an id, unpacked: every piece in its place, a broken one reported and left out, no descriptor lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dspex_runtime.host.kept import close, discard, nothing, receive
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.table import Table

ASSIGNMENT: Any = SimpleNamespace(id="sup/qa", base={"calls": 5})


def file_of(data: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


def table_fd() -> int:
    table = Table.create("test")
    table.lease(1)
    table.publish(table.add("k"), 1, b"value")
    fd = os.dup(table.fd)
    table.close()
    return fd


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def unreported(text: str) -> None:
    raise AssertionError(text)


def test_a_first_start_has_nothing_but_its_figures() -> None:
    found = nothing(ASSIGNMENT)
    assert (found.table, dict(found.blobs), found.volatile_fd, found.user, found.base) == (None, {}, None, None, {"calls": 5})


def test_an_empty_answer_is_as_good_as_none() -> None:
    assert receive({}, [], ASSIGNMENT, unreported) == nothing(ASSIGNMENT)


def test_a_stored_value_that_is_too_large_for_a_message_comes_from_its_blob() -> None:
    blob = Blob.create(b"x" * 100_000, b"annex")
    info = {"blobs": [["k", 3]], "stored": {"k": [3, True, b"annex"], "gone": [2, None, b""]}}
    found = receive(info, [os.dup(blob.fd)], ASSIGNMENT, unreported)
    blob.close()
    assert found.stored == {"k": (3, b"x" * 100_000, b"annex"), "gone": (2, None, b"")}
    close(found)


def test_each_piece_is_where_the_words_say() -> None:
    fds = [table_fd(), file_of(b"a1"), file_of(b"a2"), file_of(b"volatile"), file_of(b"state")]
    info = {
        "table": True, "blobs": [["a", 1], ["a", 2]], "volatile": True, "user": True, "user_version": "2.1",
        "stored": {"k": [3, b"data", b"annex"]}, "configured": {"k": b"yaml"}, "facts": {"mode": "train"},
    }  # fmt: skip
    found = receive(info, fds, ASSIGNMENT, unreported)
    assert found.table is not None
    assert found.table.names() == ["k"]
    assert found.blobs == {("a", 1): fds[1], ("a", 2): fds[2]}
    assert (found.volatile_fd, found.user, found.user_version) == (fds[3], b"state", "2.1")
    assert found.stored == {"k": (3, b"data", b"annex")}
    assert (found.configured, found.facts, found.base) == ({"k": b"yaml"}, {"mode": "train"}, {"calls": 5})
    assert not is_open(fds[4])
    found.table.close()
    for fd in fds[1:4]:
        os.close(fd)


def test_a_table_that_is_none_is_reported_and_left() -> None:
    reports: list[str] = []
    fd = file_of(b"no table at all" * 1000)
    found = receive({"table": True, "facts": {"mode": "eval"}}, [fd], ASSIGNMENT, reports.append)
    assert (found.table, found.facts) == (None, {"mode": "eval"})
    assert len(reports) == 1
    assert not is_open(fd)


def test_what_nobody_has_a_use_for_is_closed() -> None:
    fds = [file_of(b"") for _ in range(4)]
    take: Callable[[], int] = iter(fds).__next__
    discard({"table": True, "blobs": [["a", 1]], "volatile": True, "user": True}, take)
    assert not any(map(is_open, fds))
