"""Fixtures of the runtime process's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.fake_node import FakeNode
from helpers.fake_tree import FakeTree, use_fake_processes


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTree]:
    use_fake_processes(monkeypatch)
    tree = FakeTree()
    yield tree
    tree.close()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[FakeNode]:
    runtime = FakeNode(monkeypatch, tmp_path)
    yield runtime
    runtime.close()
    assert not [record for record in caplog.get_records("call") if "unexpected error" in record.message]
