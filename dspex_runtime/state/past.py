"""The past of one parameter: what the store has of it, and what only a journal in memory has. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

from dspex_runtime.params.journal import records
from dspex_runtime.params.records import SetRecord
from dspex_runtime.state.store import Version

__all__ = ["SHOWN_BYTES", "merged", "shown", "volatile_versions"]

SHOWN_BYTES: Final = 64 * 1024  # a list of a hundred versions has to fit one message; larger ones are asked for one by one


def volatile_versions(fd: int, name: str) -> list[Version]:
    """Return what a journal in memory has of a parameter, oldest first; `fd` is closed."""
    try:
        found = [SetRecord.read(payload) for _, payload in records(fd)]
    finally:
        os.close(fd)
    return [Version(r.version, r.when, r.who, bytes(r.data), r.removed) for r in found if r is not None and r.name == name]


def merged(stored: Iterable[Version], volatile: Iterable[Version], n: int) -> list[Version]:
    """Return the newest n of both, newest first."""
    by_version = {each.version: each for each in (*stored, *volatile)}
    return [by_version[version] for version in sorted(by_version, reverse=True)[:n]]


def shown(versions: list[Version], n: int) -> list[dict[str, Any]]:
    """Return the first n of a list that is newest first as `history` answers them: each with the value before it."""
    before: list[Version | None] = [*versions[1:], None]
    return [
        {
            "version": entry.version,
            "when": entry.when,
            "who": entry.who,
            "value": _small(entry),
            "old": None if old is None else _small(old),
            "removed": entry.removed,
            "bytes": len(entry.data),
            "old_bytes": None if old is None else len(old.data),
        }
        for entry, old in list(zip(versions, before, strict=False))[:n]
    ]


def _small(entry: Version) -> bytes | None:
    return entry.data if not entry.removed and len(entry.data) <= SHOWN_BYTES else None
