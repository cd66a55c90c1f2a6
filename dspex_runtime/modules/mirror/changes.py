"""What was changed in a mirror since it was last in step with its process. Client side; decides, and sends nothing.

By identity (see `fingerprint`): a microsecond for each predictor. dx.Parameters are written when they are assigned; here are only
those whose list or dict was changed in place.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import dspy

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.fingerprint import Fingerprint
from dspex_runtime.modules.mirror.following import Remote
from dspex_runtime.modules.mirror.image import STATE, kind_of
from dspex_runtime.modules.mirror.tree import Tree
from dspex_runtime.modules.mirror.values import Node, pack
from dspex_runtime.modules.parts import is_inside, named_parts, parameter_name
from dspex_runtime.modules.relay import pickles as relay_pickles
from dspex_runtime.modules.tree import TreeWatch, named_modules
from dspex_runtime.params.containers import Container, containers_in

# Whatever part of a predictor was changed, these are sent; a signature or LM only when it is another one.
_ALWAYS = ("demos", "traces", "train", "config", "fields")

Edit = dict[str, Any]


class _Shown:
    """A predictor's attributes as an object, for those of a proxy, which asks its process when it is itself asked for them."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.__dict__ = attributes


class Edits:
    """Watches the parts of one mirror.

    Args:
        root: The proxy.
        tree: Its parts.
    """

    def __init__(self, root: Any, tree: Tree) -> None:
        self._root = root
        self._tree = tree
        self.seen: dict[str, Any] = {}  #: the parts by name, as they were at the last look; another dict after each
        self._structure = TreeWatch(())
        self._prints: dict[str, Fingerprint] = {}
        self._base: dict[str, tuple[Any, Any, Any]] = {}  # signature, its instructions, LM
        self._flags: dict[str, bool] = {}
        self._containers: dict[str, Container] = {}
        self._noted: set[str] = set()
        self._values: dict[str, Any] = {}  # of a copy: of its dx.Parameters, which are written nowhere else
        # What `untouched` looks at: fingerprints, attributes with the flag they had, containers. One tuple, for other threads.
        self._watched: tuple[list[Fingerprint], list[tuple[dict[str, Any], bool]], list[tuple[str, Container]]] = ([], [], [])

    def take(self, names: Iterable[str]) -> None:
        """Take the parts of these names as they are now for what the process has."""
        self._look()
        taken = set(names) & self._tree.parts.keys()
        for name in taken:
            part = self._tree.parts[name]
            attributes = self._tree.attributes(part)
            if "_compiled" in attributes:
                self._flags[name] = _is_frozen(attributes)
            if self._tree.kind(name) == "predict":
                signature = attributes.get("signature")
                self._base[name] = (signature, getattr(signature, "__doc__", None), attributes.get("lm"))
        self._watch(taken)
        gone = {*self._prints, *self._flags, *self._containers, *self._base, *self._noted} - self._tree.parts.keys()
        for kept in (self._prints, self._flags, self._containers, self._base):
            for name in gone & kept.keys():
                del kept[name]
        self._noted -= gone
        self._keep_watch()

    def look_again(self) -> None:
        """Take the parts as they are now for what was sent of a copy; what the process has stays what it was."""
        self._look()
        self._watch(self._tree.parts)
        self._values = {name: part.value for name, part in self._tree.parts.items() if isinstance(part, DspyCell)}

    def follow(self, other: Edits) -> None:
        """Know of copies of other parts what the process has of those."""
        self._base, self._flags = dict(other._base), dict(other._flags)
        self.look_again()
        self._keep_watch()

    def note(self, names: Iterable[str]) -> None:
        """Take these parts for changed."""
        self._noted.update(names)

    def lms(self) -> list[Any]:
        """Return the LMs that predictors have in the process."""
        return [lm for _, _, lm in self._base.values() if lm is not None]

    def _keep_watch(self) -> None:
        of = {name: self._tree.attributes(self._tree.parts[name]) for name in self._flags}
        flags = [(of[name], flag) for name, flag in self._flags.items()]
        self._watched = list(self._prints.values()), flags, list(self._containers.items())

    def _watch(self, names: Iterable[str]) -> None:
        for name in names:
            part = self._tree.parts[name]
            if isinstance(part, DspyCell):
                for container in containers_in([part]):
                    self._containers[name] = container
            elif self._tree.kind(name) == "predict":
                self._prints[name] = Fingerprint(_Shown(self._tree.attributes(part)))
            self._noted.discard(name)

    def parts(self) -> dict[str, Any]:
        """Return the parts there are now, by name: those that were replaced or added here too."""
        if self._structure.differs():
            self._look()
        return self.seen

    def untouched(self) -> bool:
        """Return whether `pending` would find nothing. Needs no lock; about a microsecond for each predictor."""
        if self._noted or self._structure.differs():
            return False
        prints, flags, containers = self._watched
        if any(each.differs() for each in prints):
            return False
        if any(_is_frozen(attributes) != flag for attributes, flag in flags):
            return False
        self.note(name for name, each in containers if each.changed())  # they say so once
        return not self._noted

    def pending(self) -> set[str]:
        """Return the names of the parts that are another than the process has."""
        parts = self.parts()
        found = {name for name, each in self._prints.items() if each.differs()} | self._noted
        for name, part in self._tree.parts.items():
            if name in parts and parts[name] is not part:
                found.add(name)
        for name, flag in self._flags.items():
            if name not in found and _is_frozen(self._tree.attributes(self._tree.parts[name])) != flag:
                found.add(name)
        found |= {name for name, value in self._values.items() if self._tree.parts[name].value is not value}
        self._noted.update(name for name, each in self._containers.items() if each.changed())
        return found | self._noted

    def of(self, pending: Iterable[str], versions: Mapping[str, int]) -> Edit:
        """Return what is to be sent for these parts.

        Raises:
            UnserialisableError: A value cannot be sent; says whose.
        """
        edit = _nothing()
        parts = self.parts()
        for name in sorted(pending):
            if name in parts:  # else it was taken out of the mirror: that stays here
                self._add(edit, name, parts[name], versions)
        for outer in list(edit["replaced"]):
            for kept in edit.values():
                for name in [name for name in kept if name != outer and is_inside(name, outer)]:
                    del kept[name]
        return edit

    def _add(self, edit: Edit, name: str, part: Any, versions: Mapping[str, int]) -> None:
        before, attributes = self._tree.parts[name], self._tree.attributes(part)
        expect = versions.get(parameter_name(name))
        if isinstance(part, DspyCell):
            edit["cells"][name] = {"expect": expect, "attributes": {"value": _node(name, "value", part.value)}}
        elif part is before:
            if name in self._prints and (name in self._noted or self._prints[name].differs()):
                known = self._tree.nodes(name)
                nodes = _nodes(name, attributes, self._changed(name, attributes))
                changed = {each: node for each, node in nodes.items() if known.get(each) != node}
                if changed:
                    edit["parts"][name] = {"expect": expect, "attributes": changed}
        elif self._tree.kind(name) == "predict" and type(part) is type(before):
            edit["parts"][name] = {"expect": expect, "attributes": _nodes(name, attributes, STATE)}
        else:
            edit["replaced"][name] = {"expect": _inside(name, versions), "pickle": _pickled(name, part)}
        if name not in edit["replaced"] and name in self._flags and _is_frozen(attributes) != self._flags[name]:
            edit["flags"][name] = not self._flags[name]

    def whole(self, remote: Mapping[str, bytes] = MappingProxyType({})) -> tuple[bytes, str]:
        """Return what makes a fresh copy of the program into this mirror, pickled, and a digest of that. Raises as `of`.

        Args:
            remote: The same of its parts that are processes of their own.
        """
        edit = _nothing() | {"remote": dict(remote)}
        for name, part in self.parts().items():
            if name not in self._tree.parts or (name in self._tree.remote and isinstance(part, Remote)):
                continue
            attributes = self._tree.attributes(part)
            if isinstance(part, DspyCell):
                edit["cells"][name] = {"attributes": {"value": _node(name, "value", part.value)}}
            elif kind_of(part) != self._tree.kind(name):
                edit["replaced"][name] = {"pickle": _pickled(name, part)}
            elif isinstance(part, dspy.Predict):
                names = (*_ALWAYS, "signature", *(("lm",) if self._has_its_own_lm(name, attributes) else ()))
                edit["parts"][name] = {"attributes": _nodes(name, attributes, names)}
        image = pickle.dumps(edit)
        return image, hashlib.blake2b(image, digest_size=16).hexdigest()

    def _has_its_own_lm(self, name: str, attributes: Mapping[str, Any]) -> bool:
        return name not in self._base or attributes.get("lm") is not self._base[name][2]

    def _changed(self, name: str, attributes: Mapping[str, Any]) -> tuple[str, ...]:
        signature, instructions, _ = self._base[name]
        now = attributes.get("signature")
        names: tuple[str, ...] = _ALWAYS
        if now is not signature or getattr(now, "__doc__", None) is not instructions:
            names = (*names, "signature")
        return (*names, "lm") if self._has_its_own_lm(name, attributes) else names

    def _look(self) -> None:
        self.seen = named_parts(self._root)
        self._structure.take(named_modules(self._root))


def _nothing() -> Edit:
    return {"parts": {}, "cells": {}, "flags": {}, "replaced": {}}


def _is_frozen(attributes: Mapping[str, Any]) -> bool:
    return bool(attributes.get("_compiled", False))


def _nodes(part: str, attributes: Mapping[str, Any], names: Iterable[str]) -> dict[str, Node]:
    return {name: _node(part, name, attributes[name]) for name in names if name in attributes}


def _node(part: str, name: str, value: Any) -> Node:
    try:
        return pack(name, value)
    except Exception as exc:
        text = f"{part or 'the program'}.{name} cannot be sent to its process: {type(exc).__name__}: {exc}"
        raise UnserialisableError(text, path=f"{part}.{name}") from exc


def _pickled(name: str, part: Any) -> bytes:
    try:
        return relay_pickles.dumps(part)
    except Exception as exc:
        raise UnserialisableError(f"{name} cannot be sent to its process: {type(exc).__name__}: {exc}", path=name) from exc


def _inside(name: str, versions: Mapping[str, int]) -> dict[str, int]:
    """Return the versions of the parameters that a replaced part is, or has."""
    return {each: version for each, version in versions.items() if is_inside(each, name)}
