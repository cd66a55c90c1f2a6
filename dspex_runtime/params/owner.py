"""The one writer of one id's parameters: in its module's process, and in the keeper for stopped modules and shared parameters.

Every write, from inside and outside, comes through here: it is checked, encoded, and left to the ledger, which writes it down and
publishes it. Reads of other processes do not: they read the table. Thread-safe; a user's own check runs without the lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

from dspex_runtime.errors import ConfigError, ConstraintViolationError, ParameterError
from dspex_runtime.params import layout
from dspex_runtime.params.adopting import CONFIGURED, Adoption
from dspex_runtime.params.cell import no_gradient
from dspex_runtime.params.coder import Coder
from dspex_runtime.params.constraints import shown, whose
from dspex_runtime.params.copies import Copies, Copy
from dspex_runtime.params.gradient import step
from dspex_runtime.params.holders import Box as Box
from dspex_runtime.params.holders import Descriptors as Descriptors
from dspex_runtime.params.holders import Holder as Holder
from dspex_runtime.params.holders import Hooks as Hooks
from dspex_runtime.params.holders import Kept as Kept
from dspex_runtime.params.ledger import Ledger
from dspex_runtime.params.missing import no_parameter
from dspex_runtime.params.moving_in import MovingIn, Plan
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.records import FACTS
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.params.snapshots import ITSELF, Snapshots
from dspex_runtime.params.sources import gather
from dspex_runtime.params.spec import ParameterSpec, ParameterType
from dspex_runtime.params.values import Annex
from dspex_runtime.params.view import Entry
from dspex_runtime.params.writes import CONFLICT, Owned, Write
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire.codec import Codec

__all__ = ["Box", "Descriptors", "Holder", "Hooks", "Kept", "Owner"]


class Owner:
    """The one writer of one id's parameters.

    Declare the parameters, then `open`; after that everything else, and declaring more.

    Args:
        id: Full id of the module.
        codec: Encodes the values; a module's pickles what is not plain.
        durability: Of the parameters that do not say so themselves.
        journal: On the disk; stays the caller's. Without one, nothing survives the end of the runtime.
        incarnation: Of this process; 0 of the keeper.
        hooks: What the process does for the owner.

    Attributes:
        changing: Held by whoever makes new facts of the old ones, until they are set. Taken before any lock of the owner's.
    """

    def __init__(
        self,
        id: str,
        codec: Codec,
        *,
        durability: Durability,
        journal: SegmentJournal | None,
        incarnation: int,
        hooks: Hooks,
    ) -> None:
        self._id = id
        self._codec = codec
        self._durability = durability
        self._hooks = hooks
        self._coder = Coder(id, codec)
        self._publisher = Publisher(id, hooks, incarnation)
        self.changing = threading.RLock()
        self._ledger = Ledger(id, self._publisher, journal, hooks, self._publish_facts, syncs_facts=durability is Durability.FSYNC)
        self._owned: dict[str, Owned] = {}
        self._facts: dict[str, Any] = {}
        self._adoption: Adoption | None = None
        self._snapshots = Snapshots(id, self._owned, self._coder, self._publisher, self._ledger, hooks)
        self._copies = Copies(self._owned, self._coder, self._publisher, self._ledger)

    # -- which parameters there are

    def declare(self, name: str, spec: ParameterSpec, holder: Holder) -> None:
        """Own a parameter. Once open, it has its value on return: the kept, the configured or its holder's. Idempotent.

        Raises:
            ConstraintViolationError: What is configured for it is refused.
            ParameterError: Its declaration cannot be told to others, or there is no memory for it.
        """
        with self._ledger.lock:
            owned = self._owned.get(name)
            if owned is not None and owned.holder is holder:
                return
            self._ledger.enter()
            if owned is not None:  # another object has taken the place of this one: its value is the newer one
                owned.spec, owned.holder = spec, holder
                self._snapshots.distrust(name)
                self._bind(owned)
                return
            level = spec.durability or self._durability
            turn = threading.Lock() if level is Durability.FSYNC and self._ledger.journals.disk is not None else None
            owned, write = Owned(name, spec, holder, level, turn=turn), None
            if self._adoption is not None:
                write = self._adoption.adopt(owned)
                self._bind(owned)
            self._owned[name] = owned
        if write is not None:
            self._ledger.commit([write], CONFIGURED)

    def undeclare(self, name: str) -> None:
        """Own a parameter no longer: readers get ParameterNotFoundError, and its holder writes for itself.

        Raises:
            ParameterNotFoundError: There is none of that name.
            ParameterError: That cannot be written down; it is still there.
        """
        with self._ledger.lock:
            self._ledger.enter()
            owned = self._find(name)
            if self._adoption is not None:
                self._ledger.remove(owned, ITSELF)
                self._adoption.note_removed(name, owned.assigned)
            del self._owned[name]
            unbind = getattr(owned.holder, "unbind", None)
            if unbind is not None:
                unbind()

    def open(self, kept: Kept, configured: Mapping[str, Any]) -> None:
        """Give every parameter its value and let others read: see adopting for which. Takes over what `kept` brings.

        Raises:
            ParameterNotFoundError: The configuration sets what is not declared.
            ConstraintViolationError: What is configured is refused.
            ParameterError: It cannot be written, or a declaration cannot be told to others.
        """
        publisher, ledger, report = self._publisher, self._ledger, self._hooks.report
        with ledger.lock:
            publisher.start(kept.table, kept.blobs)
            if ledger.journals.disk is not None:
                ledger.journals.disk.start_after(publisher.table.journal_position)
            ledger.journals.adopt(kept.volatile_fd)
            sources = gather(kept, publisher, ledger.journals.disk, ledger.journals.volatile, self._codec, report)
            self._adoption = adoption = Adoption(
                self._id, sources.found, configured, kept.configured, self._coder, publisher, ledger, report
            )
            adoption.check_names(self._owned)
            writes = [write for owned in self._owned.values() if (write := adoption.adopt(owned)) is not None]
            adoption.withdraw_rest()
            for owned in self._owned.values():
                self._bind(owned)
            self._facts = sources.facts
            publisher.note(layout.FACTS, self._coder.encode(self._facts))
            # From here on nothing before it has to be read again: all of it is in the table.
            publisher.table.set_journal_position(max(sources.position, publisher.table.journal_position))
        if writes:
            ledger.commit(writes, CONFIGURED)
        if kept.table is None:
            publisher.offer_table()

    def declared(self) -> list[tuple[str, ParameterSpec, Holder]]:
        """Return what was declared: name, spec and holder."""
        return [(owned.name, owned.spec, owned.holder) for owned in self._owned.values()]

    def names(self) -> list[str]:
        """Return the names, in the order in which they were declared."""
        return list(self._owned)

    def spec(self, name: str) -> ParameterSpec:
        """Return what a parameter is. Raises ParameterNotFoundError."""
        return self._find(name).spec

    # -- reading

    def get(self, name: str) -> Any:
        """Return the value. Raises ParameterNotFoundError."""
        owned = self._find(name)
        if owned.spec.type is not ParameterType.PREDICTOR:
            return owned.holder.load()
        with self._ledger.lock:  # not from the holder: to load a predictor is to say that its changes were seen
            data = self._publisher.current(name)[1]
        return self._coder.decode(data)

    def version(self, name: str) -> int:
        """Return the version that readers see. Raises ParameterNotFoundError."""
        return self._find(name).version

    def entry(self, name: str) -> Entry:
        """Return the value that readers see, its version, and who set it when. Raises ParameterNotFoundError."""
        with self._ledger.lock:
            version, data, packed = self._publisher.current(self._find(name).name)
        annex = Annex.unpack(packed)
        grad = self._coder.grad(annex.grad)
        return Entry(version, self._coder.decode(data), annex.when, annex.who, grad, annex.created_at)

    def written(self, name: str) -> tuple[int, float, str]:
        """Return the version that readers see, when it was set and by whom. Raises ParameterNotFoundError."""
        with self._ledger.lock:
            version, _, packed = self._publisher.current(self._find(name).name)
        annex = Annex.unpack(packed)
        return version, annex.when, annex.who

    # -- writing: each of them is acknowledged by returning

    def set(self, name: str, value: Any, *, who: str, expect: int | None = None) -> Change:
        """Set a parameter.

        Args:
            name: Of the parameter.
            value: Any.
            who: Who sets it, for history.
            expect: The version that must be the published one.

        Raises:
            ParameterNotFoundError: There is none of that name.
            ConstraintViolationError: The value is refused; nothing was changed.
            ParameterError: It is of another version (`code` is "conflict"), or cannot be written ("journal"); nothing was changed.
            ConfigError: `expect` is no version.

        Cost: 10 us for a number, 8 us of durability memory.
        """
        owned = self._find(name)
        if expect is not None and type(expect) is not int:
            raise ConfigError(
                f"expect is the version that is to be replaced, an int; got {shown(expect)} ({type(expect).__name__})"
            )
        value, data = self._coder.accept(name, owned.spec, value)
        return self._ledger.commit_one(Write(owned, value, data, expect=expect), who)

    def set_many(
        self,
        values: Mapping[str, Any],
        *,
        who: str,
        expect: Mapping[str, int] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> list[Change]:
        """Set several parameters, or none of them; `expect` says which versions must be the published ones. Raises as `set`.

        With `facts` these replace the module's in the same step: a kill finds both, or neither.
        """
        owned = {name: self._find(name) for name in values}
        accepted = {name: self._coder.accept(name, owned[name].spec, value) for name, value in values.items()}
        expected = expect or {}
        writes = [Write(owned[name], *both, expect=expected.get(name)) for name, both in accepted.items()]
        return self._ledger.commit(writes, who, facts)

    def expect(self, versions: Mapping[str, int]) -> None:
        """Raise ParameterError ("conflict") unless these are the published versions; of a parameter that is gone, not found."""
        with self._ledger.lock:
            for name, version in versions.items():
                self._ledger.expect(self._find(name), version)

    def apply_gradient(self, name: str, gradient: Any, *, who: str) -> Change:
        """Take one step of momentum SGD; of two at the same time, both count.

        Raises:
            GradientNotRequiredError: It was declared without requires_grad.
            ConstraintViolationError: The gradient, or the value after it, is refused; nothing was changed.
            ParameterError: As `set`.
        """
        owned = self._find(name)
        spec = owned.spec
        if not spec.requires_grad:
            error = no_gradient(name)
            error.id = self._id
            raise error
        while True:
            with self._ledger.lock:
                version, value, grad = owned.version, owned.holder.load(), self._coder.grad(owned.grad)
            try:
                value, grad = step(value, grad, gradient, spec.learning_rate, spec.momentum, name=name)
            except ConstraintViolationError as exc:
                whose(exc, self._id)
                raise
            value, data = self._coder.accept(name, spec, value)
            try:
                write = Write(owned, value, data, bytes(self._coder.encode(grad)), version)
                return self._ledger.commit_one(write, who)
            except ParameterError as exc:
                if exc.code != CONFLICT:
                    raise

    def reset(self, name: str, *, who: str) -> Change:
        """Set the default, and forget the accumulated gradient. Raises as `set`."""
        owned = self._find(name)
        if owned.spec.type is ParameterType.PREDICTOR and owned.spec.default is None:
            raise ParameterError(
                f"{name} of {self._id!r} is a predictor: what it began with, only its running module knows",
                name=name,
                id=self._id,
                hint="start the module, then reset it",
            )
        value, data = self._coder.accept(name, owned.spec, owned.spec.default, was_checked=True)
        return self._ledger.commit_one(Write(owned, value, data, None), who)

    def rollback(self, name: str, version: int, *, who: str) -> Change:
        """Set the value that it had at a version; that is a write with a version of its own. May wait for whoever has the history.

        Raises:
            ParameterError: That version is not kept; or as `set`, as constraints may be others than they were then.
        """
        owned = self._find(name)
        old = self._coder.decode(self._value_at(owned, version))
        value, data = self._coder.accept(name, owned.spec, old, was_checked=True)
        return self._ledger.commit_one(Write(owned, value, data), who)

    # -- all of them at once

    def republish(self, *, who: str = ITSELF, full: bool = False) -> list[Change]:
        """Publish what changed in its holder without a set, see `Snapshots`. Raises ParameterError when it cannot be written."""
        return self._snapshots.republish(who, full=full)

    def image(self, *, publish: bool = True) -> dict[str, list[Any]]:
        """Return all parameters at one moment: name to version, data and annex. What holders became is published first."""
        return self._snapshots.image(publish=publish)

    def kept_back(self) -> dict[str, list[Any]]:
        """Return version, data and annex of what is kept and nobody declares, by name; data None: it was removed."""
        with self._ledger.lock:
            return self._adoption.kept_back() if self._adoption is not None else {}

    @property
    def refused(self) -> Mapping[str, Exception]:
        """Why the kept value of a parameter was dropped when this was opened, by name."""
        return self._adoption.refused if self._adoption is not None else {}

    @property
    def reconfigured(self) -> Collection[str]:
        """What is configured otherwise than it was when the configuration was last taken over."""
        return self._adoption.reconfigured if self._adoption is not None else ()

    def restore(self, image: Mapping[str, Any], *, who: str, facts: Mapping[str, Any] | None = None) -> list[Change]:
        """Set the parameters to what they are in an image, all or none; return those that were different. See `Snapshots`.

        With `facts` these replace the module's in the same step: a kill finds both, or neither.

        Raises:
            ConstraintViolationError: A value is refused by today's constraints; nothing was changed.
            ParameterError: A value cannot be read, or as `set`; nothing was changed.
            CheckpointError: It has parameters, and this module none of them; nothing was changed.
        """
        return self._snapshots.restore(image, who, None if facts == self._facts else facts)

    # -- what other owners of the same parameters have

    def copies(self, newer: Mapping[str, int] | None = None, names: Collection[str] | None = None) -> dict[str, Copy]:
        """Return what others may take of these, see `Copies.give`."""
        return self._copies.give(newer, names)

    def take_copies(self, copies: Mapping[str, Copy]) -> dict[str, int]:
        """Take what is newer than what is here, with its version; see `Copies.take`."""
        return self._copies.take(copies)

    def lift(self, above: Mapping[str, int]) -> None:
        """Set parameters to what they are, each with a version above the given one; see `Copies.lift`."""
        self._copies.lift(above)

    # -- from one process to the next

    def seal(self) -> None:
        """Hold up every write from now on, of whatever thread; return when none is under way. What was set is in the table then.

        Raises:
            ParameterError: `unseal` came first, or the journal takes nothing (`code` is "journal"): it would not take what the
                next process writes either. The seal is there in both cases.
        """
        self._ledger.seal()
        with self._ledger.lock:
            journal = self._ledger.journals.disk
            if journal is not None and any(owned.level is not Durability.MEMORY for owned in self._owned.values()):
                journal.append([FACTS, time.time(), dict(self._facts)])

    def unseal(self) -> None:
        """Let writes go on. Idempotent."""
        self._ledger.unseal()

    def descriptors(self) -> Descriptors:
        """Return copies of what a process needs that takes this one's place; for one that is sealed."""
        with self._ledger.lock:
            volatile, journal = self._ledger.journals.volatile, self._ledger.journals.disk
            table, blobs = self._publisher.copies()
            return Descriptors(
                table,
                os.dup(volatile.fd) if volatile is not None and volatile.fd >= 0 else None,
                blobs,
                max(journal.position if journal is not None else 0, self._publisher.table.journal_position),
            )

    def let_go(self) -> None:
        """Be nobody: the table is another process's. Holders write for themselves; whoever waits to write gets an error."""
        self._ledger.leave()
        self.forked()
        self.close()

    def move_in(self, kept: Kept, configured: Mapping[str, Any], plan: Plan, *, position: int) -> list[Change]:
        """Take the place of an owner that was sealed, instead of `open`; see moving_in. Takes over what `kept` brings.

        Args:
            kept: What that one had.
            configured: Today's configuration: it is in the plan already.
            plan: What was rehearsed, with all that is declared here.
            position: Of the journal: nothing before it is to be read again.

        Raises:
            ParameterError: It cannot be written down.
        """
        moving = MovingIn(self._id, self._owned, self._codec, self._coder, self._publisher, self._ledger, self._hooks)
        with self._ledger.lock:
            self._facts = dict(plan.facts)
            self._adoption, changes = moving.run(kept, configured, plan, position)
            for owned in self._owned.values():
                self._bind(owned)
        if kept.table is None:
            self._publisher.offer_table()
        return changes

    # -- facts, and the life of the owner itself

    def facts(self) -> dict[str, Any]:
        """Return what is known of the module besides its parameters: its mode and others."""
        return dict(self._facts)

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        """Replace the facts, for readers and for the next incarnation. A journal that cannot take them is reported."""
        with self._ledger.lock:
            if facts == self._facts:
                return
            self._ledger.enter()
            try:
                if self._ledger.journals.disk is not None:
                    self._ledger.journals.disk.append([FACTS, time.time(), dict(facts)])
            except ParameterError as exc:
                self._hooks.report(f"the facts of {self._id!r} last as long as the runtime: {exc}")
            self._publish_facts(facts)

    def hand_over(self) -> None:
        """Offer every descriptor again: whoever keeps them is another process now."""
        with self._ledger.lock:
            if not self._ledger.has_left:
                self._publisher.hand_over()
                self._ledger.journals.offer()

    def forked(self) -> None:
        """In a child that user code forked: nothing here is its to write, each holder writes for itself. Takes no lock."""
        for owned in list(self._owned.values()):
            unbind = getattr(owned.holder, "unbind", None)
            if unbind is not None:
                unbind()

    def close(self) -> None:
        """Let go of table, blobs and the journal in memory; others that hold them go on. Idempotent."""
        with self._ledger.lock:
            self._publisher.close()
            self._ledger.journals.close()

    # -- within

    def _find(self, name: str) -> Owned:
        try:
            return self._owned[name]
        except (KeyError, TypeError):
            raise no_parameter(name, self._owned, self._id) from None

    def _publish_facts(self, facts: Mapping[str, Any]) -> None:
        self._facts = dict(facts)
        self._publisher.note(layout.FACTS, self._coder.encode(self._facts))

    def _bind(self, owned: Owned) -> None:
        bind = getattr(owned.holder, "bind", None)
        if bind is not None:
            bind(self, owned.name)

    def _value_at(self, owned: Owned, version: int) -> bytes | memoryview:
        with self._ledger.lock:
            now, data, _ = self._publisher.current(owned.name)
        if version == now:
            return data
        if type(version) is not int or not 0 < version < now:
            text = f"{owned.name} of {self._id!r} has version {now}; there is no version {version!r:.50} to go back to"
            raise ParameterError(text, name=owned.name, id=self._id)
        return self._hooks.value_at(owned.name, version)
