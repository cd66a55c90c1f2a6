"""What is where in a state directory. Opens nothing: the parent asks here whether there is anything to wait for.

state.db, state.db-wal, state.db-shm      the store
state.db.corrupt-<time>                   one that could not be read, beside the one that took its place
journals/<id, "/" as "+">/<n>.journal     written by the id's module, folded into the store by the keeper
logs/<id>.log, runtime.log                not the keeper's
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["JOURNALS", "NAME", "SIDES", "holds_state", "id_of", "journal_directory"]

NAME: Final = "state.db"
SIDES: Final = ("", "-wal", "-shm")  # the database and what SQLite keeps beside it
JOURNALS: Final = "journals"


def journal_directory(state_dir: Path, id: str) -> Path:
    """Return where the journal of a full id is; "/" is kept readable and unambiguous."""
    return state_dir / JOURNALS / id.replace("/", "+")


def id_of(name: str) -> str:
    """Return the full id whose journal directory has this name."""
    return name.replace("+", "/")


def holds_state(state_dir: Path) -> bool:
    """Return whether an earlier runtime left anything to read. Cost: two system calls where nothing is."""
    if (state_dir / NAME).exists():
        return True
    try:
        with os.scandir(state_dir / JOURNALS) as entries:
            return any(not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False
