"""Values that another owner of the same parameters has, taken over with their versions: replicas that share what is written to one.

A copy is taken only where its version is newer. It is checked and written down like any write, and told to whoever watches. It is
the same bytes here, under the same version; under a later one where a write that failed has used that number here, and then the
other owner takes that one. What it leaves out, in between, never was a version here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.coder import Coder
from dspex_runtime.params.ledger import Ledger
from dspex_runtime.params.publisher import Publisher
from dspex_runtime.params.values import Annex
from dspex_runtime.params.writes import CONFLICT, Owned, Write

__all__ = ["Copies", "Copy"]

Copy = tuple[int, bytes, bytes]  #: version, data, annex


class Copies:
    """Works on the parameters of one owner; `owned` is the owner's own map."""

    def __init__(self, owned: Mapping[str, Owned], coder: Coder, publisher: Publisher, ledger: Ledger) -> None:
        self._owned = owned
        self._coder = coder
        self._publisher = publisher
        self._ledger = ledger

    def give(self, newer: Mapping[str, int] | None, names: Iterable[str] | None) -> dict[str, Copy]:
        """Return what others may take.

        Args:
            newer: The versions that they have: only what is newer here. None: all there is.
            names: Of these only; None: of all.
        """
        wanted = set(self._owned) if names is None else set(names) & self._owned.keys()
        with self._ledger.lock:
            found = {}
            for name in wanted:
                version, data, annex = self._publisher.current(name)
                if newer is None or version > newer.get(name, 0):
                    found[name] = (version, bytes(data), bytes(annex))
            return found

    def take(self, copies: Mapping[str, Copy]) -> dict[str, int]:
        """Take what is newer; return the versions of what is something else here, and not older. Unknown names are left out.

        Raises:
            ConstraintViolationError: A value is refused here. Those before it were taken.
            ParameterError: One cannot be written.
        """
        others = {}
        for name, (version, data, packed) in copies.items():
            owned = self._owned.get(name)
            if owned is None:
                continue
            annex = Annex.unpack(packed)
            newer = self._write(owned, lambda current, version=version: version if version > current else None, data, annex)  # type: ignore[misc]
            if newer is not None:
                others[name] = newer
        return others

    def lift(self, above: Mapping[str, int]) -> None:
        """Set parameters to what they are once more, each with a version above the given one. Raises as `take`."""
        for name, version in above.items():
            owned = self._owned.get(name)
            if owned is None:
                continue
            with self._ledger.lock:
                current, data, packed = self._publisher.current(name)
            if current <= version:
                self._write(owned, lambda _current, version=version: version + 1, bytes(data), Annex.unpack(packed))  # type: ignore[misc]

    def _write(self, owned: Owned, number: Callable[[int], int | None], data: bytes, annex: Annex) -> int | None:
        """Write a value under the number that goes with the current version; None of it: return that, where it is another value."""
        while True:
            with self._ledger.lock:
                current, published, _ = self._publisher.current(owned.name)
                at = number(current)
                if at is None:
                    return None if published == data else current
            # Not its bytes: those of an equal set, or of what is pickled, may be others, and compared as another value for ever.
            value, _ = self._coder.accept(owned.name, owned.spec, self._coder.decode(data), was_checked=True)
            try:
                self._ledger.commit_one(Write(owned, value, data, annex.grad, current, at), annex.who)
            except ParameterError as exc:
                if exc.code != CONFLICT:  # else somebody has written meanwhile: compare again
                    raise
            else:
                return None
