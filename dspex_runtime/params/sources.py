"""What is kept of each parameter, wherever it is: the newest of table, journals and store. Reads only; never fatal.

A writer that was killed between journal and table leaves its last record ahead of the table: the record wins. The table wins over
what is equally old, the journals over the store. Of a commit to both journals the disk's record decides: with it, what the writer
was killed before completing in memory is completed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.errors import ParameterError, ProtocolError
from dspex_runtime.params import layout
from dspex_runtime.params.holders import Kept
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.records import ELSEWHERE, FACTS, SET, SetRecord, records, tail
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.params.values import Annex, decode
from dspex_runtime.params.volatile import VolatileJournal
from dspex_runtime.wire.codec import Codec

__all__ = ["Found", "Sources", "gather", "newest"]

_KINDS: Final = frozenset({SET, FACTS, ELSEWHERE})
# What the journal's facts hold for others: the store's sums, and the configuration that was taken over.
_NOT_OURS: Final = frozenset({"metrics", "configured"})

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """The newest that is kept of one name.

    Attributes:
        version: Its version; later ones must be higher.
        data: The encoded value, None when there is none to be had.
        annex: As it was published.
        is_published: Whether the table has exactly this.
    """

    version: int
    data: bytes | memoryview | None
    annex: bytes
    is_published: bool = False

    def read_annex(self) -> Annex:
        """Return what is known about this version; of one that cannot be read, nothing."""
        try:
            return Annex.unpack(self.annex)
        except (ValueError, TypeError):
            return Annex(0.0, "", 0.0)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is kept.

    Attributes:
        found: By name, those that nobody declares any more too.
        facts: Of the module.
        position: Behind the last record that was read of the journal.
    """

    found: dict[str, Found]
    facts: dict[str, Any]
    position: int


def gather(
    kept: Kept,
    publisher: Publisher,
    journal: SegmentJournal | None,
    volatile: VolatileJournal | None,
    codec: Codec,
    report: Report,
) -> Sources:
    """Return the newest of everything; what cannot be read is reported and left out."""
    found = {name: Found(version, data, annex) for name, (version, data, annex) in kept.stored.items()}
    facts = {key: value for key, value in kept.facts.items() if key not in _NOT_OURS}
    for name in publisher.table.names():
        published = _published(publisher, name, report)
        if name not in found or published.version >= found[name].version:
            found[name] = published
    for name in publisher.table.withdrawn():
        kept_back = _withdrawn(publisher, name, codec, report)
        if kept_back is not None and (name not in found or kept_back.version > found[name].version):
            found[name] = kept_back
    facts.update(_facts(publisher, codec, report))
    position = publisher.table.journal_position
    payloads = []
    if journal is not None:
        for end, payload in _readable(tail(journal.directory, position, kinds=_KINDS, on_damage=report), report):
            payloads.append(payload)
            position = end
    if volatile is not None and volatile.fd >= 0:
        for payload in payloads:
            if payload[0] == ELSEWHERE:
                volatile.complete_kept(*payload[1:4])
        payloads += [payload for _, payload in _readable(records(volatile.fd, volatile.published, kinds=_KINDS), report)]
    for name, record in newest(payloads).items():
        if name not in found or record.version > found[name].version:
            found[name] = _of(record)
    for payload in payloads:
        if payload[0] == FACTS and isinstance(payload[2], dict):
            facts.update((key, value) for key, value in payload[2].items() if key not in _NOT_OURS)
    return Sources(found, facts, position)


def newest(payloads: Iterable[list[Any]]) -> dict[str, SetRecord]:
    """Return the record of the highest version of each name; of two with the same version, the one written last."""
    found: dict[str, SetRecord] = {}
    for payload in payloads:
        record = SetRecord.read(payload)
        if record is not None and (record.name not in found or record.version >= found[record.name].version):
            found[record.name] = record
    return found


def _of(record: SetRecord) -> Found:
    return Found(record.version, None if record.removed else record.data, record.annex)


def _published(publisher: Publisher, name: str, report: Report) -> Found:
    try:
        published = publisher.read(name)
        if published is not None:
            return Found(*published, is_published=True)
    except ParameterError as exc:
        report(f"the kept value of {name!r} cannot be read: {exc}")
    # A blob that is not there may still be in the store, under the same version.
    return Found(publisher.version(name) - 1, None, b"")


def _withdrawn(publisher: Publisher, name: str, codec: Codec, report: Report) -> Found | None:
    try:
        published = publisher.read(layout.withdrawn_name(name))
        if published is None:
            return None
        version, data, annex = decode(codec, published[1])
        return Found(version, data, annex)
    except (ParameterError, ProtocolError, TypeError, ValueError) as exc:
        report(f"what is kept of {name!r}, which was not declared any more, cannot be read: {exc}")
        return None


def _facts(publisher: Publisher, codec: Codec, report: Report) -> dict[str, Any]:
    try:
        published = publisher.read(layout.FACTS)
        return dict(decode(codec, published[1])) if published is not None else {}
    except (ParameterError, ProtocolError, TypeError, ValueError) as exc:
        report(f"the kept facts cannot be read: {exc}")
        return {}


def _readable(source: Iterable[tuple[int, list[Any]]], report: Report) -> list[tuple[int, list[Any]]]:
    """Return what can be read before the first error."""
    found: list[tuple[int, list[Any]]] = []
    try:
        found.extend(source)
    except (OSError, ParameterError) as exc:
        report(f"the journal cannot be read any further: {exc}")
    return found
