"""The store as something that can fail: opened, refused, failing, set aside when it is damaged, and opened again.

Owns the connection, and when to give up on it. Whoever needs the store comes through `run`; what it raises can be told to people.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from dspex_runtime.errors import CheckpointError, DspexError, StartError
from dspex_runtime.state.checkpoints import Checkpoints
from dspex_runtime.state.database import is_corrupt, open_database, open_to_read, rescue
from dspex_runtime.state.health import Cause, Health
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.migrations import ForeignDatabaseError, NewerSchemaError
from dspex_runtime.state.store import Store

__all__ = ["Access"]

T = TypeVar("T")

_HINTS: Final[dict[type[Exception], str]] = {
    NewerSchemaError: "start it with the version of dspex that wrote it, or a later one; or name another state_dir",
    ForeignDatabaseError: "name another state_dir, or move that file away",
}
_HINT: Final = "see to the disk and to who may read it, or name another state_dir"
_DISCARDS: Final = "; --fresh discards what is there"


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
        self._reads_only = False  #: as long as the disk takes nothing
        self._why: Exception | None = None  #: it could not be opened
        self._place: tuple[int, int] | None = None  #: device and inode, while it is open

    @property
    def is_open(self) -> bool:
        """Whether there is a database to work with, opened now if it can be; it may be one that can only be read."""
        if self._db is None and not self.refused:
            self._open()
        return self._db is not None

    @property
    def is_writable(self) -> bool:
        """Whether there is a database that can be written, opened anew if that may have changed."""
        if self._reads_only:
            self.close()
        return self.is_open and not self._reads_only

    def _open(self) -> None:
        try:
            self._db = open_database(self.path, self._health.report)
        except (NewerSchemaError, ForeignDatabaseError) as exc:
            self._why = exc
            self.refused = f"{self.path} is left alone: {exc}. Modules serve, and their journals keep what is set"
            self._health.failing(self.refused)
        except (sqlite3.Error, OSError) as exc:
            self._why = exc
            self._db = self._to_read()
            self._reads_only = self._db is not None
            what = "can only be read, not written" if self._reads_only else "cannot be opened"
            self._health.failing(f"{self.path} {what}: {exc}")
        self._place = _place(self.path) if self._db is not None else None

    def _to_read(self) -> sqlite3.Connection | None:
        try:
            return open_to_read(self.path)
        except (sqlite3.Error, OSError, DspexError):
            return None  # why it cannot be written is known

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is the one of that name; if not, an alarm says so."""
        if self._place is None or self._place == _place(self.path):
            self._health.well(Cause.PLACE)
            return True
        text = f"{self.path.parent} was deleted or moved while it was in use: what is set from now on may be lost with this runtime"
        self._health.failing(text, Cause.PLACE)
        return False

    def check_in_place(self) -> None:
        """Raise CheckpointError where what is written now would not be found by the next runtime."""
        if not self.is_in_place:
            raise CheckpointError(
                f"{self.path} is not there any more: its directory was deleted or moved while it was in use",
                hint="end this runtime and start it again; what was moved can be given as its state_dir",
            )

    def check_read(self) -> None:
        """Make sure that what was written earlier can be read, before anything starts without it.

        Raises:
            StartError: There is a database, and it cannot.
        """
        if not self.is_open and self._why is not None and os.path.lexists(self.path):
            hint = _HINTS.get(type(self._why), _HINT) + _DISCARDS
            raise StartError(f"{self.path} has the state of earlier runs and cannot be read: {self._why}", hint=hint)

    def run(self, function: Callable[[Store, Checkpoints], T]) -> T:
        """Return what a function makes of the store; on a new database, once, when this one turns out to be damaged.

        Raises:
            CheckpointError: There is no store, or it does not work; its health was told.
            DspexError: As the function does.
        """
        try:
            return self._once(function)
        except sqlite3.Error as exc:
            if not self._mended(exc):
                raise CheckpointError(f"{self.path} does not work: {self._why if self._reads_only else exc}") from exc
        try:
            return self._once(function)
        except sqlite3.Error as exc:
            raise CheckpointError(f"{self.path} does not work: {exc}") from exc

    def _mended(self, exc: sqlite3.Error) -> bool:
        """Return whether it may work now, after it failed."""
        if self._reads_only and not is_corrupt(exc):
            return self.is_writable
        self.failed(exc)
        return is_corrupt(exc)

    def _once(self, function: Callable[[Store, Checkpoints], T]) -> T:
        if not self.is_open or self._db is None:
            raise CheckpointError(self.refused or f"there is no store: {self._health.trouble}")
        try:
            return function(Store(self._db), Checkpoints(self._db, self._health.report))
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        """Leave no transaction open behind an error, whatever that was: it would hold the log, and everybody else."""
        with contextlib.suppress(sqlite3.Error):
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")

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
        self._place = _place(self.path)
        self._on_rescued()

    def close(self) -> None:
        """Close it. Idempotent."""
        self._reads_only = False
        if self._db is not None:
            self._db.close()
            self._db = None


def _place(path: Path) -> tuple[int, int] | None:
    # Never opened for it: to close any descriptor of a database gives up the locks of all.
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
