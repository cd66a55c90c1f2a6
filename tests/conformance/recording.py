"""The recorded answers: one JSON line with the versions, then one line [scenario, log] each, xz-compressed, committed."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

RECORDED: Final = Path(__file__).parent / "recorded"

Item = tuple[dict[str, Any], list[str]]  # a scenario and OTP's log


def save(path: Path, versions: str, items: Iterable[Item]) -> None:
    """Write a recording."""
    path.parent.mkdir(exist_ok=True)
    with lzma.open(path, "wt", encoding="ascii", preset=9 | lzma.PRESET_EXTREME) as file:
        file.write(json.dumps({"versions": versions}) + "\n")
        for scenario, log in items:
            file.write(json.dumps([scenario, "\n".join(log)], separators=(",", ":")) + "\n")


def load(path: Path) -> Iterator[Item]:
    """Yield what was recorded, in order."""
    with lzma.open(path, "rt", encoding="ascii") as file:
        next(file)
        for line in file:
            scenario, log = json.loads(line)
            yield scenario, log.split("\n")


def versions(path: Path) -> str:
    """Return what answered."""
    with lzma.open(path, "rt", encoding="ascii") as file:
        return str(json.loads(next(file))["versions"])
