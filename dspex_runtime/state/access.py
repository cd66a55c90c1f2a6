"""The store as something that can fail: opened, refused, failing, set aside when it is damaged, and opened again.

Owns the connection, and when to give up on it. Whoever needs the store comes through `run`; what it raises can be told to people.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.checkpoints import Checkpoints
from dspex_runtime.state.database import is_corrupt, open_database, rescue
from dspex_runtime.state.health import Health
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.migrations import NewerSchemaError
from dspex_runtime.state.store import Store

__all__ = ["Access"]

T = TypeVar("T")


class Access:
    """One database file, at `path`.

    Args:
        health: Told how it is.
        on_rescued: Called when a damaged one was set aside: what is in the journals is to be read again.
    """

    def __init__(self, health: Health, on_rescued: Callable[[], None]) -> None:
        self.path = Path(NAME)
        self.refused = ""  #: why it is not to be had, and will not be
        self._health = health
        self._on_rescued = on_rescued
        self._db: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a database to work with, opened now if it can be."""
        if self._db is None and not self.refused:
            try:
                self._db = open_database(self.path, self._health.report)
            except NewerSchemaError as exc:
                self.refused = f"{self.path} is left alone: {exc}. Modules serve, and their journals keep what is set"
                self._health.failing(self.refused)
            except (sqlite3.Error, OSError) as exc:
                self._health.failing(f"{self.path} cannot be opened: {exc}")
        return self._db is not None

    def run(self, function: Callable[[Store, Checkpoints], T]) -> T:
        """Return what a function makes of the store; on a new database, once, when this one turns out to be damaged.

        Raises:
            CheckpointError: There is no store, or it does not work; its health was told.
            DspexError: As the function does.
        """
        try:
            return self._once(function)
        except sqlite3.Error as exc:
            self.failed(exc)
            if not is_corrupt(exc):
                raise CheckpointError(f"{self.path} does not work: {exc}") from exc
        try:
            return self._once(function)
        except sqlite3.Error as exc:
            raise CheckpointError(f"{self.path} does not work: {exc}") from exc

    def _once(self, function: Callable[[Store, Checkpoints], T]) -> T:
        if not self.is_open or self._db is None:
            raise CheckpointError(self.refused or f"there is no store: {self._health.trouble}")
        return function(Store(self._db), Checkpoints(self._db, self._health.report))

    def failed(self, exc: Exception) -> None:
        """Something that was tried with the store outside of `run` failed: a damaged one is set aside."""
        self._health.failing(f"{self.path} does not work: {exc}")
        if not is_corrupt(exc):
            return
        self.close()
        try:
            self._db = rescue(self.path, exc, self._health.report)
        except (sqlite3.Error, OSError) as worse:
            self._health.failing(f"{self.path} is corrupt ({exc}), and there cannot be another one: {worse}")
            return
        self._on_rescued()

    def close(self) -> None:
        """Close it. Idempotent."""
        if self._db is not None:
            self._db.close()
            self._db = None
