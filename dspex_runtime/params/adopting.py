"""Giving each parameter its value when an owner is opened, or when a parameter is declared later.

    kept, and set by somebody        the kept value
    kept, and never set              today's default, or today's configuration
    configured otherwise than kept   the configuration, as a set ("yaml")
    not kept                         the configuration, else what the module itself has

Versions only grow: what takes the place of an older one is written down, though nobody set it, so that the store has no other
one. What is kept and not declared is withdrawn from readers, and kept in the table for an incarnation that declares it again.

What is kept and no longer legal is reported and dropped. What is configured and not legal is an error: somebody can mend it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dspex_runtime.errors import ConstraintViolationError, DspexError, ParameterError
from dspex_runtime.params import layout
from dspex_runtime.params.coder import Coder, Encoded
from dspex_runtime.params.constraints import without_promise
from dspex_runtime.params.ledger import Ledger
from dspex_runtime.params.missing import no_parameter
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.records import SET
from dspex_runtime.params.sources import Found
from dspex_runtime.params.writes import Owned, Write

__all__ = ["CONFIGURED", "DEFAULT", "Adoption", "Setting"]

DEFAULT: Final = "default"  # who has set what nobody has set
CONFIGURED: Final = "yaml"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the configuration says about one parameter."""

    value: Any
    data: Encoded
    is_new: bool  # it says something else than when it was last taken over


