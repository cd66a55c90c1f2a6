"""What a parameter is, whatever its name and value: type, default, limits, gradient settings. Plain data but for `custom`.

Never holds a value and never checks one: `constraints` does, and `declaration` makes specs from what people write. A spec
crosses processes as its meta map; a custom check does not cross, only that there is one and what it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dspex_runtime.types import Durability

__all__ = ["Constraint", "Limit", "ParameterSpec", "ParameterType"]


class ParameterType(StrEnum):
    """What values a parameter takes; the words of `Parameter(...)` and of YAML."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STR = "str"
    LIST = "list"
    DICT = "dict"
    ARRAY = "array"
    ANY = "any"
    PREDICTOR = "predictor"


class Constraint(StrEnum):
    """The kinds of limits; the words of `Parameter(...)`, of YAML and of `ConstraintViolationError.constraint`."""

    MIN = "min"
    MAX = "max"
    CHOICES = "choices"
    MIN_LENGTH = "min_length"
    MAX_LENGTH = "max_length"
    LENGTH = "length"
    SHAPE = "shape"
    DTYPE = "dtype"
    PATTERN = "pattern"


@dataclass(frozen=True, slots=True)
class Limit:
    """One declarative limit."""

    constraint: Constraint
    limit: Any


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A parameter without its name and value.

    Attributes:
        default: Its value before anybody set it. Never handed out itself: `initial` copies.
        constraints: Declarative limits, in the order in which they are checked.
        custom: The user's own check, at hand in the module's process only.
        custom_name: What messages call that check; set wherever the parameter has one, at hand or not.
        durability: Of this parameter; None: its module's.
    """

    type: ParameterType
    default: Any = None
    constraints: tuple[Limit, ...] = ()
    custom: Callable[[Any], Any] | None = None
    custom_name: str | None = None
    requires_grad: bool = False
    learning_rate: float = 0.01
    momentum: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    durability: Durability | None = None
    doc: str = ""

    def limit(self, constraint: Constraint) -> Any:
        """Return what a constraint allows, or None where it is not declared."""
        return next((limit.limit for limit in self.constraints if limit.constraint is constraint), None)

    def to_meta(self) -> dict[str, Any]:
        """Return the spec as plain data; `from_meta` is its inverse but for the custom check, and a predictor's first state."""
        meta: dict[str, Any] = {"type": self.type.value}
        if self.type is not ParameterType.PREDICTOR:
            meta["default"] = self.default
        meta |= {limit.constraint.value: limit.limit for limit in self.constraints}
        if self.custom_name is not None:
            meta["check"] = self.custom_name
        if self.requires_grad:
            meta |= {"requires_grad": True, "learning_rate": self.learning_rate, "momentum": self.momentum}
        if self.metadata:
            meta["metadata"] = dict(self.metadata)
        if self.durability is not None:
            meta["durability"] = self.durability.value
        if self.doc:
            meta["doc"] = self.doc
        return meta

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> ParameterSpec:
        """Read what `to_meta` wrote. Keys of a newer version are ignored; what a person wrote goes through `declaration`."""
        durability = meta.get("durability")
        return cls(
            type=ParameterType(meta["type"]),
            default=meta.get("default"),
            constraints=tuple(Limit(kind, meta[kind.value]) for kind in Constraint if meta.get(kind.value) is not None),
            custom_name=meta.get("check"),
            requires_grad=meta.get("requires_grad", False),
            learning_rate=meta.get("learning_rate", 0.01),
            momentum=meta.get("momentum", 0.0),
            metadata=meta.get("metadata", {}),
            durability=Durability(durability) if durability is not None else None,
            doc=meta.get("doc", ""),
        )
