"""The image of a hosted program that a client builds its mirror from: its tree, and what dspy shows of every part. Host side.

An image is plain data: {"objects": [record, ...], "versions": {parameter: version}, "edits": n, "lm": parcel, "process": pid}.
Record 0 is the program. A record says what a part is called ("name"), what it is ("kind", "class", "label") and what it holds
("attributes": [[name, node], ...], in order, see `mirror.values`), and what its plain attributes are called ("plain"); that of a
part in a process of its own says which ("id"). Nothing of the user's classes is in it but their names: methods and the values of
plain attributes stay here.
"""

from __future__ import annotations

from typing import Any, Final

import dspy
from dspy.predict.parameter import Parameter

from dspex_runtime.modules import parts_process
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.mirror.refusing import plain
from dspex_runtime.modules.mirror.values import Node, pack
from dspex_runtime.modules.parts import OF_CALLS, PLAIN, holds_parts, is_container, is_part, named_parts, names_of
from dspex_runtime.modules.pristine import ATTRIBUTE as PRISTINE
from dspex_runtime.modules.pristine import pristine

REMOTE: Final = "remote"  #: kind of a part that is a process of its own
#: What dspy shows of a predictor, and what an edit of it may change.
STATE: Final = ("stage", "signature", "demos", "traces", "train", "lm", "config", "fields")
# What dspy sets on programs itself: also on one that it did not copy.
_DSPYS: Final = frozenset({"_compiled", PRISTINE, "candidate_programs", "flag_compilation_error_occurred"})


def take(root: Any, *, whole: bool = False) -> list[dict[str, Any]]:
    """Return the records of a program's parts.

    Args:
        root: The program.
        whole: Pickle the user's classes by value, for a client that cannot import them.
    """
    with unfollowed():
        imager = _Imager(names_of(named_parts(root)), whole=whole)
        imager.number(root)
        return imager.records


class _Imager:
    def __init__(self, names: dict[int, str], *, whole: bool) -> None:
        self._whole = whole
        self.records: list[dict[str, Any]] = []
        self._names = names
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()  # containers that are being looked at: one may hold itself

    def number(self, part: Any) -> int:
        """Return the number of a part's record, which is made now if there is none yet."""
        number = self._numbers.get(id(part))
        if number is None:
            number = self._numbers[id(part)] = len(self.records)
            record: dict[str, Any] = {"name": self._names.get(id(part)), **described(part)}
            self.records.append(record)
            self._describe(part, record)
        return number

    def _describe(self, part: Any, record: dict[str, Any]) -> None:
        if parts_process.is_part(part):  # its own process shows what is in it, and what it is
            record |= {"kind": REMOTE, "class": None, "label": "", "id": part.dx.id, "attributes": [], "plain": []}
            return
        if isinstance(part, DspyCell):
            record |= {"meta": part.spec.to_meta(), "attributes": [["value", pack("value", part.value, whole=self._whole)]]}
            return
        shown = self._predictors if record["kind"] == "predict" else self._plain
        if record["kind"] == "predict":
            pristine(part)  # there from now on: a mirror loads states onto the very signature that the program does
        attributes = [[name, node] for name, value in list(part.__dict__.items()) if (node := shown(part, name, value)) is not None]
        record["attributes"] = attributes
        free = {*OF_CALLS} | _DSPYS | (frozenset(STATE) if record["kind"] == "predict" else frozenset())
        record["plain"] = plain(part.__dict__, dict(map(tuple, attributes)), free)

    def _predictors(self, part: Any, name: str, value: Any) -> Node | None:
        if name in STATE or name == PRISTINE:
            return _shown(name, value, whole=self._whole)
        return self._plain(part, name, value)

    def _plain(self, part: Any, name: str, value: Any) -> Node | None:
        if name in OF_CALLS or name.startswith("_dspex"):
            return None
        if is_part(value) or holds_parts(value):
            return self._node(value)
        if name == "_compiled":
            return ["v", bool(value)]
        if not type(part).__module__.startswith("dspy."):
            return None
        # dspy's own modules are shown as what they are, so that they can be asked what they were built with.
        if type(value) in PLAIN or (isinstance(value, type) and issubclass(value, dspy.Signature)):
            return _shown(name, value, whole=self._whole)
        return None

    def _node(self, value: Any) -> Node:
        if is_part(value):
            return ["o", self.number(value)]
        if not is_container(value) or id(value) in self._open:
            return ["v", value if type(value) in PLAIN else None]
        self._open.add(id(value))
        try:
            if isinstance(value, dict):
                return ["d", [[self._key(key), self._node(item)] for key, item in list(value.items())]]
            return ["t" if isinstance(value, tuple) else "l", [self._node(item) for item in value]]
        finally:
            self._open.discard(id(value))

    def _key(self, key: Any) -> Node:
        try:
            return pack("", key, whole=self._whole)
        except Exception:
            return ["v", str(key)]


def kind_of(part: Any) -> str:
    """Return what a part is: a "cell" of a dx.Parameter, a "predict", another "parameter" of dspy, or a "module"."""
    if isinstance(part, DspyCell):
        return "cell"
    if isinstance(part, dspy.Predict):
        return "predict"
    return "parameter" if isinstance(part, Parameter) else "module"


def described(part: Any) -> dict[str, Any]:
    """Return what a record says of a part itself."""
    return {"kind": kind_of(part), "class": _dspys_class(type(part)), "label": type(part).__qualname__}


def _shown(name: str, value: Any, *, whole: bool) -> Node | None:
    if name == "lm" and value is not None:
        from dspex_runtime.modules.mirror.lms import show

        return ["lm", show(value, whole=whole)]
    try:
        return pack(name, value, whole=whole)
    except Exception:  # an object of the user's that no pickle takes: a mirror does without it
        return None


def _dspys_class(cls: type) -> str | None:
    """Return where to import the nearest class of dspy's from; None for its plain Module."""
    for base in cls.__mro__:
        if base is dspy.Module:
            return None
        if base.__module__.partition(".")[0] == "dspy" and (base is cls or issubclass(base, Parameter)):
            return f"{base.__module__}:{base.__qualname__}"
    return None