class Adoption:
    """What is kept and configured for one owner.

    Args:
        id: Full id of the module.
        found: What is kept, by name; what is adopted is taken out, the rest is there for whoever is declared later.
        configured: Today's configuration.
        kept_configured: The one that was last taken over, encoded.

    Attributes:
        refused: By name, why what is kept of it was dropped.
        reconfigured: Names of which the configuration says something else than the one before.
    """

    def __init__(
        self,
        id: str,
        found: dict[str, Found],
        configured: Mapping[str, Any],
        kept_configured: Mapping[str, bytes],
        coder: Coder,
        publisher: Publisher,
        ledger: Ledger,
        report: Callable[[str], None],
    ) -> None:
        self._id = id
        self._found = found
        self._configured = configured
        self._kept_configured = kept_configured
        self._coder = coder
        self._publisher = publisher
        self._ledger = ledger
        self._report = report
        self.refused: dict[str, Exception] = {}
        self.reconfigured: set[str] = set()

    def check_names(self, declared: Mapping[str, Owned]) -> None:
        """Raise ParameterNotFoundError if the configuration sets what is not declared."""
        unknown = sorted(self._configured.keys() - declared.keys())
        if unknown:
            raise no_parameter(unknown[0], declared, self._id, but=", which its `params` set")

    def adopt(self, owned: Owned) -> Write | None:
        """Give a parameter its value; return the set that the configuration makes of it, which is still to be committed.

        Raises:
            ConstraintViolationError: What is configured for it is refused.
            ParameterError: Its declaration cannot be told to others.
        """
        # First: whoever finds a value finds out what it is, too.
        self._publisher.note(layout.meta_name(owned.name), self._coder.meta(owned.name, owned.spec))
        setting = self._setting(owned)
        found = self._found.pop(owned.name, None)
        before = self._publisher.version(owned.name)
        owned.assigned = max(before, found.version if found is not None else 0)
        _, data = self._coder.accept(owned.name, owned.spec, owned.holder.load(), was_checked=True)
        if found is None or not self._take(owned, found, setting, data):
            if setting is None:
                self._ledger.begin(owned, data, DEFAULT)
            else:
                owned.holder.store(setting.value)
                self._ledger.begin(owned, setting.data, CONFIGURED)
            self.forget_kept_back(owned.name)
            return None
        self.forget_kept_back(owned.name)
        if setting is None or setting.data == found.data or (_was_set(found) and not setting.is_new):
            return None
        return Write(owned, setting.value, setting.data, None)

    def take(self, owned: Owned) -> Found | None:
        """Let a parameter go on behind what is kept of it, and return that; giving it a value is left to the caller.

        Raises:
            ParameterError: Its declaration cannot be told to others.
        """
        self._publisher.note(layout.meta_name(owned.name), self._coder.meta(owned.name, owned.spec))
        found = self._found.pop(owned.name, None)
        owned.version = self._publisher.version(owned.name)
        owned.assigned = max(owned.version, found.version if found is not None else 0)
        if found is not None and found.data is not None:
            annex = found.read_annex()
            owned.created_at, owned.grad = annex.created_at, annex.grad
        return found

    def kept_back(self) -> dict[str, list[Any]]:
        """Return version, data and annex of what is kept and not declared, by name; data None: it was removed."""
        return {
            name: [found.version, None if found.data is None else bytes(found.data), found.annex]
            for name, found in self._found.items()
        }

    def note_removed(self, name: str, version: int) -> None:
        """Remember that a name was taken away: what is declared under it later begins with a higher version."""
        self._found[name] = found = Found(version, None, b"")
        self._keep_back(name, found)

    def withdraw_rest(self) -> None:
        """Take away from readers what is kept and not declared; should it be declared later, its value is still here."""
        for name, found in self._found.items():
            self._keep_back(name, found)
            if self._publisher.has(name):
                self._publisher.remove(name)
                self._found[name] = replace(found, is_published=False)

    def forget_kept_back(self, name: str) -> None:
        """Drop what was kept back under a name: it has a value again."""
        hidden = layout.withdrawn_name(name)
        if self._publisher.has(hidden):
            self._publisher.remove(hidden)

    def _keep_back(self, name: str, found: Found) -> None:
        data = None if found.data is None else bytes(found.data)
        try:
            self._publisher.note(layout.withdrawn_name(name), self._coder.encode([found.version, data, found.annex]))
        except (ParameterError, OSError) as exc:
            self._report(f"what is kept of {name} may be lost when the module ends, as nobody declares it: {exc}")

    def _take(self, owned: Owned, found: Found, setting: Setting | None, initial: Encoded) -> bool:
        """Adopt what is kept; False when it is not to be, or cannot be used."""
        if found.data is None:
            return False
        annex = found.read_annex()
        if not _was_set(found) and setting is None and found.data != initial:
            return False
        try:
            if found.data != initial:  # else it has that value
                adopt = getattr(owned.holder, "adopt", owned.holder.store)
                adopt(self._coder.again(owned.name, owned.spec, found.data))
        except Exception as exc:  # of another class, of older limits, or a user's check that fails
            self.refused[owned.name] = exc
            self._report(f"{owned.name}: the kept version {found.version} cannot be used and is dropped: {without_promise(exc)}")
            return False
        owned.created_at, owned.grad = annex.created_at, annex.grad
        owned.version = found.version
        if not found.is_published:
            # One that was withdrawn meanwhile comes back under a higher version, or no cached reader would notice.
            owned.version = max(found.version, self._publisher.version(owned.name) + 1)
            blob = self._publisher.prepare(found.data, found.annex)
            self._publisher.publish(owned.name, owned.version, found.data, found.annex, blob)
        owned.assigned = max(owned.assigned, owned.version)
        if owned.version != found.version or (owned.version == 1 and not _was_set(found)):
            owned.first = [SET, owned.name, owned.version, annex.when, annex.who, found.data, found.annex, False]
        if owned.version != found.version:
            self._ledger.write_down_first(owned)
        return True

    def _setting(self, owned: Owned) -> Setting | None:
        name, spec = owned.name, owned.spec
        if name not in self._configured:
            return None
        try:
            value, data = self._coder.accept(name, spec, self._configured[name])
        except ConstraintViolationError as exc:
            exc.hint = f"this value is configured under `params` of {self._id!r}"
            raise
        is_new = self._is_new(owned, data)
        if is_new:
            self.reconfigured.add(name)
        return Setting(value, data, is_new)

    def _is_new(self, owned: Owned, data: Encoded) -> bool:
        before = self._kept_configured.get(owned.name)
        if before is None or before == data:
            return before is None
        try:  # an int that the spec makes a float is the same setting
            return self._coder.accept(owned.name, owned.spec, self._coder.decode(before), was_checked=True)[1] != data
        except DspexError:
            return True


def _was_set(found: Found) -> bool:
    return found.read_annex().who not in (DEFAULT, CONFIGURED)
