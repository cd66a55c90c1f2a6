"""What an unquoted word of a file means: the YAML 1.2 core schema. Pure.

YAML 1.1 (PyYAML's default) reads `no` as false, `1:30` as 90 and `010` as 8; editors and everybody else moved on.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["RESOLVERS", "TAGS", "construct", "resolve", "tag_problem"]

_TAG = "tag:yaml.org,2002:"
TAGS: Final = {name: _TAG + name for name in ("null", "bool", "int", "float", "str", "merge", "map", "seq")}

# (tag, pattern, first characters): the form that PyYAML's resolver takes; the order decides.
RESOLVERS: Final = (
    (TAGS["null"], re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (TAGS["bool"], re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (TAGS["int"], re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (
        TAGS["float"],
        re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
        list("-+.0123456789"),
    ),
    (TAGS["merge"], re.compile(r"^<<$"), ["<"]),
)


def construct(tag: str, text: str) -> Any:
    """Return the value of a scalar with this (resolved or written) tag.

    Raises:
        ValueError: The tag is not a plain one, or the text does not fit it; the text says which.
    """
    name = tag.removeprefix(_TAG)
    if name in ("str", "merge"):
        return text
    pattern = next((pattern for known, pattern, _ in RESOLVERS if known == tag), None)
    if pattern is None:
        raise ValueError(tag_problem(tag))
    if not pattern.match(text):
        raise ValueError(f"found !!{name} {text[:40]!r}; allowed: a value that is one")
    match name:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _integer(text)
        case _:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def tag_problem(tag: str) -> str:
    """Return the problem text for a tag that is not one of plain data."""
    shown = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
    return f"found the tag {shown[:60]}; allowed: plain values only (files are read with the safe loader)"


def resolve(text: str) -> Any:
    """Return what this text means when it stands unquoted in a file; a number too large stays text."""
    for tag, pattern, first in RESOLVERS:
        if text[:1] in first and pattern.match(text):
            try:
                return construct(tag, text)
            except ValueError:
                break
    return str.__str__(text)


def _integer(text: str) -> int:
    if len(text) > 25:
        raise ValueError(f"found a number of {len(text)} digits; allowed: -2**63 to 2**64-1 (quote it if it is text)")
    value = int(text, 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x") else int(text)
    if not -(2**63) <= value < 2**64:  # what msgpack carries
        raise ValueError(f"found {text}; allowed: whole numbers from -2**63 to 2**64-1 (quote it if it is text)")
    return value
