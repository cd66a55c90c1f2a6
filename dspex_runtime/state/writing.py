"""Parameters that no module writes: those of stopped modules, and the runtime's own. Written as a module would write them.

Owns the owners, each for as long as no incarnation of its id lives; it gives a table up before that is given to one. Never runs a
user's check: what needs one is refused. Waits for the disk, so not for the main thread; `release` waits for one write at most.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from dspex_runtime.errors import ConstraintViolationError, ParameterError, ParameterNotFoundError
from dspex_runtime.params import image, values
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.constraints import check
from dspex_runtime.params.journal import Journal
from dspex_runtime.params.memory import read_only
from dspex_runtime.params.owner import Box, Kept, Owner
from dspex_runtime.params.spec import ParameterSpec
from dspex_runtime.params.table import Table
from dspex_runtime.params.view import View
from dspex_runtime.state.layout import journal_directory
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.state.service import Answer, Args
from dspex_runtime.state.vault import Vault
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire.codec import Codec

__all__ = ["Writing"]

MAX_TOLD_BYTES: Final = 1024  # a larger value is read from the table by whoever wants it

FromDisk = Callable[[str, Args], Any]


class Writing:
    """See the module docstring.

    Args:
        vault: Holds the tables.
        from_disk: Asks the disk's thread, and waits.
        tell: Sends an event to the parent, with a descriptor if one is given.
        state_dir: Where journals are.
        shared: Specs of the parameters that the runtime has itself.
    """

    def __init__(
        self,
        vault: Vault,
        from_disk: FromDisk,
        tell: Callable[..., None],
        *,
        state_dir: Path,
        shared: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._vault = vault
        self._from_disk = from_disk
        self._tell = tell
        self._codec = Codec()
        self._state_dir = state_dir
        self._shared = shared
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()  # of the map; each owner has a lock of its own

    def release(self, id: str) -> None:
        """Write nothing of an id any more: an incarnation is about to."""
        with self._lock:
            found = self._open.pop(id, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Write nothing any more."""
        for id in list(self._open):
            self.release(id)

    def reader(self, args: Args, _fds: list[int]) -> Answer:
        """Answer with a table to read, made of what is stored where no module has made one yet; with none where nothing is."""
        try:
            self._owner(args["id"])
        except ParameterNotFoundError:
            return None, []
        except ParameterError as exc:
            self._tell({"type": "report", "text": f"the parameters of {args['id']!r} cannot be read: {exc}", "id": args["id"]})
            return None, []
        fd = self._vault.table(args["id"])
        if fd is None:
            return None, []
        try:
            return None, [read_only(fd)]
        finally:
            os.close(fd)

    def handle(self, op: str, args: Args, _fds: list[int]) -> Answer:
        """Carry out one of WRITES.

        Raises:
            ParameterError: It is refused, and nothing changed.
            CheckpointError: There is no such checkpoint.
        """
        if op == "restore_stopped":
            return self._restore(args), []
        id = SHARED if op.startswith("shared_") else args["id"]
        writer = self._owner(id)
        with writer.lock:
            if writer.closed:
                raise _lives(id)
            return self._write(op.removeprefix("shared_"), writer.owner, args), []

    def _write(self, op: str, owner: Owner, args: Args) -> Any:
        match op:
            case "set":
                value = values.decode(self._codec, args["value"])
                return _told(owner.set(args["name"], value, who=args["who"], expect=args.get("expect")))
            case "rollback":
                return _told(owner.rollback(args["name"], args["version"], who=args["who"]))
            case _:
                return _told(owner.reset(args["name"], who=args["who"]))

    def _restore(self, args: Args) -> dict[str, Any]:
        """Put stopped modules back, all or none: their parameters now, what only their processes have at their next starts."""
        saved = self._from_disk("saved", {"members": args["members"]})
        changed: list[_PutBack] = []
        try:
            for info, data in saved:
                changed += self._put_back(info["id"], image.decode(data).parameters, args["who"])
            members = [[info["id"], info["number"]] for info, _ in saved]
            newest = self._from_disk("restored", {"members": members, "keep": args["keep"], "was_stopped": True})
        except BaseException:
            for each in reversed(changed):
                self._take_back(each, args["who"])
            raise
        return {"restored": [info for info, _ in saved], "newest": newest}

    def _put_back(self, id: str, parameters: Mapping[str, Any], who: str) -> list[_PutBack]:
        """Restore the parameters of one; return what they were."""
        if not parameters:
            if self._vault.incarnation(id):
                raise _lives(id)
            return []
        writer = self._owner(id)
        with writer.lock:
            if writer.closed:
                raise _lives(id)
            before = writer.owner.image()
            writer.owner.restore(parameters, who=who)
        return [_PutBack(id, writer, before)]

    def _take_back(self, put_back: _PutBack, who: str) -> None:
        """Make the parameters of one what they were; where that cannot be, it is told, and others are not kept from it."""
        id, writer, before = put_back
        try:
            with writer.lock:
                if writer.closed:
                    raise _lives(id)
                writer.owner.restore(before, who=who)
        except Exception as exc:
            text = f"{id!r} was not put back to its checkpoint, but its parameters have the values of that: {exc}"
            self._tell({"type": "report", "text": text, "id": id})

    # -- owners -----------------------------------------------------------------------------------------------------

    def _owner(self, id: str) -> _Open:
        if self._vault.incarnation(id):
            raise _lives(id)
        with self._lock:
            found = self._open.get(id)
        if found is not None:
            return found
        made = self._made(id)
        with self._lock:
            if not self._vault.incarnation(id):
                self._open[id] = made
                return made
        made.close()
        raise _lives(id)

    def _made(self, id: str) -> _Open:
        metas: dict[str, Any] = self._from_disk("read", {"id": id})
        table_fd = self._vault.table(id)
        kept, current = self._kept(id, table_fd)
        if table_fd is not None:
            metas |= self._metas(id)
        specs = {name: ParameterSpec.from_meta(meta) for name, meta in (self._shared if id == SHARED else metas).items()}
        if not specs:
            why = "its limits are known when it has run once in this runtime" if current else "it has none"
            raise ParameterNotFoundError(f"the parameters of {id!r} cannot be had while it does not run: {why}", id=id)
        journal = Journal.at(journal_directory(self._state_dir, id))
        # fsync: what the module's own level is, is not known here, and these writes are rare.
        owner = Owner(id, self._codec, durability=Durability.FSYNC, journal=journal, incarnation=0, hooks=_Hooks(self, id))
        try:
            for name, spec in specs.items():
                owner.declare(name, spec, Box(_legal(name, spec, current)))
            owner.open(kept, {})
        except BaseException:
            owner.close()
            journal.close()
            raise
        return _Open(owner, journal)

    def _kept(self, id: str, table_fd: int | None) -> tuple[Kept, dict[str, Any]]:
        """Return what an owner adopts, and the values as they are now."""
        info, _ = self._vault.give(id)
        held = {(name, version): self._vault.blob(id, name, version) for name, version in info["blobs"]}
        blobs = {key: fd for key, fd in held.items() if fd is not None}
        stored = {}
        for name, (version, data, annex) in info["stored"].items():
            if data is True:
                data = bytes(Blob.map(blobs[name, version])[0])
            stored[name] = (version, data, annex)
        kept = Kept(
            table=None if table_fd is None else Table.adopt(table_fd),
            blobs=blobs,
            volatile_fd=self._vault.volatile(id),
            stored=stored,
            facts=info["facts"],
        )
        current = {name: values.decode(self._codec, data) for name, (_, data, _) in stored.items() if data is not None}
        return kept, current | self._values(id)

    def _view(self, id: str) -> View | None:
        fd = self._vault.table(id)
        return None if fd is None else View(fd, self._codec, lambda name, version: self._vault.blob(id, name, version))

    def _values(self, id: str) -> dict[str, Any]:
        view = self._view(id)
        if view is None:
            return {}
        try:
            return {name: view.get(name) for name in view.names()}
        finally:
            view.close()

    def _metas(self, id: str) -> dict[str, Any]:
        view = self._view(id)
        if view is None:
            return {}
        try:
            return {name: meta for name in view.names() if (meta := view.meta(name)) is not None}
        finally:
            view.close()


