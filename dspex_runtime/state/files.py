"""The journals of a state directory as files: what there is, what may go once it is folded, and what was deleted.

Never reads a journal. A directory that is deleted is renamed first: a crash in between leaves nothing that looks like a journal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

from dspex_runtime.params.journal import segments
from dspex_runtime.state.layout import JOURNALS, NAME, SIDES, id_of, journal_directory

__all__ = ["JournalFiles", "discard_state"]

_DROPPED: Final = ".dropped"  # no id begins with a dot
SEGMENTS_KEPT: Final = 2  # a record that was written and not published is in one of the newest two


def discard_state(state_dir: Path) -> None:
    """Delete the database and every journal. The logs stay."""
    for side in SIDES:
        (state_dir / f"{NAME}{side}").unlink(missing_ok=True)
    journals = JournalFiles(state_dir)
    for id in journals.ids():
        journals.discard(id)


class JournalFiles:
    """The journals of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._root = state_dir / JOURNALS

    def path(self, id: str) -> Path:
        """Return the directory of an id's journal."""
        return journal_directory(self._state_dir, id)

    def ids(self) -> list[str]:
        """Return the ids that have a journal; what was being deleted goes now."""
        try:
            names = sorted(os.listdir(self._root))
        except FileNotFoundError:
            return []
        for name in names:
            if name.startswith(_DROPPED):
                shutil.rmtree(self._root / name, ignore_errors=True)
        return [id_of(name) for name in names if not name.startswith(".")]

    def discard(self, id: str) -> None:
        """Delete an id's journal; nothing when there is none."""
        number = 0
        while True:
            doomed = self._root / f"{_DROPPED}-{os.getpid()}-{number}"
            try:
                self.path(id).rename(doomed)
            except FileNotFoundError:
                return
            except OSError:
                if not doomed.exists():
                    raise
                number += 1
                continue
            shutil.rmtree(doomed, ignore_errors=True)
            return

    def trim(self, id: str, folded: int) -> None:
        """Delete segments that are folded up to here and that nobody will read again; the newest ones stay."""
        found = segments(self.path(id))
        for number, path in found[:-SEGMENTS_KEPT]:
            if number < folded >> 40:
                path.unlink(missing_ok=True)

    def empty(self, id: str, folded: int) -> None:
        """Give back the space of a journal that is folded and that nobody writes: its newest segment stays, with no bytes.

        The number must stay: positions only ever grow.
        """
        found = segments(self.path(id))
        for number, path in found[:-1]:
            if number < folded >> 40:
                path.unlink(missing_ok=True)
        for number, path in found[-1:]:
            if folded >= (number << 40) + path.stat().st_size:
                with contextlib.suppress(OSError):
                    os.truncate(path, 0)
