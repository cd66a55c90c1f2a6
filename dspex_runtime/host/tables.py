"""The table of others' parameters as code inside a module process reads it: attached at the first read, again when replaced.

Owns the view of it. Descriptors come over the control pipe: of the table, and of each version of a large value; all else is a read
of shared memory. Works in `init`, too. Never writes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.host import parent
from dspex_runtime.params.view import Entry, View

if TYPE_CHECKING:
    from dspex_runtime.wire.codec import Codec

R = TypeVar("R")


class OthersTable:
    """The parameters of one id, on any thread; the first read asks the parent for the table, the others ask nobody."""

    def __init__(self, codec: Codec, id: str) -> None:
        self.id = id
        self._codec = codec
        self._lock = threading.Lock()
        self._view: View | None = None

    def read(self, name: str) -> Any:
        """Return the value that is published now.

        Raises:
            ParameterNotFoundError: There is none of that name.
            NoProcessError: There is no such module.
            CallTimeoutError: The parent did not answer.
            RuntimeUnreachableError: The parent is gone, or this is a process that user code forked.
        """
        return self._look(lambda view: view.get(name))

    def entry(self, name: str) -> Entry:
        """Return the value with its version, and who set it when. Raises as `read`."""
        return self._look(lambda view: view.entry(name))

    def _look(self, look: Callable[[View], R]) -> R:
        while True:
            view = self._view
            if view is None or not view.valid:
                view = self._attach()
            try:
                return look(view)
            except (IndexError, OSError, ParameterError):
                if view.valid:  # else it was replaced, and closed by another thread, while we read
                    raise

    def _attach(self) -> View:
        with self._lock:
            if self._view is not None and self._view.valid:
                return self._view
            fd = parent.ask_for_fd("param_table", {"id": self.id})
            if fd is None:
                raise self._without()
            if self._view is not None:
                self._view.close()
            self._view = View(fd, self._codec, self._fetch, self.id)
            return self._view

    def _without(self) -> ParameterNotFoundError:
        return ParameterNotFoundError(f"{self.id!r} has no parameters", id=self.id)

    def _fetch(self, name: str, version: int) -> int | None:
        return parent.ask_for_fd("param_blob", {"id": self.id, "name": name, "at": version})
