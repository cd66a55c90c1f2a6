"""Fixtures of the store's tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dspex_runtime.state.database import open_database
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / NAME, lambda text: pytest.fail(text))
    yield connection
    connection.close()


@pytest.fixture
def store(database: sqlite3.Connection) -> Store:
    return Store(database)
