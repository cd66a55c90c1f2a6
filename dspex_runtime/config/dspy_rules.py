"""Rules of `lm:` and `dspy:` that the schema cannot say: files exist, paths become absolute, keys exclude each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dspex_runtime.config.dspy_schema import MADE_KEYS
from dspex_runtime.config.problems import Path, Problems
from dspex_runtime.config.suggestions import suggest
from dspex_runtime.config.targets import resolve_target

__all__ = ["check_dspy", "check_lm"]

_WITH_CLASS: Final = ("class", "args", "pickled")
_NEEDS: Final = (("disk", "dir"), ("disk", "disk_size"), ("memory", "memory_entries"))


def check_lm(
    own: dict[str, Any] | None, merged: Mapping[str, Any] | None, path: Path, folders: Sequence[str], problems: Problems
) -> None:
    """Check one `lm:` and make its files absolute.

    Args:
        own: What is written there.
        merged: The same over what it inherits.
        path: Where it is written.
        folders: Where relative files are looked for.
        problems: Where problems go.
    """
    reported = problems.under(path)
    if own is None or merged is None or path in reported:
        return
    wrong = sorted({str(at[len(path)]) for at in reported})
    if not wrong:
        _check_keys(own, merged, path, folders, problems)
    if not {"model", "class"} & {*merged, *wrong}:
        keys = [*own, *(key for key in wrong if key not in own)]
        hint = next(filter(None, (suggest(key, ["model", "class"]) for key in keys)), "")
        found = f"found {', '.join(keys)}" if keys else "found an empty map"
        problems.add(path, f"{found}; allowed: model: or class:, with others beside" + (f"; {hint}" if hint else ""))


def _check_keys(own: dict[str, Any], merged: Mapping[str, Any], path: Path, folders: Sequence[str], problems: Problems) -> None:
    if "class" in own:
        others = sorted(key for key in own if key not in _WITH_CLASS)
        if others:
            found = f"found class: and {', '.join(others)}"
            problems.add((*path, "class"), f"{found}; allowed: class: with args: only (or model: without class:)", at_key=True)
        _resolve(own, "class", _class_path(path, problems), folders, problems)
    elif "args" in own and "class" not in merged:
        problems.add(
            (*path, "args"), "found without class:; allowed: keys of dspy.LM beside model:, or class: with args:", at_key=True
        )
    _check_made(own, "callbacks", (*path, "callbacks"), folders, problems)


def _class_path(path: Path, problems: Problems) -> Path:
    """Return where the class is written: `lm: file.py:Name` says it without that key."""
    at = (*path, "class")
    return path if path in problems.places and at not in problems.places else at


def check_dspy(
    own: dict[str, Any], merged: Mapping[str, Any], path: Path, folders: Sequence[str], base_dir: str, problems: Problems
) -> None:
    """Check one `dspy:` and make its files and directories absolute; the arguments are those of `check_lm`."""
    for key in MADE_KEYS:
        _check_made(own, key, (*path, key), folders, problems)
    cache = own.get("cache")
    if not isinstance(cache, dict):
        return
    if "dir" in cache:
        cache["dir"] = os.path.abspath(os.path.join(base_dir, os.path.expanduser(cache["dir"])))
    whole = merged.get("cache")
    for switch, key in _NEEDS:
        if key in cache and isinstance(whole, Mapping) and whole.get(switch) is False:
            problems.add((*path, "cache", key), f"found with {switch}: false; allowed: where {switch} is true", at_key=True)


def _check_made(holder: dict[str, Any], key: str, path: Path, folders: Sequence[str], problems: Problems) -> None:
    made = holder.get(key)
    if isinstance(made, list):
        for index in range(len(made)):
            _check_one(made, index, (*path, index), folders, problems)
    elif key in holder:
        _check_one(holder, key, path, folders, problems)


def _check_one(holder: Any, key: Any, path: Path, folders: Sequence[str], problems: Problems) -> None:
    match holder[key]:
        case str():
            _resolve(holder, key, path, folders, problems)
        case {"class": _} as made:
            _resolve(made, "class", (*path, "class"), folders, problems)


def _resolve(section: Any, key: Any, path: Path, folders: Sequence[str], problems: Problems) -> None:
    if "pickled" in section:  # the object came along: its class is a name for people
        return
    try:
        section[key] = resolve_target(section[key], folders)
    except ValueError as exc:
        problems.add(path, str(exc))
