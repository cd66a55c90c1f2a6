"""From the store into the vault what a next incarnation is to find there; from tables into the store the specs of parameters.

On the disk's thread. The heavier parts of `params` are imported when they are first needed: not on the way to the first answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CheckpointError, DspexError, ParameterError
from dspex_runtime.state.access import Access
from dspex_runtime.state.checkpoint_service import rest_fd, user_fd
from dspex_runtime.state.health import Health
from dspex_runtime.state.store import Store, StoredValue, Version, packed
from dspex_runtime.state.vault import Vault
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    from dspex_runtime.params.image import Image
    from dspex_runtime.params.view import View

__all__ = ["BLOB_FROM_BYTES", "Loader"]

BLOB_FROM_BYTES: Final = 16 * 1024  # a stored value above this is given as a blob: a message has its limit


class Loader:
    """See the module docstring."""

    def __init__(self, access: Access, vault: Vault, health: Health) -> None:
        self._access = access
        self._vault = vault
        self._health = health
        self._codec = Codec()

    def load(self, id: str) -> None:
        """Have in the vault what the store has of an id, as far as there is a store; once for an id."""
        if id not in self._vault.unread or not self._access.is_open:
            return
        from dspex_runtime.params.blob import Blob

        facts, configured, parameters, unapplied = self._access.run(
            lambda store, _: (store.facts(id), store.configured(id), store.parameters(id), store.unapplied(id))
        )
        found = self._saved(id)
        number, data, saved = (None, b"", None) if found is None else found
        with self._vault.lock:
            held = self._vault.of(id)
            held.facts = facts
            if held.configured is None:
                held.configured = configured
            if held.user is None and saved is not None:
                self._vault.take_user(id, user_fd(saved), saved.version)
            if held.rest is None and unapplied is not None and unapplied == number:
                self._vault.take_rest(id, rest_fd(data))
            self._vault.unread.discard(id)
            if held.table is None:
                for name, value in _newest(parameters, saved).items():
                    large = value.data is not None and len(value.data) > BLOB_FROM_BYTES
                    held.values[name] = (value.version, True if large else value.data, value.annex)
                    if large and value.data is not None:
                        self._vault.take_blob(id, name, value.version, Blob.create(value.data, value.annex).fd)

    def _saved(self, id: str) -> tuple[int, bytes, Image] | None:
        """Return the newest checkpoint: number, bytes and image."""
        from dspex_runtime.params import image

        try:
            info, data = self._access.run(lambda _, rows: rows.get(id))
            return info.number, data, image.decode(data)
        except CheckpointError:
            return None  # it has none, or none that proves; that was told

    def keep_specs(self, store: Store, id: str) -> None:
        """Keep what a module's parameters take, for those who set them while it is stopped and has no table."""
        specs = self._specs(id)
        known: dict[str, Any] = {name: value.meta for name, value in store.parameters(id).items()} if specs else {}
        fresh = {name: meta for name, meta in specs.items() if name in known and not _same(known[name], meta)}
        if fresh:
            with store.writing():
                for name, meta in fresh.items():
                    store.set_meta(id, name, meta)

    def _specs(self, id: str) -> dict[str, Any]:
        view = self._view(id)
        if view is None:
            return {}
        try:
            return {name: meta for name in view.names() if (meta := view.meta(name)) is not None}
        except ParameterError as exc:
            self._health.report(f"the specs of {id!r} cannot be read: {exc}", id)
            return {}
        finally:
            view.close()

    def published(self, id: str, name: str, known: int) -> list[Version]:
        """Return what a table shows of a parameter if that is newer than version `known`: what nobody has set is in no journal."""
        view = self._view(id)
        if view is None:
            return []
        from dspex_runtime.params import values

        try:
            if view.version(name) <= known:
                return []
            entry = view.entry(name)
            return [Version(entry.version, entry.updated_at, entry.who, bytes(values.encode(self._codec, entry.value)))]
        except DspexError:
            return []  # it is not declared any more, or only its module can read it
        finally:
            view.close()

    def _view(self, id: str) -> View | None:
        fd = self._vault.table(id)
        if fd is None:
            return None
        from dspex_runtime.params.view import View

        try:
            return View(fd, self._codec, lambda name, version: self._vault.blob(id, name, version))
        except ParameterError as exc:
            self._health.report(f"the table of {id!r} cannot be read: {exc}", id)
            return None


def _same(known: dict[str, Any] | None, meta: dict[str, Any]) -> bool:
    """As they are kept: a default may be an array, which has no truth value when it is compared."""
    return known is not None and packed(known) == packed(meta)


def _newest(stored: dict[str, StoredValue], saved: Image | None) -> dict[str, StoredValue]:
    """Return what is stored, and of a checkpoint what no journal had: parameters of durability memory."""
    found = dict(stored)
    for name, (version, data, annex) in (saved.parameters if saved is not None else {}).items():
        if name not in found or version > found[name].version:
            found[name] = StoredValue(version, data, annex)
    return found
