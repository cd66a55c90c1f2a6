"""Parameters and checkpoints of one child as the CLI sees them, over plain dictionaries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from dspex_runtime.errors import CheckpointError, ConstraintViolationError, ParameterNotFoundError
from dspex_runtime.params.view import Entry
from dspex_runtime.types import Change, CheckpointInfo


@dataclass
class FakeParams:
    """A value's version is the number of values it had."""

    types: dict[str, str] = field(default_factory=dict)
    past: dict[str, list[Any]] = field(default_factory=dict)
    expected: list[int | None] = field(default_factory=list)
    id: str = ""

    def names(self) -> list[str]:
        return sorted(self.past)

    def _values(self, name: str) -> list[Any]:
        if name not in self.past:
            raise ParameterNotFoundError(f"there is no parameter {name!r}", name=name, hint="did you mean 'temperature'?")
        return self.past[name]

    def __getitem__(self, name: str) -> Any:
        return self._values(name)[-1]

    def entry(self, name: str) -> Entry:
        return Entry(len(self._values(name)), self[name], 86_400.0, "client#7", None, 0.0)

    def meta(self, name: str) -> dict[str, Any]:
        return {"type": self.types.get(name, "any")}

    def set(self, name: str, value: Any, expect: int | None = None) -> int:
        self.expected.append(expect)
        if value == "refused":
            text = "'temperature' is at most 2.0; got 'refused'"
            raise ConstraintViolationError(text, name=name, constraint="max", limit=2.0, value=value)
        # As the runtime does: what is stored is not always what was given.
        as_stored = float(value) if self.types.get(name) == "float" and type(value) is int else value
        self._values(name).append(as_stored)
        return len(self.past[name])

    def at(self, name: str, version: int) -> Any:
        return self._values(name)[version - 1]

    def history(self, name: str, n: int) -> list[dict[str, Any]]:
        values = self._values(name)
        changes = [
            {"version": at + 1, "when": 86_400.0, "who": "me", "new": new, "old": values[at - 1] if at else None}
            for at, new in enumerate(values)
        ]
        return changes[::-1][:n]

    def rollback(self, name: str, version: int) -> int:
        return self.set(name, self._values(name)[version - 1])

    def reset(self, name: str) -> int:
        return self.rollback(name, 1)


class FakeWatch:
    """Changes, then the end of the runtime."""

    def __init__(self, changes: list[Change], warning: str | None = None) -> None:
        if warning is not None:
            logging.getLogger("dspex_runtime.client.param_watch").warning(warning)
        self.changes = changes
        self.closed = False

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.closed = True


class FakeCheckpoints:
    """The part of dx.Runtime that is about checkpoints; a mixin of the CLI's fake runtime."""

    kept: list[CheckpointInfo]
    kept_parts: dict[str, int]

    def checkpoint(self, id: str) -> CheckpointInfo:
        number = self.kept[0].number + 1 if self.kept else 1
        self.kept.insert(0, CheckpointInfo(id, number, 86_400.0, "manual", 2048, "2.1.0", parts=self.kept_parts))
        return self.kept[0]

    def checkpoints(self, id: str) -> list[CheckpointInfo]:
        return self.kept

    def _one(self, number: int | None) -> CheckpointInfo:
        found = [info for info in self.kept if number in (None, info.number)]
        if not found:
            raise CheckpointError(f"there is no checkpoint {number}")
        return found[0]

    def restore(self, id: str, checkpoint: int | None = None) -> CheckpointInfo:
        return self._one(checkpoint)

    def prune_checkpoints(self, id: str, keep: int | None, checkpoints: list[int] | None) -> list[int]:
        gone = [
            info.number for at, info in enumerate(self.kept) if (at >= keep if keep is not None else info.number in checkpoints)
        ]  # type: ignore[operator]
        self.kept = [info for info in self.kept if info.number not in gone]
        return gone

    def inspect_checkpoint(self, id: str, checkpoint: int | None = None) -> dict[str, Any]:
        info = self._one(checkpoint)
        parameters = {"temperature": {"value": 0.2, "version": 3, "updated_at": 86_400.0, "who": "me"}}
        head = {"id": id, "number": info.number, "kind": info.kind, "when": info.created_at, "size": info.size}
        head |= {"parts": info.parts, "of": info.of}
        return {**head, "version": "2.1.0", "facts": {"mode": "train"}, "metrics": {}, "parameters": parameters, "user": [1]}

    def diff_checkpoints(self, id: str, old: int, new: int | None) -> list[dict[str, Any]]:
        return [{"name": "temperature", "change": "changed", "old": old, "new": new}]

    def export_checkpoint(self, id: str, path: str, checkpoint: int | None = None) -> CheckpointInfo:
        return self._one(checkpoint)

    def import_checkpoint(self, id: str, path: str) -> CheckpointInfo:
        return self.checkpoint(id)
