"""A parameter table with its keeper played: blobs by name and version, values instead of bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from dspex_runtime.params import layout, values
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.memory import read_only
from dspex_runtime.params.table import Table
from dspex_runtime.params.view import View
from dspex_runtime.wire.codec import Codec

CODEC: Final = Codec(pickle=True)


class Tables:
    """Makes tables and views, publishes values, and closes everything at the end."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing
        self.blobs: dict[tuple[str, int], Blob] = {}
        self.fetched: list[tuple[str, int]] = []

    def new(self, *, leased_to: int = 1) -> Table:
        table = Table.create("test")
        self._closing.callback(table.close)
        table.lease(leased_to)
        return table

    def adopt(self, table: Table, *, leased_to: int = 2) -> Table:
        adopted = Table.adopt(os.dup(table.fd))
        self._closing.callback(adopted.close)
        adopted.lease(leased_to)
        return adopted

    def view(self, table: Table) -> View:
        view = View(read_only(table.fd), CODEC, self.fetch)
        self._closing.callback(view.close)
        return view

    def put(self, table: Table, name: str, value: Any, *, version: int | None = None, who: str = "test", grad: Any = None) -> int:
        """Publish a value under the next version, large ones as a blob; return the version."""
        slot = table.add(name)
        version = table.version(slot) + 1 if version is None else version
        data = values.encode(CODEC, value)
        packed_grad = None if grad is None else bytes(values.encode(CODEC, grad))
        annex = values.Annex(when=1000.0 + version, who=who, created_at=1000.0, grad=packed_grad).pack()
        blob = None
        if not layout.fits_inline(len(data), len(annex)):
            blob = self.blobs[name, version] = Blob.create(data, annex)
            self._closing.callback(blob.close)
        table.publish(slot, version, data, annex, blob=blob)
        return version

    def fetch(self, name: str, version: int) -> int | None:
        self.fetched.append((name, version))
        blob = self.blobs.get((name, version))
        return os.dup(blob.fd) if blob is not None else None


@contextmanager
def tables() -> Iterator[Tables]:
    with ExitStack() as closing:
        yield Tables(closing)
