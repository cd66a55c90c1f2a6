"""What the arguments of the operations are, by name: a name means the same in all of them. Checked before any is carried out.

An operation's own checks are about what is there; nothing of another type ever gets as far as the tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError

TYPES: Final[dict[str, tuple[type, ...]]] = {
    "args": (dict,),
    "at": (int,),
    "config": (dict,),
    "data": (bytes,),
    "drain": (int, float),
    "expect": (int,),
    "how": (str,),
    "id": (str,),
    "ids": (list,),
    "incarnation": (int,),
    "job": (bytes,),
    "keep": (int,),
    "kind": (str,),
    "members": (list,),
    "metadata": (dict,),
    "n": (int,),
    "name": (str,),
    "names": (list,),
    "number": (int,),
    "numbers": (list,),
    "op": (str,),
    "parts": (list,),
    "pattern": (str,),
    "plan": (bool,),
    "ref": (int,),
    "revision": (int,),
    "spec": (dict,),
    "state": (str,),
    "supervisor": (str,),
    "timeout": (int, float),
    "token": (str,),
    "version": (int, str),  # a number only where a child's own versions are meant
    "why": (str,),
    "with": (str,),
}
OPTIONAL: Final = frozenset(
    {"args", "expect", "id", "incarnation", "keep", "kind", "metadata", "number", "numbers", "revision", "supervisor", "timeout"}
    | {"drain", "version", "why", "with"}
)
_WORDS: Final = {
    str: "text",
    bytes: "bytes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a map",
}


def check(op: str, args: Mapping[str, Any]) -> None:
    """Raise ConfigError when an argument is of another type than that name has; what is left out is the operation's to miss."""
    for name, types in TYPES.items():
        if name not in args:
            continue
        value = args[name]
        right = type(value) in types if value is not None else name in OPTIONAL
        if not right or value != value:  # NaN
            raise ConfigError(f"malformed request {op!r}: {name!r} is {_WORDS[types[-1]]}; got {show(value)}")
