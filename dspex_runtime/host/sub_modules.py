"""How a module says what its sub-modules are made of, and what takes their place: known to whoever can have references.

`described` is what a client says of what it starts (`client.target.child_spec`); it is there once references are, which are made
above this layer: the package itself leads there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["child_spec", "reference"]

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


def _package() -> Any:
    return sys.modules["dspex_runtime"]
