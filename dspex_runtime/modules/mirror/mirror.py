"""The mirror of one hosted program behind a proxy: what dspy sees of it, what a relayed call needs of it, and copies.

A copy (`copied`) is never in step: it keeps what it has, and its calls run in the same process on a copy of the program, made to
match (`overlay`). How a mirror stays in step is the business of `mirror.step`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import dspy

from dspex_runtime.modules.mirror.following import Remote, mirror_of
from dspex_runtime.modules.mirror.refusing import check_attribute
from dspex_runtime.modules.mirror.step import InStep
from dspex_runtime.modules.parts import OF_CALLS, ROOT, names_of
from dspex_runtime.params.cell import Cell


class Mirror(InStep):
    """The mirror of one proxy; see `InStep`.

    Attributes:
        root: The proxy.
    """

    def __init__(self, root: Any, attributes: dict[str, Any], ref: Any, class_of: Callable[[str, str], type]) -> None:
        super().__init__(root, attributes, ref, class_of)
        self.root = root
        # Each of the parts that it was made of.
        self._names: tuple[Any, dict[int, str]] = ({}, {})
        self._inner: tuple[Any, tuple[tuple[str, Any, dict[str, Any]], ...]] = ({}, ())
        self._copy = ""  # which one; "" for none
        self._overlay: dict[str, Any] | None = None
        self._inner_digests: list[str] = []  # of the parts that are processes of their own

    # -- what a relayed call needs (see relay.protocol.Mirror)

    def part(self, name: str) -> Any | None:
        """Return the part of a name ("" and "self" are the proxy), or None; asks the process when nothing was fetched yet."""
        if name == ROOT:
            return self.root
        if not self.loaded:
            self.sync()
        with self.working():
            found = self._edits.parts().get(name)
        if found is None:
            for outer, mirror in self._holding(name):
                return mirror.part(name[len(outer) + 1 :])
        return found

    def _holding(self, name: str) -> Iterator[tuple[str, Any]]:
        return ((outer, mirror_of(part)) for outer, part in self.remote().items() if name.startswith(f"{outer}."))

    def remote(self) -> dict[str, Any]:
        """Return the proxies of the parts that are processes of their own, by name; of what is here, none are fetched."""
        return {name: self._edits.seen[name] for name in self._tree.remote if isinstance(self._edits.seen.get(name), Remote)}

    def name_of(self, part: Any) -> str | None:
        """Return the name of a part, by identity; None for anything else."""
        if part is self.root:
            return ROOT
        if not self.loaded:
            return None
        with self.working():
            parts = self._edits.parts()
            if self._names[0] is not parts:
                self._names = parts, names_of(parts)
            found = self._names[1].get(id(part))
        if found is None:
            for outer, remote in self.remote().items():
                if (inner := mirror_of(remote).name_of(part)) is not None:
                    return f"{outer}.{inner}"
        return found

    def parts(self) -> tuple[tuple[str, Any, dict[str, Any]], ...]:
        """Return all parts but the proxy with their attributes: those that there were when edits were last looked for."""
        parts, inner = self._edits.seen, self._inner
        if inner[0] is not parts:
            found = tuple((name, part, part.__dict__) for name, part in parts.items() if part is not self.root)
            inner = self._inner = parts, found
        remote = self.remote()
        return inner[1] if not remote else (*inner[1], *_within(remote))

    def check(self, name: str, *value: Any) -> None:
        """Raise AttributeError if the proxy's attribute cannot be set to a value, or without one deleted; see `check_attribute`."""
        record = self._tree.record(ROOT)
        if self.in_step and record is not None and not hasattr(type(self.root), name):  # a method may be patched
            check_attribute(record, repr(self.ref.id), name, *value)

    def overlay(self) -> dict[str, Any] | None:
        """Return what a call of a copy runs with, see `variants`; None for a mirror in step with its process.

        Raises:
            UnserialisableError: A value in the copy cannot be sent.
        """
        if self.in_step:
            return None
        with self.working():
            inner = {name: overlay for name, part in self.remote().items() if (overlay := mirror_of(part).overlay()) is not None}
            digests = [overlay["digest"] for overlay in inner.values()]
            if self._overlay is None or digests != self._inner_digests or self._edits.pending():
                image, digest = self._edits.whole({name: overlay["image"] for name, overlay in inner.items()})
                self._overlay = {"copy": self._copy, "digest": digest, "image": image}
                self._inner_digests = digests
                self._edits.look_again()
            return self._overlay

    def load_state(self, load: Callable[[], Any]) -> Any:
        """Run a `load_state` of dspy's on the parts, and push what came of it in one step. One that fails leaves nothing."""
        self.sync()
        with self.working():
            before = [(part, self._kept(part)) for part in self._edits.parts().values()]
            try:
                with self._writer.deferred() as deferred:
                    result = load()
            except BaseException:
                # dspy tries a state on a copy first; a copy is another proxy, and empty while this one is at work.
                for part, kept in before:
                    if isinstance(part, Cell):
                        part.store(kept)
                    else:
                        self._tree.attributes(part).update(kept)
                raise
            self._edits.note(deferred)
        self.push()
        return result

    def _kept(self, part: Any) -> Any:
        """Return what a part has now, but for what calls add to it meanwhile."""
        if isinstance(part, Cell):
            return part.value
        return {name: value for name, value in self._tree.attributes(part).items() if name not in OF_CALLS}

    def copied(self, other: Mirror, memo: dict[int, Any]) -> None:
        """Make another mirror, of a fresh proxy, a copy of this one.

        Args:
            other: The mirror of the copy.
            memo: Of `copy.deepcopy`.
        """
        self.sync()
        with self.working():
            for lm in self._edits.lms():
                memo[id(lm)] = lm  # of the process: what a copy's calls use is known by it
            for name, value in self.attributes.items():
                other.attributes[name] = [] if name in OF_CALLS else _copied(value, memo)
            other._tree.follow(self._tree, {name: memo.get(id(part), part) for name, part in self._tree.parts.items()})
            other.loaded, other.cls, other.in_step, other._copy = True, self.cls, False, os.urandom(8).hex()
            other.lm = self.lm
            with other.working():
                other._edits.follow(self._edits)


def _within(remote: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for outer, proxy in remote.items():
        for name, part, attributes in mirror_of(proxy).parts():
            yield f"{outer}.{name}", part, attributes


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy as dspy makes one: what cannot be copied is shared."""
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        if isinstance(value, dspy.Module):
            return value.deepcopy()
        try:
            return copy.copy(value)
        except Exception:
            return value