class _Open:
    """One owner, until its id has a module again."""

    def __init__(self, owner: Owner, journal: Any) -> None:
        self.owner = owner
        self.lock = threading.Lock()
        self.closed = False
        self._journal = journal

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.owner.close()
            self._journal.close()


class _PutBack(NamedTuple):
    """The parameters of one id as they were before they were put back."""

    id: str
    writer: _Open
    before: Mapping[str, Any]


class _Hooks:
    """What an owner here asks of its process (`params.holders.Hooks`)."""

    def __init__(self, writing: Writing, id: str) -> None:
        self._writing = writing
        self._id = id

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        """Keep a descriptor where modules' are kept, and have the parent keep it for the next keeper."""
        self._writing._tell({"type": kind, "id": self._id, **facts}, fd)
        vault, copy = self._writing._vault, os.dup(fd)
        match kind:
            case "table":
                vault.take_table(self._id, copy)
            case "blob":
                vault.take_blob(self._id, facts["name"], facts["version"], copy)
            case _:
                vault.take_volatile(self._id, copy)

    def notify(self, change: Change) -> None:
        """Tell the parent, which knows who wants to hear."""
        data = bytes(values.encode(self._writing._codec, change.value))
        self._writing._tell(
            {
                "type": "changed",
                "id": change.id,
                "name": change.name,
                "version": change.version,
                "when": change.when,
                "who": change.who,
                "value": data if len(data) <= MAX_TOLD_BYTES else None,
            }
        )

    def report(self, text: str) -> None:
        """Tell the parent what was lived with."""
        self._writing._tell({"type": "report", "text": text, "id": self._id})

    def value_at(self, name: str, version: int) -> bytes:
        """Ask the store."""
        data = self._writing._from_disk("value_at", {"id": self._id, "name": name, "version": version})
        if data is None:
            raise ParameterError(f"version {version} of {name!r} is not kept", name=name, id=self._id)
        return bytes(data)


def _legal(name: str, spec: ParameterSpec, current: Mapping[str, Any]) -> Any:
    """Return a value as it is now, or the default where today's limits refuse it: who adopts what is kept reports that."""
    if name not in current:
        return spec.default
    try:
        return check(spec, current[name], name=name)
    except ConstraintViolationError:
        return spec.default


def _told(change: Change) -> list[Any]:
    return [change.version, change.when]


def _lives(id: str) -> ParameterError:
    return ParameterError(f"a process of {id!r} runs: it writes its parameters itself", id=id)
