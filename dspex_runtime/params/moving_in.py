"""The parameters of a process, taken over by the one that takes its place: same table, same journals, same incarnation.

    as in the table               stays, version and all: no reader notices
    migrated, or back again       a set by "swap": all of them one record, facts included
    configured otherwise          a set by "yaml"
    never set, another default    that default, under a higher version
    not declared any more         withdrawn, and kept in the table

No value is checked here: every one of them was, in the rehearsal; from here on nothing may be refused any more. Killed before the
record is in the journal, all values are what they were; killed behind it, the next incarnation finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from dspex_runtime.params.adopting import CONFIGURED, DEFAULT, Adoption
from dspex_runtime.params.coder import Coder
from dspex_runtime.params.holders import Hooks, Kept
from dspex_runtime.params.ledger import Ledger
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.records import SET
from dspex_runtime.params.sources import Found, gather
from dspex_runtime.params.values import Annex
from dspex_runtime.params.writes import Owned, Write
from dspex_runtime.types import Change
from dspex_runtime.wire.codec import Codec

__all__ = ["SWAP", "MovingIn", "Plan"]

SWAP: Final = "swap"  # who has set what a migration has changed


class Plan(NamedTuple):
    """What was rehearsed.

    Attributes:
        parameters: All that are declared, as `Owner.image` gives them; their holders have these values.
        migrated: Names in it whose value a migration has made.
        facts: Of the module.
    """

    parameters: Mapping[str, list[Any]]
    migrated: Collection[str]
    facts: Mapping[str, Any]


class MovingIn:
    """Makes the table of an owner that was sealed that of another one; `owned` is that one's own map. With the ledger's lock."""

    def __init__(
        self, id: str, owned: Mapping[str, Owned], codec: Codec, coder: Coder, publisher: Publisher, ledger: Ledger, hooks: Hooks
    ) -> None:
        self._id = id
        self._owned = owned
        self._codec = codec
        self._coder = coder
        self._publisher = publisher
        self._ledger = ledger
        self._report = hooks.report

    def run(self, kept: Kept, configured: Mapping[str, Any], plan: Plan, position: int) -> tuple[Adoption, list[Change]]:
        """Take over what `kept` brings, and make it what was planned; return what is kept besides, and what readers see change.

        Raises:
            ParameterError: It cannot be written down (`code` is "journal").
        """
        publisher, ledger = self._publisher, self._ledger
        publisher.start(kept.table, kept.blobs)
        if ledger.journals.disk is not None:
            ledger.journals.disk.start_after(position)
        ledger.journals.adopt(kept.volatile_fd)
        # The journals have nothing that the table lacks: its writer was sealed.
        sources = gather(kept, publisher, None, None, self._codec, self._report)
        publisher.table.set_journal_position(max(position, publisher.table.journal_position))
        adoption = Adoption(self._id, sources.found, configured, kept.configured, self._coder, publisher, ledger, self._report)
        facts = None if plan.facts == sources.facts else plan.facts
        return adoption, self._made(plan, adoption, facts)

    def _made(self, plan: Plan, adoption: Adoption, facts: Mapping[str, Any] | None) -> list[Change]:
        ledger = self._ledger
        writes: dict[str, list[Write]] = {SWAP: [], CONFIGURED: [], DEFAULT: []}
        begun: list[tuple[Owned, bytes, str]] = []
        for name, owned in self._owned.items():
            _, data, packed = plan.parameters[name]
            annex, found, is_migrated = Annex.unpack(packed), adoption.take(owned), name in plan.migrated
            who = SWAP if is_migrated or annex.who not in writes else annex.who
            if found is not None and found.is_published and found.data == data and annex.grad == owned.grad and not is_migrated:
                _go_on(owned, found, annex)
            elif found is None and who != SWAP:
                begun.append((owned, data, who))
            else:
                writes[who].append(Write(owned, owned.holder.load(), data, annex.grad))
        swapped = writes.pop(SWAP)
        changes = ledger.commit(swapped, SWAP, facts) if swapped or facts is not None else []
        for owned, data, who in begun:
            ledger.begin(owned, data, who)
        for who, others in writes.items():
            changes += ledger.commit(others, who) if others else []
        for name in self._owned:
            adoption.forget_kept_back(name)
        adoption.withdraw_rest()
        return changes


def _go_on(owned: Owned, found: Found, annex: Annex) -> None:
    owned.version = found.version
    if found.version == 1 and annex.who in (DEFAULT, CONFIGURED):
        owned.first = [SET, owned.name, 1, annex.when, annex.who, found.data, found.annex, False]
