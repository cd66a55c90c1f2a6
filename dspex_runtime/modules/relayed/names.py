"""What the parts of the called program are called, for whoever is told of them. Host side; asked only by calls that have to tell.

Remembered for as long as the program lives, and listed again when a part is asked about that was not there: at most once a call.
"""

from __future__ import annotations

import weakref
from typing import Any, Final

import dspy

from dspex_runtime.modules.mirror.following import mirror_of, unfollowed
from dspex_runtime.modules.parts import named_parts, names_of
from dspex_runtime.modules.parts_process import is_part


def _parts(root: Any) -> dict[str, Any]:
    with unfollowed():  # a proxy in the program is one part: what is behind it, the caller's mirror does not show ...
        parts = named_parts(root)
    for name, part in list(parts.items()):
        if is_part(part):  # ... but of a part of the program it does
            parts.update({f"{name}.{inner}": each for inner, each, _ in mirror_of(part).parts()})
    return parts


class _Listing:
    """The names of one program's parts by identity. Holds no part: an identity counts only while its part lives."""

    __slots__ = ("names", "parts")

    def __init__(self, root: Any) -> None:
        parts = _parts(root)
        self.names = names_of(parts)
        self.parts = {id(part): weakref.ref(part) for part in parts.values() if hasattr(type(part), "__weakref__")}

    def name(self, part: Any) -> str | None:
        known = self.parts.get(id(part))
        return self.names[id(part)] if known is not None and known() is part else None


_listings: Final[weakref.WeakKeyDictionary[Any, _Listing]] = weakref.WeakKeyDictionary()


class Names:
    """The names of one program, during one call."""

    __slots__ = ("_is_fresh", "_root")

    def __init__(self, root: Any) -> None:
        self._root = root
        self._is_fresh = False

    def of(self, part: Any) -> str | None:
        """Return the name of a part; "" for the program itself, None for what is no part of it."""
        if part is self._root:
            return ""
        listing = _listings.get(self._root)
        name = listing.name(part) if listing is not None else None
        return name if name is not None or self._is_fresh else self._listing().name(part)

    def of_id(self, identity: Any) -> str | None:
        """Return the name of the part with that `id()`."""
        listing = _listings.get(self._root)
        if (listing is None or identity not in listing.names) and not self._is_fresh:
            listing = self._listing()
        return listing.names.get(identity) if listing is not None else None

    def part(self, name: str) -> Any | None:
        """Return the part of a name; one that is in a part in another process as that one's mirror has it, which may ask it."""
        parts = _parts(self._root)
        if name not in parts:
            for outer, part in parts.items():
                if name.startswith(f"{outer}.") and is_part(part):
                    return mirror_of(part).part(name[len(outer) + 1 :])
        return parts.get(name)

    def with_signature(self, signature: Any) -> str | None:
        """Return the name of a part whose signature it is."""
        if signature is None:
            return None
        for name, part in _parts(self._root).items():
            if isinstance(part, dspy.Predict) and part.signature is signature:
                return name
        return None

    def _listing(self) -> _Listing:
        self._is_fresh = True
        listing = _listings[self._root] = _Listing(self._root)
        return listing
