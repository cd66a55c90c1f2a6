"""The parameter tables that this process reads of one runtime: attached at the first read of a module, again when replaced.

Owns the views. A read asks the runtime for descriptors only, once for each module and for each version of a large value. Reading
itself is in `params.view`; nothing here knows a value.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dspex_runtime.client.descriptors import descriptor
from dspex_runtime.client.steps import Steps
from dspex_runtime.errors import ParameterError, ParameterNotFoundError
from dspex_runtime.params.view import View
from dspex_runtime.state.protocol import SHARED

if TYPE_CHECKING:
    from dspex_runtime.client.connection import ControlConnection
    from dspex_runtime.wire.codec import Codec

__all__ = ["Tables", "View"]

R = TypeVar("R")

# Asked for this often, a large value that nobody has is an error. It may be on its way: a reader can be faster than the runtime.
MISSING: Final = 100


class _BlobWanted(Exception):  # noqa: N818 - no error: how a view's question gets out of a function that cannot wait
    """A large value is not here yet."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(name, version)
        self.name = name
        self.version = version


class _Brought:
    """Descriptors of large values on their way into one view."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fds: dict[tuple[str, int], int | None] = {}

    def fetch(self, name: str, version: int) -> int | None:
        """Give away what was brought; what the view is built with."""
        with self._lock:
            if (name, version) not in self._fds:
                raise _BlobWanted(name, version)
            return self._fds.pop((name, version))

    def put(self, name: str, version: int, fd: int | None) -> None:
        """Bring one; None: that version is superseded."""
        with self._lock:
            fd, self._fds[name, version] = self._fds.get((name, version)), fd
        if fd is not None:  # of another thread, which has not taken it yet: either will do
            os.close(fd)


class Tables:
    """The tables of one session, by full id."""

    def __init__(self, connection: ControlConnection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        self._lock = threading.Lock()
        self._views: dict[str, tuple[View, _Brought]] = {}
        self._first: dict[str, str] = {}  # full ids of the first replicas, by that of their group
        self._turned = 0  # how often another replica was to be read

    def known(self, id: str) -> View | None:
        """Return the view of a module that this process has read before, while it is valid."""
        found = self._views.get(id)
        return found[0] if found is not None and found[0].valid else None

    def reading(self, id: str, look: Callable[[View], R]) -> Steps[R]:
        """Return what `look` finds in the table of a module, as often as it has to look.

        Raises:
            ParameterNotFoundError: The module has no parameters, or not that one.
            NoProcessError: There is no such module.
        """
        missed: Counter[tuple[str, int]] = Counter()
        while True:
            found = self._views.get(id)
            if found is None or not found[0].valid:
                found = yield from self._attach(id)
            view, brought = found
            try:
                return look(view)
            except _BlobWanted as wanted:
                args = {"id": id, "name": wanted.name, "at": wanted.version}
                fd = yield from descriptor(self._connection, "param_blob", args)
                missed[wanted.name, wanted.version] += fd is None
                if missed[wanted.name, wanted.version] == MISSING:
                    text = f"version {wanted.version} of {wanted.name!r} is published, and nobody has its value"
                    raise ParameterError(text, name=wanted.name, id=id) from None
                brought.put(wanted.name, wanted.version, fd)
            except ParameterError as exc:
                exc.id = id
                if view.valid:
                    raise
            except (IndexError, OSError):
                if view.valid:  # else it was replaced, and closed by another thread, while we read
                    raise

    def _attach(self, id: str) -> Steps[tuple[View, _Brought]]:
        while True:
            turned = self._turned
            fd = yield from descriptor(self._connection, "param_table", {"id": id})
            if fd is None and id == SHARED:
                hint = "the tree's `shared` section declares them"
                raise ParameterNotFoundError("the runtime has no shared parameters", id=id, hint=hint)
            if fd is None:
                raise ParameterNotFoundError(f"{id!r} has no parameters", id=id)
            brought = _Brought()
            view = View(fd, self._codec, brought.fetch, id)
            old: tuple[View, _Brought] | None = None
            with self._lock:
                # Else it may be that of a replica which is not the one to be read any more.
                current, valid = turned == self._turned, view.valid
                if current and valid:
                    old, self._views[id] = self._views.get(id), (view, brought)
            if old is not None:
                old[0].close()
            if current and valid:
                return view, brought
            view.close()
            if current:  # it was replaced in this moment; asked at once again the runtime may still give this one
                raise ParameterError(f"the parameters of {id!r} are just being replaced", id=id, hint="try again")

    def group_changed(self, facts: Mapping[str, Any]) -> None:
        """Hear who the replicas of a group are: what is read under its id is that of the first from now on."""
        members, id = facts["members"], facts["id"]
        if members is None:
            self._first.pop(id, None)
            self._forget_all(id)
        elif members:  # while none serves, what was read last is what there is
            self.is_read_of(id, members[0][0])

    def is_read_of(self, group: str, replica: str) -> None:
        """What is read under a group's id is that of this replica from now on: a write that it has made is in its table."""
        if self._first.get(group) != replica:
            self._first[group] = replica
            self._forget_all(group)

    def _forget_all(self, full_id: str) -> None:
        with self._lock:
            self._turned += 1
            ids = [id for id in self._views if id == full_id or full_id.endswith(f"/{id}")]
        for id in ids:
            self.forget(id)

    def forget(self, id: str) -> None:
        """That module is gone for good."""
        with self._lock:
            old = self._views.pop(id, None)
        if old is not None:
            old[0].close()

    def close(self) -> None:
        """Let go of all; values that were given out stay."""
        with self._lock:
            views, self._views = self._views, {}
        for view, _ in views.values():
            view.close()

    def forked(self) -> None:
        """In a forked child: what is mapped can still be read, another thread's lock cannot be waited for."""
        self._lock = threading.Lock()
