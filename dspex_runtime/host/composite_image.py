"""The image of an owner and those of its parts as one, as a copy has them that has its parts in its own process; and back.

What a part calls `k` the owner calls `retriever.k`, by the path at which it has the part. Pure. Owns what is called how, nothing of
what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from dspex_runtime.params.image import Image

__all__ = ["OWNER", "Share", "merged", "share"]

OWNER: Final = ""  # the path of the owner itself
ROOT: Final = ""  # what a program is called among its own modules ...
ITSELF: Final = "self"  # ... and among its parameters, where it is one
_PARAMETERS: Final = ("config", "frozen")  # of a rest: maps by name of a parameter
_MODULES: Final = ("attributes",)  # ... and of a module

Rename: TypeAlias = Callable[[str, str], "str | None"]  #: (name, what a program calls itself there) -> name; None: it is left out


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of an image is meant.

    Attributes:
        path: Of a part; OWNER: all but the parts.
        parts: The paths of all parts.
    """

    path: str
    parts: Collection[str]


def merged(owner: Image, parts: Mapping[str, Image]) -> Image:
    """Return the image of an owner with those of its parts in it, by the paths at which it has them. Users' states are its own."""
    found = owner
    for path, part in parts.items():
        own = _renamed(part, lambda name, itself, path=path: path if name == itself else f"{path}.{name}")  # type: ignore[misc]
        rest = {
            key: [*found.rest.get(key, ()), *value] if isinstance(value, list) else {**found.rest.get(key, {}), **value}
            for key, value in own.rest.items()
        }
        found = replace(found, parameters={**found.parameters, **own.parameters}, rest={**found.rest, **rest})
    return found


def share(image: Image, wanted: Share) -> Image:
    """Return what of such an image is one part's, or the owner's, as that calls it."""
    path = wanted.path
    others = [other for other in wanted.parts if other != path and (path == OWNER or _is_inside(other, path))]

    def rename(name: str, itself: str) -> str | None:
        if any(_is_inside(name, other) for other in others):
            return None
        if path == OWNER:
            return name
        if name == path:
            return itself
        return name.removeprefix(f"{path}.") if name.startswith(f"{path}.") else None

    return _renamed(image, rename)


def _renamed(image: Image, rename: Rename) -> Image:
    rest = dict(image.rest)
    for keys, itself in ((_PARAMETERS, ITSELF), (_MODULES, ROOT)):
        for key in keys:
            if key in rest:
                rest[key] = _keys(rest[key], rename, itself)
    if "compiled" in rest:
        rest["compiled"] = [name for each in rest["compiled"] if (name := rename(each, ROOT)) is not None]
    return replace(image, parameters=_keys(image.parameters, rename, ITSELF), rest=rest)


def _keys(values: Mapping[str, Any], rename: Rename, itself: str) -> dict[str, Any]:
    return {name: value for each, value in values.items() if (name := rename(each, itself)) is not None}


def _is_inside(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")
