"""The source of what travels by value and is in no file: of a notebook's cell only the process that ran it knows the text.

It goes along with the pickle, and is given to the line cache where that is opened: `inspect` finds it there, and tracebacks do.
"""

from __future__ import annotations

import linecache
import os
import pickle
from collections.abc import Iterable, Mapping

__all__ = ["bundled", "gathered", "opened"]


class _Bundle:
    """Is pickled as the call that opens it."""

    def __init__(self, data: bytes, sources: Mapping[str, str]) -> None:
        self._data = data
        self._sources = sources

    def __reduce__(self) -> tuple[object, ...]:
        return opened, (self._data, self._sources)


def gathered(names: Iterable[str]) -> dict[str, str]:
    """Return the text behind names of files that another process does not find; of what nobody knows, nothing."""
    missing = [name for name in names if not (os.path.isabs(name) and os.path.isfile(name))]
    return {name: "".join(lines) for name in missing if (lines := linecache.getlines(name))}


def bundled(data: bytes, sources: Mapping[str, str]) -> bytes:
    """Return the bytes of a pickle that brings these sources."""
    return pickle.dumps(_Bundle(data, dict(sources))) if sources else data


def opened(data: bytes, sources: Mapping[str, str]) -> object:
    """Return what is in a bundle; from then on the line cache has its sources."""
    for name, text in sources.items():
        # No time of change: nobody looks for the file.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return pickle.loads(data)
