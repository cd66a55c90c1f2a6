"""All parameters of an owner at once: what holders became by themselves, an image of everything, and everything from an image.

A predictor is edited by dspy and by user code, a list is changed in place: nobody calls `set`. The holder's value is compared
with the published one and, where it is another, published as a version of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.errors import CheckpointError, ConstraintViolationError, DspexError, ParameterError
from dspex_runtime.params.coder import Coder, Encoded
from dspex_runtime.params.holders import Hooks
from dspex_runtime.params.ledger import Ledger
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.spec import ParameterType
from dspex_runtime.params.values import Annex
from dspex_runtime.params.writes import CONFLICT, Owned, Write
from dspex_runtime.types import Change

__all__ = ["ITSELF", "Snapshots"]

ITSELF: Final = "self"  # who has written what a holder became by itself

_CHANGEABLE: Final = frozenset({ParameterType.LIST, ParameterType.DICT, ParameterType.ANY, ParameterType.PREDICTOR})


class Snapshots:
    """Works on the parameters of one owner; `owned` is the owner's own map."""

    def __init__(
        self, id: str, owned: Mapping[str, Owned], coder: Coder, publisher: Publisher, ledger: Ledger, hooks: Hooks
    ) -> None:
        self._id = id
        self._owned = owned
        self._coder = coder
        self._publisher = publisher
        self._ledger = ledger
        self._hooks = hooks
        self._distrusted: set[str] = set()

    def distrust(self, name: str) -> None:
        """Compare this one the next time, whatever its holder says."""
        self._distrusted.add(name)

    def republish(self, who: str, *, full: bool) -> list[Change]:
        """Publish what changed without a set. A value that is no longer legal is reported, and its holder gets the published one.

        Args:
            who: For history.
            full: Do not ask holders whether they changed; compare.

        Raises:
            ParameterError: A value cannot be written; it is tried again the next time.
        """
        changes = []
        for owned in list(self._owned.values()):
            if not _may_have_changed(owned, full=full or owned.name in self._distrusted):
                continue
            self.distrust(owned.name)  # until it is done: `load` says to the holder that its change was seen
            write = self._compared(owned)
            if write is not None:
                try:
                    changes.append(self._ledger.commit_one(write, who))
                except ParameterError as exc:
                    if exc.code != CONFLICT:  # else somebody has set it meanwhile, and the holder has that
                        raise
            self._distrusted.discard(owned.name)
        return changes

    def image(self, *, publish: bool) -> dict[str, list[Any]]:
        """Return all parameters at one moment: name to version, data and annex. With `publish`, what changed unsaid too."""
        if publish:
            self._publish_all()
        with self._ledger.lock:
            image = {}
            for name in self._owned:
                version, data, annex = self._publisher.current(name)
                image[name] = [version, bytes(data), annex]
            return image

    def restore(self, image: Mapping[str, Any], who: str, facts: Mapping[str, Any] | None = None) -> list[Change]:
        """Set what is in an image, all or none, and with it write down facts; return what was different.

        A name that is not declared any more is reported; one that the image does not have stays as it is.

        Raises:
            CheckpointError: None of its names is declared: it is of another module.
        """
        if image and not image.keys() & self._owned.keys():
            names, ours = (", ".join(sorted(each)[:20]) for each in (image, self._owned))
            raise CheckpointError(
                f"the checkpoint has the parameters {names}; {self._id!r} has none of them, but {ours}. Nothing was restored",
                id=self._id,
            )
        self._publish_all()
        writes = []
        for name, (_, data, packed) in image.items():
            owned = self._owned.get(name)
            if owned is None:
                self._hooks.report(f"{name} of the checkpoint is no parameter of {self._id!r} any more, and is left out")
                continue
            value, encoded = self._coder.accept(name, owned.spec, self._coder.decode(data), was_checked=True)
            grad = Annex.unpack(packed).grad
            with self._ledger.lock:
                if grad != owned.grad or encoded != self._publisher.current(name)[1]:
                    writes.append(Write(owned, value, encoded, grad))
        return self._ledger.commit(writes, who, facts) if writes or facts is not None else []

    def _publish_all(self) -> None:
        try:
            self.republish(ITSELF, full=True)
        except ParameterError as exc:
            self._hooks.report(f"what has changed cannot be published: {exc}")

    def _compared(self, owned: Owned) -> Write | None:
        """Return the write that makes what a holder has the published value, None when it is."""
        with self._ledger.lock:
            version, value = owned.version, owned.holder.load()
            published = self._publisher.current(owned.name)[1]
        try:
            _, data = self._coder.accept(owned.name, owned.spec, value)
        except ConstraintViolationError as exc:
            self._hooks.report(f"{owned.name} was changed in place to what it must not be, and is put back: {exc}")
            owned.holder.store(self._coder.decode(published))
            return None
        # The object itself stays in its holder: whoever changed it in place will do so again.
        return Write(owned, value, data, expect=version) if self._differs(value, data, published) else None

    def _differs(self, value: Any, data: Encoded, published: Encoded) -> bool:
        """Equal objects may have other bytes: sets, and what was pickled."""
        if data == published:
            return False
        try:
            before = self._coder.decode(published)
            return not bool(before == value) or repr(before) != repr(value)  # 1 == 1.0 == True
        except (DspexError, ValueError, TypeError):  # arrays inside; objects that cannot be compared
            return True


def _may_have_changed(owned: Owned, *, full: bool) -> bool:
    if owned.spec.type not in _CHANGEABLE:
        return False
    if owned.spec.custom is None and owned.spec.custom_name is not None:
        return False  # its module's object is not in this process
    changed = getattr(owned.holder, "changed", None)
    return full or changed is None or bool(changed())
