"""The versions of every child that have served: recorded when one first serves, shown to people, and taken for a rollback.

A version is code and its arguments: what the child was started with, and the files that it was made of as they were then. A restart
of the same is the same version; an edit of a file, a swap, another spec makes the next. The list outlives the runtime as plain
facts (once there is more to say than that it started); what can be rolled back to is what this runtime has seen.

Owns the numbers. Starts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.errors import SwapError
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.registry import Record
from dspex_runtime.node.sources import Archive, Sources
from dspex_runtime.types import Kind

__all__ = ["KEPT", "Version", "Versions"]

KEPT: Final = 20  # of one child
SHOWN_CHARS: Final = 1000  # of arguments, which may be anything

Facts: TypeAlias = dict[str, Any]
#: Fields of the spec and of its launch that make a version; all others can change while it serves on.
_LAUNCHED: Final = ("kind", "target", "label", "pickled", "args", "kwargs", "pickled_args")


@dataclass(frozen=True, slots=True)
class Version:
    """One entry.

    Attributes:
        number: 1, 2, 3 ... of one child.
        version: As people are shown it.
        of: The number of the version that it is once more, after a rollback; else its own.
        spec: None of a version of an earlier runtime: that is shown and no more.
        sources: What it was made of; holds the texts.
    """

    number: int
    version: str | None
    target: str | None
    args: Any
    source_hash: str | None
    when: float
    why: str
    of: int
    spec: ChildSpec | None = None
    sources: Sources | None = None

    def facts(self) -> Facts:
        """Return what people see, and what is kept: the fields of `types.VersionInfo` but `current`, and `of`."""
        names = ("number", "version", "target", "args", "source_hash", "when", "why", "of")
        return {name: getattr(self, name) for name in names}


class Versions:
    """See the module docstring.

    Args:
        archive: Keeps the texts.
        noted: What is known of a full id from before.
        note: Keeps facts of a full id.
    """

    def __init__(self, archive: Archive, noted: Callable[[str], Mapping[str, Any]], note: Callable[[str, Facts], None]) -> None:
        self._archive = archive
        self._noted = noted
        self._note = note
        self._of: dict[str, list[Version]] = {}
        self._looked: dict[str, ModuleProcess] = {}  #: the process that was looked at last

    # -- recording --------------------------------------------------------------------------------------------------

    def changed(self, record: Record) -> None:
        """A child's record changed: one that serves for the first time may be of another version. Cost of any other: a look-up."""
        process = record.process
        if process is None or not process.serving or self._looked.get(record.id) is process or record.spec.kind is Kind.SUPERVISOR:
            return
        self._looked[record.id] = process
        found = self._made(record, record.spec, process, "start")
        known = self._list(record.id)
        if not known or not _is_same(known[-1], found):
            self._add(record.id, found)
        elif known[-1].spec is None:  # the same as in the runtime before: now it can be rolled back to
            known[-1] = replace(known[-1], spec=found.spec, sources=found.sources)

    def swapped(self, record: Record, spec: ChildSpec, why: str, *, of: int | None = None) -> int:
        """Another version has taken a child's place, from a spec that is not the record's yet; return its number."""
        process = record.process
        assert process is not None
        self._looked[record.id] = process
        return self._add(record.id, self._made(record, spec, process, why), of=of)

    def forget(self, id: str) -> None:
        """A child is forgotten."""
        self._of.pop(id, None)
        self._looked.pop(id, None)

    def _made(self, record: Record, spec: ChildSpec, process: ModuleProcess, why: str) -> Version:
        assert spec.launch is not None
        sources = self._archive.noted(process)
        return Version(
            number=0,
            version=record.version or spec.version,
            target=spec.launch.initial_call,
            args=_shown(spec),
            source_hash=sources.source_hash,
            when=time.time(),
            why=why,
            of=0,
            spec=spec,
            sources=sources,
        )

    def _add(self, id: str, made: Version, *, of: int | None = None) -> int:
        known = self._list(id)
        number = known[-1].number + 1 if known else 1
        known.append(replace(made, number=number, of=of or number))
        del known[:-KEPT]
        if number > 1:  # a first start says nothing that the next one will not say again
            self._note(id, {"versions": [version.facts() for version in known]})
        return number

    def _list(self, id: str) -> list[Version]:
        known = self._of.get(id)
        if known is None:
            kept = self._noted(id).get("versions") or ()
            known = self._of[id] = [Version(**{**facts, "of": facts.get("of", facts["number"])}) for facts in kept]
        return known

    # -- looking ----------------------------------------------------------------------------------------------------

    def shown(self, record: Record) -> list[Facts]:
        """Return the maps of `types.VersionInfo`, newest first."""
        known = self._list(record.id)
        serves = record.process is not None and record.process.serving
        return [{**_told(version), "current": serves and version is known[-1]} for version in reversed(known)]

    def find(self, record: Record, wanted: int | str | None) -> Version:
        """Return the version that is meant: by number, by what it is called (the latest such), or the one before this one.

        Raises:
            SwapError: There is none, or it cannot run again.
        """
        known = self._list(record.id)
        before = known[:-1]
        match wanted:
            case None:
                found = before[-1] if before else None
            case int():
                found = next((version for version in known if version.number == wanted), None)
            case str():
                found = next((version for version in reversed(before) if version.version == wanted), None)
        if found is None:
            there = ", ".join(_named(version) for version in known) or "none"
            what = "no version before this one" if wanted is None else f"no version {wanted!r}"
            raise SwapError(f"{record.id!r} has {what}; there are {there}", code="refused", id=record.id)
        if found is known[-1]:
            raise SwapError(f"version {_named(found)} of {record.id!r} serves already", code="refused", id=record.id)
        if found.spec is None:
            text = f"version {_named(found)} of {record.id!r} served in an earlier runtime: its code was not kept"
            raise SwapError(text, code="refused", id=record.id, hint="rt.swap(id, to=...) takes the code from where it is now")
        return found

    def current(self, record: Record) -> Version | None:
        """Return the version that served last."""
        known = self._list(record.id)
        return known[-1] if known else None

    def again(self, record: Record, version: Version) -> ChildSpec:
        """Return the spec that runs a version again, with the texts that it was made of.

        Raises:
            SwapError: They are not known: they had changed before they could be read.
        """
        spec, sources = version.spec, version.sources
        assert spec is not None
        assert spec.launch is not None
        if sources is None or sources.texts is None:
            missing = ", ".join(sources.missing) if sources is not None else "its files"
            text = f"version {_named(version)} of {record.id!r} cannot run again: {missing} changed before it was read"
            raise SwapError(text, code="refused", id=record.id)
        # As it was, but for what has been changed since without another version: limits, restarts and the like.
        assert record.spec.launch is not None
        fields = {name: getattr(spec.launch, name) for name in (*_LAUNCHED, "sys_path", "load")}
        launch = replace(record.spec.launch, **fields, sources=sources.texts)
        return replace(record.spec, kind=spec.kind, version=spec.version, launch=launch)


def _is_same(known: Version, found: Version) -> bool:
    if known.spec is None or found.spec is None:
        return (known.version, known.target, known.args, known.source_hash) == (
            found.version, found.target, found.args, found.source_hash,
        )  # fmt: skip
    a, b = known.spec, found.spec
    if a is not b and (a.version != b.version or any(getattr(a.launch, name) != getattr(b.launch, name) for name in _LAUNCHED)):
        return False
    # Unknown texts say nothing: a restart of what was edited between its import and our look at it.
    return known.source_hash == found.source_hash or found.source_hash is None


def _shown(spec: ChildSpec) -> Any:
    launch = spec.launch
    assert launch is not None
    if launch.pickled_args is not None:
        return f"pickled, {len(launch.pickled_args)} bytes"
    args: Any = dict(launch.kwargs) or list(launch.args)
    text = repr(args)
    return args if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."


def _told(version: Version) -> Facts:
    facts = version.facts()
    del facts["of"]
    return facts


def _named(version: Version) -> str:
    return f"{version.number} ({version.version})" if version.version else str(version.number)
