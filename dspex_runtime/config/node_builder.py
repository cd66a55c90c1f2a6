"""YAML nodes -> plain values, each with its place: aliases, merge keys, duplicate keys, `${VAR}`.

Expansion is bounded, so a file of ten lines cannot ask for a billion values. Never constructs anything but plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.config.interpolation import interpolate
from dspex_runtime.config.problems import Broken, EnvText, Mark, Path, Place, Problems, show_path
from dspex_runtime.config.scalars import TAGS, construct, tag_problem

__all__ = ["MAX_DEPTH", "Builder", "mark_of"]

MAX_DEPTH: Final = 100  # levels; the builder recurses, and an anchor inside itself never ends
MAX_ALIAS_NODES: Final = 100_000  # values made by aliases


def mark_of(node: Any) -> Mark:
    """Return where a node or event of PyYAML begins."""
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


class Builder:
    """Turns the node graph into plain values, expanding aliases within bounds."""

    def __init__(self, problems: Problems, places: dict[Path, Place], environ: Mapping[str, str]) -> None:
        self.problems = problems
        self.places = places
        self.environ = environ
        self.seen: set[int] = set()
        self.repeated = 0

    def build(self, node: Any, path: Path, key: Mark) -> Any:
        """Return the value of a node and note its place."""
        self._bound(node, len(path))
        self.places[path] = Place(key=key, value=mark_of(node))
        if node.id == "scalar":
            return self._scalar(node)
        if node.tag not in (TAGS["map"], TAGS["seq"]):
            return Broken(tag_problem(node.tag))
        if node.id == "sequence":
            return [self.build(item, (*path, index), mark_of(item)) for index, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _bound(self, node: Any, depth: int) -> None:
        if id(node) in self.seen:
            self.repeated += 1
        self.seen.add(id(node))
        if self.repeated > MAX_ALIAS_NODES:
            self.problems.add_at(mark_of(node), f"aliases expand to more than {MAX_ALIAS_NODES} values")
            self.problems.raise_if_any()
        if depth > MAX_DEPTH:
            self.problems.add_at(mark_of(node), f"nested deeper than {MAX_DEPTH} levels, or an anchor that contains itself")
            self.problems.raise_if_any()

    def _scalar(self, node: Any) -> Any:
        try:
            value = construct(node.tag, node.value)
            if isinstance(value, str) and "$" in value:
                value, used = interpolate(value, self.environ)
                return EnvText(value, plain=not node.style) if used else value
        except ValueError as exc:
            return Broken(str(exc))
        return value

    def _mapping(self, node: Any, path: Path) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        merges = []
        for key_node, value_node in node.value:
            if key_node.tag == TAGS["merge"]:
                merges.append(value_node)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in result:
                first = self.places[(*path, key)].key
                self._report(key_node, path, f"the key {key!r} is there twice, first on line {first.line}; keep one")
                continue
            result[key] = self.build(value_node, (*path, key), mark_of(key_node))
        for merged in merges:
            self._merge(merged, path, result, len(path) + 1)
        return result

    def _merge(self, node: Any, path: Path, into: dict[Any, Any], depth: int) -> None:
        """`<<: *a` or `<<: [*a, *b]`: keys already there win, then the earlier map."""
        self._bound(node, depth)
        if node.id == "sequence":
            for item in node.value:
                self._merge(item, path, into, depth + 1)
            return
        if node.id != "mapping":
            self._report(node, path, "found a value after `<<`; allowed: `*anchor` of a map, or a list of those")
            return
        for key_node, value_node in node.value:
            if key_node.tag == TAGS["merge"]:
                self._merge(value_node, path, into, depth + 1)
                continue
            key = self._key(key_node, path)
            if key is not None and key not in into:
                into[key] = self.build(value_node, (*path, key), mark_of(key_node))

    def _key(self, node: Any, path: Path) -> str | int | None:
        value: Any = None
        if node.id == "scalar":
            try:
                value = construct(node.tag, node.value)
            except ValueError as exc:
                value = exc
        if isinstance(value, str | int) and not isinstance(value, bool):
            return value
        found = repr(node.value[:40]) if node.id == "scalar" else "a list or a map"
        self._report(node, path, f"found {found} as a key; keys are text (in quotes where YAML reads something else)")
        return None

    def _report(self, node: Any, path: Path, text: str) -> None:
        self.problems.add_at(mark_of(node), f"{show_path(path)}: {text}" if path else text)
