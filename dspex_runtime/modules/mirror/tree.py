"""The parts of a mirror: real dspy objects made from the image of a hosted program, and brought up to date in place.

A part stays the same object for as long as there is one of its name and kind: whoever holds a predictor of a proxy goes on holding
it. What the image has not changed since the last time is left alone, edits included. Never asks the process.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from importlib import import_module
from typing import Any, Final

import dspy
from dspy.predict.parameter import Parameter

from dspex_runtime.errors import CallError
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.mirror.classes import class_for
from dspex_runtime.modules.mirror.image import REMOTE, described
from dspex_runtime.modules.mirror.refusing import WITH_PARTS, check_part, watch
from dspex_runtime.modules.mirror.values import Node, unpack
from dspex_runtime.modules.parts import OF_CALLS, ROOT, is_inside
from dspex_runtime.params.cell import Cell, Writer
from dspex_runtime.params.spec import ParameterSpec

Record = dict[str, Any]
Marks = tuple[dict[str, Any], dict[str, Record]]


class Part(dspy.Module):  # type: ignore[misc] # dspy has no types
    """A module inside a hosted program, of a class of the user's: its parts are here, its methods in the process."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return value.value if isinstance(value, Cell) else value

    def __setattr__(self, name: str, value: Any) -> None:
        cell = self.__dict__.get(name)
        if isinstance(cell, Cell) and not isinstance(value, Cell):
            cell.set(value)
        else:
            check_part(self, name, value)
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        check_part(self, name)
        super().__delattr__(name)

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raise: a part of a hosted program runs within it."""
        raise CallError(f"{type(self).__name__} is a part of a program in another process, which calls it; call the program")


_PLAIN: Final = {"module": Part, "predict": dspy.Predict, "parameter": Parameter}


class Tree:
    """All parts of one mirror.

    Args:
        root: The proxy, which is the program's part "".
        attributes: The proxy's own, kept up to date.
        writer: Who writes dx.Parameters for the process.
        ref: The reference to the process.
    """

    def __init__(self, root: Any, attributes: dict[str, Any], writer: Writer, ref: Any) -> None:
        self._ref = ref
        self._root = root
        self._attributes = attributes
        self._writer = writer
        self._records: dict[str, Record] = {}
        self.remote: list[str] = []  #: names of the parts that are processes of their own
        self.parts: dict[str, Any] = {}  #: by name, as the process has them: without those that were replaced here

    def take(self, records: list[Record], *, edited: Container[str], anew: Container[str]) -> None:
        """Become what an image says.

        Args:
            records: Of the image.
            edited: Names of parts that are another here: they stay as they are.
            anew: Names of parts that are taken from the image, whatever was known of them.

        Raises:
            Exception: A value cannot be unpickled here; nothing was changed.
        """
        parts = [self._part(record) for record in records]
        filled: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for record, part in zip(records, parts, strict=True):
            if record["name"] in edited:
                continue
            if record["kind"] == "cell":
                part.value = unpack(record["attributes"][0][1])
            elif record["kind"] != REMOTE:  # that is the proxy of another process
                is_known = self.parts.get(record["name"]) is part and record["name"] not in anew
                filled.append((self.attributes(part), self._filled(record, part, records, parts, edited, is_known=is_known)))
        for attributes, now in filled:
            _update(attributes, now)
        for record, part in zip(records, parts, strict=True):
            if isinstance(part, Part):
                watch(part, record)
        self._records = {record["name"]: record for record in records if record["name"] is not None}
        self.remote = [name for name, record in self._records.items() if record["kind"] == REMOTE]
        self.parts = {record["name"]: part for record, part in zip(records, parts, strict=True) if record["name"] is not None}

    def kind(self, name: str) -> str:
        """Return what a part is, see `mirror.image.kind_of`."""
        kind: str = self._records[name]["kind"]
        return kind

    def record(self, name: str) -> Record | None:
        """Return what was last fetched of a part; None for nothing."""
        return self._records.get(name)

    def label(self, name: str) -> str:
        """Return the name of a part's class in the process."""
        label: str = self._records[name]["label"]
        return label

    def nodes(self, name: str) -> dict[str, Node]:
        """Return what the process was last known to have of a part's attributes."""
        return dict(map(tuple, self._records[name]["attributes"]))

    def attributes(self, part: Any) -> dict[str, Any]:
        """Return a part's `__dict__`, the proxy's without asking whether it is up to date."""
        return self._attributes if part is self._root else part.__dict__

    def marked(self, edit: Mapping[str, Any], parts: Mapping[str, Any]) -> Marks:
        """Take an edit for made: the process has these parts now, with these attributes. Returns what `unmark` takes it back with.

        Args:
            edit: See `edits`.
            parts: That there are here, by name.
        """
        before = dict(self.parts), dict(self._records)
        for name, each in edit["parts"].items():
            self.parts[name] = parts[name]
            record = self._records[name]
            nodes = dict(map(tuple, record["attributes"])) | each["attributes"]
            self._records[name] = {**record, "attributes": [[attribute, node] for attribute, node in nodes.items()]}
        for name in edit["replaced"]:
            for inside in [each for each in self.parts if is_inside(each, name)]:
                del self.parts[inside], self._records[inside]
            for inside, part in parts.items():
                if is_inside(inside, name):
                    self.parts[inside] = part
                    self._records[inside] = {"name": inside, **described(part), "attributes": []}
        return before

    def unmark(self, before: Marks) -> None:
        """Take the edit for not made."""
        self.parts, self._records = before

    def follow(self, other: Tree, parts: dict[str, Any]) -> None:
        """Know of copies of another tree's parts what that knows of its own."""
        self.parts, self._records, self.remote = parts, dict(other._records), list(other.remote)

    def _part(self, record: Record) -> Any:
        """Return the object for a record: the one there is, or a new one."""
        if record["name"] == ROOT:
            return self._root
        before = self._records.get(record["name"])
        if before is not None and all(before.get(fact) == record.get(fact) for fact in ("kind", "class", "label", "meta", "id")):
            return self.parts[record["name"]]
        if record["kind"] == "cell":
            cell = DspyCell(ParameterSpec.from_meta(record["meta"]), record["name"])
            cell.bind(self._writer, record["name"])
            return cell
        if record["kind"] == REMOTE:
            return self._ref.part(record["id"])
        cls = _class(record)
        if cls is Part:
            cls = class_for(Part, record["label"], self._ref, record["name"])
        part: Any = object.__new__(cls)
        if isinstance(part, dspy.Module):
            part.__dict__.update(_compiled=False, callbacks=[], history=[])
        return part

    def _filled(
        self, record: Record, part: Any, records: list[Record], parts: list[Any], edited: Container[str], *, is_known: bool
    ) -> dict[str, Any]:
        """Return what a part's attributes are to be: those of the image, in its order, and what is only here."""
        has = self.attributes(part)
        old = dict(map(tuple, self._records.get(record["name"], {}).get("attributes", ())))
        now: dict[str, Any] = {name: has[name] for name in ("_compiled", *OF_CALLS) if name in has}
        for name, node in record["attributes"]:
            is_as_before = is_known and old.get(name) == node and node[0] not in WITH_PARTS
            if name in has and (is_as_before or _is_edited(node, records, edited)):
                now[name] = has[name]
            else:
                value = self._value(node, parts)
                now[name] = has[name] if name in has and _is_same(has[name], value) else value
        now.update({name: value for name, value in has.items() if name not in now and name not in old})
        return now

    def _value(self, node: Node, parts: list[Any]) -> Any:
        match node:
            case ["o", int(number)]:
                return parts[number]
            case ["l", nodes]:
                return [self._value(each, parts) for each in nodes]
            case ["t", nodes]:
                return tuple(self._value(each, parts) for each in nodes)
            case ["d", pairs]:
                return {unpack(key): self._value(each, parts) for key, each in pairs}
            case _:
                return unpack(node)


