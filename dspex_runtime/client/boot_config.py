"""From the arguments of `Runtime(...)` to the plain configuration that the runtime process boots with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dspex_runtime.client.settings import portable
from dspex_runtime.client.target import carried, prepared


def boot_config(
    tree: Any, *, name: str | None, state_dir: str | os.PathLike[str] | None, preload: Sequence[str] | None
) -> dict[str, Any]:
    """Return the normalised configuration of a runtime to start.

    Raises:
        ConfigError: With every problem of the file.
    """
    from dspex_runtime.config import normalize

    given = tree is not None
    said = [what for what, value in (("name", name), ("state_dir", state_dir), ("preload", preload)) if value is not None]
    if not given:
        tree = {"version": 1, "name": name or _own_name(), "tree": {"children": []}}
    elif isinstance(tree, Mapping):
        said += ["name"] if name is None and tree.get("name") is None else []  # it was given one
        tree = _prepared_tree(tree, name)
    config = normalize(tree)
    changed: dict[str, Any] = {}
    if state_dir is not None:
        changed["state_dir"] = os.path.abspath(os.fspath(state_dir))
    if preload is not None:
        changed["preload"] = list(preload)
    elif not given and "dspy" in sys.modules:
        changed["preload"] = ["dspy"]  # whoever has it imported will start modules: at the first one it is there already
    if name is not None:
        config = {**config, "name": name}
    if changed:
        config = {**config, "runtime": {**(config.get("runtime") or {}), **changed}}
    return {**config, "given": said} if said else config


def _prepared_tree(tree: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    ready = {"version": 1, "name": name or _own_name(), **portable(tree, carried)}
    if isinstance(ready.get("defaults"), Mapping):
        ready["defaults"] = portable(ready["defaults"], carried)
    root = ready.get("tree")
    if isinstance(root, dict) and isinstance(root.get("children"), list | tuple):
        ready["tree"] = {**root, "children": [prepared(child) for child in root["children"]]}
    return ready


_unnamed = 0


def _own_name() -> str:
    """A name for a runtime that was given none: the program's, its pid, and a number from the second on."""
    from dspex_runtime.config.names import name_from_stem

    global _unnamed  # one count per process; two threads at once get two names or a clear ConfigError
    _unnamed += 1
    stem = name_from_stem(os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0] or "python")[:40]
    return f"{stem}-{os.getpid()}" + (f"-{_unnamed}" if _unnamed > 1 else "")
