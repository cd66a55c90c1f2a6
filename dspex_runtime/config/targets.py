"""Where a class is found: "pkg.mod:Name", "file.py:Name", a saved program's directory; and a saved state. Imports nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dspex_runtime.config.value_types import Scalar

__all__ = ["Target", "resolve_directory", "resolve_state", "resolve_target"]


@dataclass(frozen=True, slots=True)
class Target(Scalar):
    """The type of a target as text; whether it exists is asked later, when its folder is known."""

    directory: bool = False  # a saved program's directory is allowed too

    @property
    def expects(self) -> str:
        """The spellings."""
        return 'text as "file.py:Name" or "pkg.mod:Name"' + (", or the directory of a saved program" if self.directory else "")

    def read(self, value: Any) -> str:
        """Return the text when its shape is right."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError("not a target")
        place, colon, name = value.rpartition(":")
        if not colon:
            if not self.directory or value.endswith(".py"):
                raise ValueError("no name")
            return str.__str__(value)
        if not _is_dotted(name) or not (place.endswith(".py") or _is_dotted(place)):
            raise ValueError("not a target")
        return str.__str__(value)

    def hint(self, value: Any) -> str:
        """A name that was left out, or a dot instead of the colon."""
        return _hint(value) if isinstance(value, str) else ""

    def json(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"}


def resolve_target(target: str, folders: Sequence[str]) -> str:
    """Return the target with its file or directory made absolute; "pkg.mod:Name" stays as it is.

    Args:
        target: A text that `Target` accepted.
        folders: Searched in order for a relative path; the first that has it wins.

    Raises:
        ValueError: There is no such file or directory; the text says which was looked for.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        return resolve_directory(target, folders)
    if not place.endswith(".py"):
        return target
    return f"{_first(target, place, folders, os.path.isfile, 'file')}:{name}"


def resolve_directory(text: str, folders: Sequence[str]) -> str:
    """Return the absolute path of a saved program's directory.

    Raises:
        ValueError: There is none.
    """
    allowed = 'allowed: "file.py:Name", "pkg.mod:Name" or the directory of a saved program'
    return _first(text, text, folders, os.path.isdir, "directory", allowed, _hint(text))


def resolve_state(text: str, folders: Sequence[str]) -> str:
    """Return the absolute path of a saved state, a file.

    Raises:
        ValueError: There is none.
    """
    return _first(text, text, folders, os.path.isfile, "file", "allowed: a .json that module.save(...) wrote")


def _first(found: str, place: str, folders: Sequence[str], exists: Callable[[str], bool], what: str, *words: str) -> str:
    """Return the first path that exists, of a place in each of the folders, or raise; `words` say what else is to be said."""
    expanded = os.path.expanduser(place)
    paths = list(dict.fromkeys(os.path.abspath(os.path.join(folder, expanded)) for folder in folders or ["."]))
    for path in paths:
        if exists(path):
            return path
    raise ValueError("; ".join((f"found {found!r}, but there is no {what} {paths[0]}{_also(paths)}", *filter(None, words))))


def _also(paths: Sequence[str]) -> str:
    others = len(paths) - 1
    return f" (nor in {others} other folder{'s' if others > 1 else ''} of sys_path)" if others else ""


def _hint(text: str) -> str:
    if text.endswith(".py"):
        return f'write "{text}:ClassName"'
    if text.endswith(".json"):
        return f'a saved state is no program: name the class here, and write load: "{text}" beside it'
    place, dot, name = text.rpartition(".")
    if dot and _is_dotted(text):
        return f'write "{place}:{name}"'
    return ""


def _is_dotted(text: str) -> bool:
    return bool(text) and all(part.isidentifier() for part in text.split("."))
