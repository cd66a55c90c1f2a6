"""The texts that running modules were made of, kept so that an earlier version can run again; and which files changed since.

A process says at READY which files of the user's it was made of: [path, mtime_ns, size, hash] each (`host.sources.loaded`). The
archive reads them once for all processes that say the same, and takes only what the process had: a file that changed in between
gives no version. A text stays as long as somebody holds a `Sources` with it, and beyond that while it is among the
latest `LIMIT_BYTES`. Small regular files only: the loop of the parent waits for each first read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import source_hash
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from dspex_runtime.core.child_spec import GIVEN, LaunchSpec

__all__ = ["Archive", "Sources", "Started", "changed"]

LIMIT_BYTES: Final = 32 * 2**20  # texts that nobody holds, kept for the next process of the same files
MAX_FILE_BYTES: Final = 4 * 2**20  # no source is written that long; what is generated that long is made anew, not archived
HASH_CHARS: Final = 12  # as git shows a commit


class Started(Protocol):
    """What the archive asks of a process (`ModuleProcess`)."""

    @property
    def files(self) -> Sequence[Sequence[Any]]:
        """Of its READY."""

    @property
    def launch(self) -> LaunchSpec:
        """What it was started with: the texts that it was given."""


class _Fact(NamedTuple):
    """One of the files of a READY."""

    path: str
    mtime_ns: int
    size: int
    hash: bytes | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Text:
    """One file as it was read once; shared by all that were made of it."""

    path: str
    data: bytes
    digest: bytes  #: sha256


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Sources:
    """What one process was made of. Hold it to keep the texts.

    Attributes:
        source_hash: Hexadecimal; of the names and texts, wherever they lie. None: there are none, or one of them is unknown.
        texts: By path, for `LaunchSpec.sources`; {} for a process without files of its own, None where one is unknown.
        missing: Paths of those that are unknown: changed or removed since the process read them, unreadable or too long.
    """

    source_hash: str | None
    texts: Mapping[str, bytes] | None
    missing: tuple[str, ...]
    _held: tuple[_Text, ...]


class Archive:
    """See the module docstring. Texts that are no longer held go when newer ones need their place, the longest unused first."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._texts: WeakValueDictionary[_Fact, _Text] = WeakValueDictionary()
        self._sources: WeakValueDictionary[tuple[_Text, ...], Sources] = WeakValueDictionary()
        self._latest: OrderedDict[_Fact, _Text] = OrderedDict()  #: the last used last
        self._latest_bytes = 0

    def noted(self, process: Started) -> Sources:
        """Return what a process is made of; the sooner after its READY, the surer it is still there."""
        return self.note(process.files, process.launch.sources)

    def note(self, files: Iterable[Sequence[Any]], given: Mapping[str, bytes] | None = None) -> Sources:
        """Return the texts behind the files of a READY; the same object for the same texts.

        Args:
            files: [path, mtime_ns, size, hash] each; without a hash, times and size must be those of the file.
            given: `LaunchSpec.sources` of the process.

        Cost: a look-up for each file that is known; a stat and a read for any other.
        """
        facts = list(dict.fromkeys(_Fact(*fact[:4]) for fact in files))
        found = [(fact, self._text(fact, given or {})) for fact in facts]
        texts = tuple(text for _, text in found if text is not None)
        missing = tuple(fact.path for fact, text in found if text is None)
        if missing:
            return Sources(None, None, missing, texts)
        known = self._sources.get(texts)
        if known is None:
            by_path = {text.path: text.data for text in texts}
            known = self._sources[texts] = Sources(_hash_of(texts) if texts else None, by_path, (), texts)
        return known

    def _text(self, fact: _Fact, given: Mapping[str, bytes]) -> _Text | None:
        text = self._texts.get(fact)
        if text is None:
            data = given.get(fact.path) if fact.mtime_ns == GIVEN else _read(fact)
            if data is None:
                return None
            text = self._texts[fact] = _Text(fact.path, data, hashlib.sha256(data).digest())
        self._use(fact, text)
        return text

    def _use(self, fact: _Fact, text: _Text) -> None:
        if self._latest.pop(fact, None) is None:
            self._latest_bytes += len(text.data)
        self._latest[fact] = text
        while self._latest_bytes > self._limit_bytes:
            self._latest_bytes -= len(self._latest.popitem(last=False)[1].data)


def changed(files: Iterable[Sequence[Any]], *, thorough: bool = False) -> list[str]:
    """Return the paths of those files of a running module that are not on the disk as it has read them.

    A file that was only touched has not changed (where its hash is known). One that was given in place of the disk's never does.

    Args:
        files: As in its READY: [path, mtime_ns, size, hash] each.
        thorough: Look into files whose time and size are the same, too: one may have been put in the place of another.

    Cost: a stat for each file, and a read for those that look changed; a read for each when `thorough`.
    """
    facts = dict.fromkeys(_Fact(*fact[:4]) for fact in files)
    return list(dict.fromkeys(fact.path for fact in facts if _has_changed(fact, thorough=thorough)))


def _has_changed(fact: _Fact, *, thorough: bool) -> bool:
    if fact.mtime_ns == GIVEN:
        return False
    try:
        info = os.stat(fact.path)
    except OSError:
        return True
    same = (info.st_mtime_ns, info.st_size) == (fact.mtime_ns, fact.size)
    if fact.hash is None or (same and not thorough):
        return not same
    return _read(fact) is None


def _hash_of(texts: Iterable[_Text]) -> str:
    parts = sorted((os.path.basename(text.path).encode(errors="surrogateescape"), text.digest) for text in texts)
    return hashlib.sha256(b"".join(name + b"\0" + digest for name, digest in parts)).hexdigest()[:HASH_CHARS]


def _read(fact: _Fact) -> bytes | None:
    """Return the text that a process has read, if that is what the file has now."""
    try:
        # Not to wait for whoever writes, where the path is a pipe by now.
        with open(os.open(fact.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_size != fact.size or info.st_size > MAX_FILE_BYTES:
                return None
            data = file.read(fact.size)
            after = os.fstat(file.fileno())
    except OSError:
        return None
    if fact.hash is not None:
        return data if source_hash(data) == fact.hash else None
    times = {(i.st_mtime_ns, i.st_size) for i in (info, after)}
    return data if len(data) == fact.size and times == {(fact.mtime_ns, fact.size)} else None
