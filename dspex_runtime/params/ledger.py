"""Writing a parameter down and publishing it, in the one order that loses nothing. Owns the lock.

    number -> journal -> (disk) -> blob offered -> table -> holder -> told

Killed before the journal has it: nothing happened. Killed anywhere behind: the record is ahead of the table, and the next
incarnation takes it. Never decides whether a value is legal; that was checked before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import msgpack

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.params.holders import Hooks
from dspex_runtime.params.journals import Journals
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.records import FACTS, SET
from dspex_runtime.params.seal import Seal
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.params.writes import CONFLICT, KEEP, Owned, Write, drop_blobs, failed, record_of
from dspex_runtime.types import Change, Durability

__all__ = ["Ledger"]

_MARK_EVERY: Final = 32  # writes: reading them again costs an adopter 0.1 ms
_MARK_AFTER_S: Final = 1.0  # seconds: the records of calls come in between


class Ledger:
    """The writing side of one owner.

    Args:
        id: Full id of the module.
        publisher: The table.
        journal: For what survives the kill of everything; None: there is nowhere to write to.
        hooks: Told of each change.
        publish_facts: Called with the facts that were written down with writes, in one step with publishing those.
        syncs_facts: Whether facts wait for the disk.
    """

    def __init__(
        self,
        id: str,
        publisher: Publisher,
        journal: SegmentJournal | None,
        hooks: Hooks,
        publish_facts: Callable[[Mapping[str, Any]], None],
        *,
        syncs_facts: bool,
    ) -> None:
        self.lock = threading.RLock()
        self.journals = Journals(journal, lambda fd: hooks.offer("volatile", {}, fd), lambda: not self._on_their_way)
        self._id = id
        self._publisher = publisher
        self._hooks = hooks
        self._publish_facts = publish_facts
        self._syncs_facts = syncs_facts and journal is not None
        self._on_their_way = 0  # durable writes that are in the journal and not in the table
        self._seal: Seal | None = None
        self._unmarked, self._marked_at = 0, 0.0
        self._pack = msgpack.Packer().pack  # of annexes, see values.Annex

    # -- on the way to another process

    def enter(self) -> None:
        """Return when there may be written; the calling thread has the lock. Raises as `Seal.enter`."""
        if self._seal is not None:
            self._seal.enter()

    def seal(self) -> None:
        """Hold up all writes from now on; return when none is under way: journals, table and holders say the same then.

        Raises:
            ParameterError: The seal was broken meanwhile.
        """
        with self.lock:
            seal = self._seal = Seal(self.lock, self._id)
            while self._on_their_way and not seal.is_broken:
                seal.wait()
            if seal.is_broken:
                raise ParameterError(f"the seal on the parameters of {self._id!r} was broken before their last write was made")

    def unseal(self) -> None:
        """Let those who were held up go on. Nothing where there is no seal, or for what has gone."""
        with self.lock:
            if self._seal is not None and not self._seal.is_gone:
                self._seal.break_open()
                self._seal = None

    def leave(self) -> None:
        """Write nothing any more: all of it is another process's."""
        with self.lock:
            if self._seal is None:
                self._seal = Seal(self.lock, self._id)
            self._seal.leave()

    @property
    def has_left(self) -> bool:
        """Whether all of it is another process's."""
        return self._seal is not None and self._seal.is_gone

    # -- writing

    def commit(self, writes: Sequence[Write], who: str, facts: Mapping[str, Any] | None = None) -> list[Change]:
        """Make writes, all or none, and return what they came to. When it returns, what their durability promises is true.

        Args:
            writes: None is as good as many.
            who: For history.
            facts: Of the module from now on: written down and published in the same step.

        Raises:
            ParameterError: One expected another version (`code` is "conflict"), or they cannot be written ("journal").
                Nothing was changed; but what a disk did not confirm may be there after a loss of power.
        """
        durable = [write.owned for write in writes if write.owned.turn is not None]
        if durable or (facts is not None and self._syncs_facts):
            return self._commit_durable(writes, durable, who, facts)
        with self.lock:
            now, position = self._write_down(writes, who, facts)
            return self._publish(writes, now, who, position, facts)

    def commit_one(self, write: Write, who: str) -> Change:
        """Make one write. As `commit`, of which this is the short way."""
        owned = write.owned
        if owned.turn is not None:
            return self._commit_durable((write,), [owned], who)[0]
        with self.lock:
            if owned.first is not None:
                now, position = self._write_down((write,), who)
                return self._publish((write,), now, who, position)[0]
            now, position = time.time(), 0
            try:
                self._number(write, now, who)
                payload = [SET, owned.name, write.version, now, who, write.data, write.annex, False]
                if owned.level is not Durability.MEMORY and (disk := self.journals.disk) is not None:
                    position = disk.append(payload)
                else:
                    self.journals.in_memory().append(payload)
                owned.assigned = write.version
                change = self._publish_one(write, now, who)
            except BaseException as exc:
                failed((write,), exc)
                raise
            self._mark(position, now)
            return change

    def _commit_durable(
        self, writes: Sequence[Write], durable: list[Owned], who: str, facts: Mapping[str, Any] | None = None
    ) -> list[Change]:
        with ExitStack() as turns:
            for owned in sorted(durable, key=lambda owned: owned.name):
                assert owned.turn is not None
                turns.enter_context(owned.turn)
            with self.lock:
                now, position = self._write_down(writes, who, facts, durable=True)
                self._on_their_way += 1
            try:
                assert self.journals.disk is not None
                self.journals.disk.sync(position)
            except BaseException:
                drop_blobs(writes)
                with self.lock:
                    self._arrived()
                raise
            with self.lock:
                self._arrived()
                return self._publish(writes, now, who, position, facts)

    def _arrived(self) -> None:
        self._on_their_way -= 1
        if self._seal is not None:
            self._seal.settled()

    def begin(self, owned: Owned, data: bytes | memoryview, who: str) -> None:
        """Publish a value that nobody set.

        It gets into a journal together with the first one that somebody sets; but at once where there were versions before it.
        """
        with self.lock:
            write, now = Write(owned, None, data, None), time.time()
            self._number(write, now, who)
            self._publisher.publish(owned.name, write.version, data, write.annex, write.blob)
            owned.version = owned.assigned = write.version
            owned.first = record_of(write, now, who)
            if write.version > 1:
                self.write_down_first(owned)

    def write_down_first(self, owned: Owned) -> None:
        """Write the version down that nobody set, if it is to be on the disk. A journal that cannot take it is reported."""
        if owned.first is None or not self._is_on_disk(owned):
            return
        try:
            self.journals.append([owned.first], [])
        except ParameterError as exc:
            self._hooks.report(f"{owned.name} has version {owned.version} as long as the runtime lasts: {exc}")
        else:
            owned.first = None

    def remove(self, owned: Owned, who: str) -> None:
        """Take a parameter away, from readers and from the next incarnation.

        Raises:
            ParameterError: It cannot be written down (`code` is "journal"); it is still there.
        """
        with self.lock:
            self.enter()
            if owned.first is None:
                removal = [SET, owned.name, owned.assigned + 1, time.time(), who, b"", b"", True]
                self.journals.append([removal] if self._is_on_disk(owned) else [], [] if self._is_on_disk(owned) else [removal])
                owned.assigned += 1
            owned.is_gone = True
            self._publisher.remove(owned.name)

    def _write_down(
        self, writes: Sequence[Write], who: str, facts: Mapping[str, Any] | None = None, *, durable: bool = False
    ) -> tuple[float, int]:
        """Number the writes and append them to their journals; return when, and the position behind them on the disk."""
        now = time.time()
        on_disk: list[list[Any]] = []
        in_memory: list[list[Any]] = []
        try:
            for write in writes:
                owned = write.owned
                self._number(write, now, who)
                payloads = on_disk if self._is_on_disk(owned) else in_memory
                if owned.first is not None:
                    payloads.append(owned.first)
                payloads.append(record_of(write, now, who))
            if facts is not None:
                self.enter()
                if self.journals.disk is not None:
                    on_disk.append([FACTS, now, dict(facts)])
            position = self.journals.append(on_disk, in_memory, durable=durable)
            for write in writes:
                write.owned.first = None
                write.owned.assigned = write.version
        except BaseException as exc:
            failed(writes, exc)
            raise
        return now, position

    def _number(self, write: Write, now: float, who: str) -> None:
        owned = write.owned
        if self._seal is not None:
            self._seal.enter()
        if write.expect is not None:
            self.expect(owned, write.expect)
        if owned.is_gone:
            raise ParameterNotFoundError(f"{self._id!r} has no parameter {owned.name!r} any more", name=owned.name, id=self._id)
        write.version = max(owned.assigned + 1, write.at)
        if owned.created_at == 0.0:
            owned.created_at = now
        if write.grad is KEEP:
            write.grad = owned.grad
        write.annex = self._pack((now, who, owned.created_at, write.grad))
        try:
            write.blob = self._publisher.prepare(write.data, write.annex)
        except OSError as exc:
            raise ParameterError(
                f"there is no room for the {len(write.data)} bytes of {owned.name!r} ({exc.strerror}); nothing was set",
                name=owned.name,
                id=self._id,
            ) from exc

    def _is_on_disk(self, owned: Owned) -> bool:
        return owned.level is not Durability.MEMORY and self.journals.disk is not None

    def _publish(
        self, writes: Sequence[Write], now: float, who: str, position: int, facts: Mapping[str, Any] | None = None
    ) -> list[Change]:
        changes: list[Change] = []
        try:
            for write in writes:
                changes.append(self._publish_one(write, now, who))  # noqa: PERF401 (what was done is counted)
        except BaseException:
            drop_blobs(writes[len(changes) :])
            raise
        if facts is not None:
            self._publish_facts(facts)
        self._mark(position, now)
        return changes

    def _mark(self, position: int, now: float) -> None:
        """Note now and then in the table how far everything in the journal is published: an adopter reads on from there."""
        self._unmarked += 1
        if position and not self._on_their_way and (self._unmarked >= _MARK_EVERY or now - self._marked_at > _MARK_AFTER_S):
            self._publisher.table.set_journal_position(position)
            self._unmarked, self._marked_at = 0, now

    def _publish_one(self, write: Write, now: float, who: str) -> Change:
        owned = write.owned
        self._publisher.publish(owned.name, write.version, write.data, write.annex, write.blob)
        write.blob = None  # the publisher's now
        owned.version, owned.grad, owned.setter = write.version, write.grad, who
        change = Change(self._id, owned.name, write.version, write.value, now, who)
        try:
            owned.holder.store(write.value)
        except Exception as exc:  # everybody else has it, and the next comparison finds what the holder has instead
            self._hooks.report(f"{owned.name} has version {write.version}, but its module did not take it: {exc}")
        self._hooks.notify(change)
        return change

    def expect(self, owned: Owned, version: int) -> None:
        """Raise ParameterError ("conflict") unless this is the version that is published."""
        if owned.version != version:
            raise self._conflict(owned, version)

    def _conflict(self, owned: Owned, expected: int) -> ParameterError:
        by = f": {owned.setter} set it" if owned.setter else ""
        error = ParameterError(
            f"{owned.name} has version {owned.version}, not {expected} as expected{by}; nothing was set in {self._id!r}",
            name=owned.name,
            id=self._id,
            hint="somebody else has set it meanwhile: read it again, and set again if that is still wanted",
        )
        error.code = CONFLICT
        return error