def _is_edited(node: Node, records: list[Record], edited: Container[str]) -> bool:
    """Return whether one of the parts in a node is another here."""
    match node:
        case ["o", int(number)]:
            return records[number]["name"] in edited
        case ["l" | "t", nodes]:
            return any(_is_edited(each, records, edited) for each in nodes)
        case ["d", pairs]:
            return any(_is_edited(each, records, edited) for _, each in pairs)
        case _:
            return False


def _is_same(has: Any, value: Any) -> bool:
    """Return whether a container holds the very same parts: then it stays the same list or dict."""
    if type(has) is not type(value) or not isinstance(value, list | tuple | dict) or len(has) != len(value):
        return False
    if isinstance(value, dict):
        return list(has) == list(value) and all(_is_it(has[key], value[key]) for key in value)
    return all(map(_is_it, has, value))


def _is_it(has: Any, value: Any) -> bool:
    return has is value or _is_same(has, value)


def _update(attributes: dict[str, Any], now: dict[str, Any]) -> None:
    if list(attributes) == list(now):
        attributes.update(now)  # no moment in which another thread finds one missing
        return
    attributes.clear()
    attributes.update(now)


def _class(record: Record) -> type:
    found: Callable[..., Any] | None = None
    if record["class"] is not None:
        module, _, name = record["class"].partition(":")
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:  # of a dspy that has more than this one
            found = None
    return found if isinstance(found, type) else _PLAIN[record["kind"]]
