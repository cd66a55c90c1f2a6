"""What a module has others for: how it says what its sub-modules are made of, what takes their place, and what answers in its own.

`described` is what a client says of what it starts (`client.target.child_spec`); it is there once references are, which are made
above this layer: the package itself leads there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from dspex_runtime.types import Kind

__all__ = ["child_spec", "fallback", "reference"]

described: Callable[..., dict[str, Any]] | None = None


def child_spec(target: Any, *, kwargs: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a child that is this class, instance or name, made with these arguments; without an id.

    Raises:
        ConfigError: It is nothing that can be hosted, or its file is not found.
        UnserialisableError: It, or an argument, cannot be sent.
    """
    _package().module  # noqa: B018 # brings `described`
    assert described is not None
    return described(target, id=None, args=(), kwargs=kwargs, keys=keys)


def reference(id: str) -> Any:
    """Return a module of the own runtime, as the proxy that stands for it."""
    return _package().module(id)


@lru_cache(maxsize=64)
def fallback(id: str, kind: Kind) -> Any:
    """Return what answers in the place of this module, or server, while something is down: a reference to one of its kind.

    The first time the parent is asked, on the calling thread. It is an address, so it is kept: restarts are nothing to it.

    Raises:
        NoProcessError: There is none; the next time it is looked for again.
        ConfigError: It is of another kind.
    """
    return _package().server(id) if kind is Kind.SERVER else reference(id)


def _package() -> Any:
    return sys.modules["dspex_runtime"]
