"""Whether another process of this machine would find a module of ours. Looks at the disk; imports nothing."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["can_be_imported"]


def can_be_imported(name: str) -> bool:
    """Whether a fresh process with our sys.path finds the same file under that name (pytest and notebooks load others)."""
    path: Any = None
    spec = None
    parts = name.split(".")
    for depth in range(len(parts)):
        spec = _find_spec(".".join(parts[: depth + 1]), path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    loaded = getattr(sys.modules[name], "__file__", None)
    return spec is not None and (loaded is None or spec.origin is None or os.path.realpath(loaded) == os.path.realpath(spec.origin))


def _find_spec(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path, None)
        if spec is not None:
            return spec
    return None
