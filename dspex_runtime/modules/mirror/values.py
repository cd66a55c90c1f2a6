"""The attributes of a program's parts on their way between host and mirror, as plain data: nodes `[word, ...]`.

    ["v", value]               a number, a text, a bool or None
    ["p", bytes]               anything else, as a pickle
    ["s", digest, bytes]       a signature; where the digest is known the class is at hand and nothing is unpickled
    ["lm", {...}]              an LM, see `mirror.lms`
    ["o", number]              a part: the number of its record
    ["l" | "t", [node, ...]]   a list or tuple with parts in it
    ["d", [[node, node], ...]] a dict with parts in it: keys and values

A signature keeps its identity: one that comes back to where it was made is the same class again. Never calls an LM.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import dspy

from dspex_runtime.modules.mirror import lms as mirror_lms
from dspex_runtime.modules.parts import PLAIN
from dspex_runtime.wire.by_value import dumps, dumps_whole

Node = list[Any]

_packed: Final[WeakKeyDictionary[type, tuple[str | None, str, bytes]]] = WeakKeyDictionary()  # -> instructions then, digest, pickle
_signatures: Final[WeakValueDictionary[str, type]] = WeakValueDictionary()  # by digest


def pack(name: str, value: Any, *, whole: bool = False) -> Node:
    """Return the node of an attribute that holds no parts.

    Args:
        name: Of the attribute: "lm" is an LM.
        value: Any.
        whole: Pickle the user's classes by value, for a client that has none of the user's files.

    Raises:
        Exception: It cannot be pickled.
    """
    if type(value) in PLAIN:
        return ["v", value]
    if name == "lm":
        return ["lm", mirror_lms.pack(value)]
    if isinstance(value, type) and issubclass(value, dspy.Signature):
        return _pack_signature(value, whole=whole)
    return ["p", dumps_whole(value) if whole else dumps(value)]


def unpack(node: Node) -> Any:
    """Return the value of such a node.

    Raises:
        Exception: It cannot be unpickled here; for what is imported in the other process, ImportError and AttributeError.
    """
    match node:
        case ["v", value]:
            return value
        case ["p", bytes() as data]:
            return pickle.loads(data)
        case ["s", str() as digest, bytes() as data]:
            return _unpack_signature(digest, data)
        case ["lm", dict() as parcel]:
            return mirror_lms.unpack(parcel)
        case _:
            raise ValueError(f"no attribute of a program's part: {node!r:.100}")


def _pack_signature(signature: Any, *, whole: bool) -> Node:
    if whole:  # not what is kept of it
        return ["s", *_remembered(signature, dumps_whole(signature))]
    known = _packed.get(signature)
    if known is None or known[0] is not signature.__doc__:
        # Instructions that were edited in place: as a class of its own, or the other process would change the class that it has.
        data = dumps(signature if known is None else signature.with_instructions(signature.instructions))
        known = _packed[signature] = (signature.__doc__, *_remembered(signature, data))
    return ["s", known[1], known[2]]


def _unpack_signature(digest: str, data: bytes) -> Any:
    signature = _signatures.get(digest)
    if signature is None:
        signature = pickle.loads(data)
        _signatures[digest] = signature
        _packed[signature] = (signature.__doc__, digest, data)
    return signature


def _remembered(signature: Any, data: bytes) -> tuple[str, bytes]:
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    _signatures[digest] = signature
    return digest, data
