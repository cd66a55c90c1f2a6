"""Which names of runtimes are legal, and how the rule for ids (core.names) reads in a schema. Pure."""

from __future__ import annotations

import os
import re
from typing import Final

from dspex_runtime.core.names import ID_PATTERN, MAX_ID_CHARS, check_id
from dspex_runtime.errors import ConfigError

__all__ = [
    "ID_EXPECTED",
    "ID_SCHEMA",
    "NAME_EXPECTED",
    "NAME_SCHEMA",
    "id_from_target",
    "is_id",
    "is_runtime_name",
    "name_from_stem",
]

ID_SCHEMA: Final = f"^{ID_PATTERN}$"
ID_EXPECTED: Final = f'letters, digits, _ and - (at most {MAX_ID_CHARS}; not first: -; not "root")'
NAME_SCHEMA: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
NAME_EXPECTED: Final = f"letters, digits and _ . - (at most {MAX_ID_CHARS}; not first: . and -)"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


def is_id(text: str) -> bool:
    """Return whether a user may give this id to a child."""
    try:
        check_id(text)
    except ConfigError:
        return False
    return True


def is_runtime_name(text: str) -> bool:
    """Return whether a runtime may be called this: its socket and lock are files of that name."""
    return len(text) <= MAX_ID_CHARS and _NAME.fullmatch(text) is not None


def id_from_target(target: str) -> str:
    """Return a name to build an id from: "pkg.mod:WebSearch" -> "web_search", "programs/qa" -> "qa"."""
    name = os.path.basename(target.rpartition(":")[2].rstrip("/")).rpartition(".")[2]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", snake).strip("_-")[:MAX_ID_CHARS] or "child"


def name_from_stem(stem: str) -> str:
    """Return a legal runtime name for a file's stem: "my tree" -> "my-tree"."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip(".-")[:MAX_ID_CHARS]
    return name or "runtime"
