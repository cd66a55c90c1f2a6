"""Private copies of the hosted program, one for each copy that a client made of its proxy: what is done to them stays with them.

Owns the last few copies. Never changes the hosted program, never writes the table: the parameters of a copy are bound to nobody.
An overlay is {"copy": which, "digest": of its image, "image": pickled parts, see `mirror.changes.Edits.whole`}.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

import dspy

from dspex_runtime.modules.mirror.edits import put
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.parts import named_parts

MOST: Final = 8  # copies that are kept; one that is called again after so many others is made anew

_lock: Final = threading.Lock()
_variants: Final[OrderedDict[str, _Variant]] = OrderedDict()  # by copy, used last comes last


@dataclass(slots=True, eq=False)
class _Variant:
    root: Any
    lock: threading.Lock = field(default_factory=threading.Lock)
    digest: str | None = None
    module: Any = None


def module_for(root: Any, overlay: dict[str, Any]) -> Any:
    """Return the private copy that a call is for, with the overlay's states.

    A copy lasts over its calls, with whatever they leave in it, while it is one of the last MOST that were called.

    Raises:
        Exception: The overlay cannot be unpickled here, or does not fit the program.
    """
    which, digest = overlay["copy"], overlay["digest"]
    with _lock:
        variant = _variants.get(which)
        if variant is None or variant.root is not root:
            variant = _variants[which] = _Variant(root)
        _variants.move_to_end(which)
        while len(_variants) > MOST:
            _variants.popitem(last=False)
    with variant.lock:
        if variant.digest != digest:
            image = pickle.loads(overlay["image"])
            if variant.module is None:
                variant.module = private_copy(root)
            put(named_parts(variant.module), image)
            variant.digest = digest
        return variant.module


def private_copy(root: Any) -> Any:
    """Return a deep copy of a program, bound to no table; of its LMs without their call history."""
    with unfollowed():
        lms = [lm for part in named_parts(root).values() if (lm := getattr(part, "lm", None)) is not None]
        memo: dict[int, Any] = {}
        for lm in lms:
            history = getattr(lm, "history", None)
            if isinstance(history, list):
                memo[id(history)] = []
        try:
            return copy.deepcopy(root, memo)
        except Exception:  # a lock, a connection: dspy's own way shares what cannot be copied
            return dspy.Module.deepcopy(root)
