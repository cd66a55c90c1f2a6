"""`dx.Parameter` and `dx.Shared`: declarations in a class body, plain values on its objects.

A Parameter is a data descriptor; each object has a `Cell` under the same name in its `__dict__`. Reading gives the cell's value,
assignment goes through the cell: checked, versioned and, where it is bound, visible to every process. Works on any class with a
`__dict__`; a cell that nobody made in advance is made at the first use. Never imports dspy or numpy by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.cell import Cell as Cell
from dspex_runtime.params.declaration import MISSING, make_spec
from dspex_runtime.params.spec import ParameterSpec
from dspex_runtime.types import Durability

__all__ = ["Cell", "Parameter", "Shared", "declarations", "declared", "read_shared_with"]

T = TypeVar("T")


class Parameter:
    """A parameter that is declared in the body of a class.

    A declaration that is wrong is a TypeError or ValueError that names class and attribute; it is raised by `declared`, which the
    classes of this package call when they are made, or else by the first use.

    Args:
        type: int, float, bool, str, list, dict, "array" or "any".
        default: Its value before anybody set it. Without one: 0, "", [] and so on; of an array of known shape zeros.
        min: Smallest value; of an array, of each item.
        max: Largest value; of an array, of each item.
        choices: The values that are allowed.
        min_length: Of a text, list, dict or array.
        max_length: Of a text, list, dict or array.
        length: Both.
        shape: Of an array; None in it is any size.
        dtype: Of an array.
        pattern: Regular expression that a text must match from end to end.
        check: A function of the value, run in the module's process; it refuses by returning something false or by raising.
        requires_grad: Whether `apply_gradient` may be used.
        learning_rate: Of a gradient's step.
        momentum: Share of the steps before in a gradient's step.
        metadata: Anything plain that belongs to it.
        durability: "memory", "journal" or "fsync"; None: as its module's.
        doc: What it is for.
    """

    def __init__(
        self,
        type: Any,
        default: Any = MISSING,
        *,
        min: Any = None,
        max: Any = None,
        choices: Iterable[Any] | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        length: int | None = None,
        shape: int | tuple[int | None, ...] | list[int | None] | None = None,
        dtype: Any = None,
        pattern: str | None = None,
        check: Callable[[Any], Any] | None = None,
        requires_grad: bool = False,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        metadata: Mapping[str, Any] | None = None,
        durability: Durability | str | None = None,
        doc: str = "",
    ) -> None:
        self.name = ""
        self.__doc__ = doc or None
        self._of = ""
        self._spec: ParameterSpec | None = None
        self._problem: TypeError | ValueError | None = None
        limits = {
            "min": min, "max": max, "choices": choices, "min_length": min_length, "max_length": max_length, "length": length,
            "shape": shape, "dtype": dtype, "pattern": pattern,
        }  # fmt: skip
        try:
            self._spec = make_spec(
                type,
                default,
                limits=limits,
                check_with=check,
                requires_grad=requires_grad,
                learning_rate=learning_rate,
                momentum=momentum,
                metadata=metadata,
                durability=durability,
                doc=doc,
            )
        except (TypeError, ValueError) as exc:
            # Its class and name are not known yet, and what __set_name__ raises becomes a RuntimeError (before Python 3.12).
            self._problem = exc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self._of = name, owner.__qualname__

    @property
    def spec(self) -> ParameterSpec:
        """What it is.

        Raises:
            TypeError, ValueError: The declaration is wrong.
        """
        if self._spec is None:
            assert self._problem is not None
            kind = TypeError if isinstance(self._problem, TypeError) else ValueError
            raise kind(f"{self._of}.{self.name}: {self._problem}") from self._problem
        return self._spec

    def cell(self, obj: Any) -> Cell:
        """Return the cell of an object, made now if there is none yet."""
        try:
            cell: Cell = obj.__dict__[self.name]
        except KeyError:
            cell = obj.__dict__[self.name] = Cell(self.spec, self.name)
        return cell

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        try:
            return obj.__dict__[self.name].value
        except KeyError:
            return self.cell(obj).value

    def __set__(self, obj: Any, value: Any) -> None:
        if isinstance(value, Cell):  # copies are made attribute by attribute
            obj.__dict__[self.name] = value
        else:
            self.cell(obj).set(value)

    def __delete__(self, obj: Any) -> None:
        raise AttributeError(
            f"{self._of}.{self.name} is a declared parameter and cannot be deleted; its cell's reset() undoes a set"
        )

    def __repr__(self) -> str:
        return f"<Parameter {self._of}.{self.name}>"


def declarations(cls: type, kind: type[T]) -> dict[str, T]:
    """Return the attributes of a class that are of a kind, those of its bases first; what a subclass overrides is none any more."""
    found: dict[str, T] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if isinstance(member, kind):
                found[name] = member
            else:
                found.pop(name, None)
    return found


def declared(cls: type) -> dict[str, Parameter]:
    """Return the parameters of a class by name, see `declarations`.

    Raises:
        TypeError, ValueError: A declaration is wrong; the message begins with Class.attribute.
    """
    found = declarations(cls, Parameter)
    for parameter in found.values():
        parameter.spec  # noqa: B018  # raises when it is wrong
    return found


_read_shared: Callable[[str], Any] | None = None


def read_shared_with(read: Callable[[str], Any] | None) -> None:
    """Say how this process reads the runtime's shared parameters; None: not at all. The host calls it once."""
    global _read_shared
    _read_shared = read


class Shared:
    """A runtime-wide parameter, read as an attribute: always the current value, without a message.

    Args:
        name: Of the parameter, as in `rt.params` and the `shared:` section.
        default: What reading gives outside a runtime; without one that is an error.
    """

    def __init__(self, name: str, default: Any = MISSING) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Shared takes the name of a runtime-wide parameter; got {name!r}")
        self.name: Final = name
        self._default = default
        self._attribute = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = f"{owner.__qualname__}.{name}"

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        if _read_shared is not None:
            return _read_shared(self.name)
        if self._default is MISSING:
            raise ParameterError(
                f"{self._attribute} is the runtime's shared parameter {self.name!r}, and none are shared here",
                name=self.name,
                hint=f"give it a value for use without one: Shared({self.name!r}, default=...)",
            )
        return self._default

    def __set__(self, obj: Any, value: Any) -> None:
        raise AttributeError(
            f"{self._attribute} is the runtime's shared parameter {self.name!r} and is not written by a module; "
            f"use rt.params[{self.name!r}] = ..."
        )

    def __repr__(self) -> str:
        return f"<Shared {self._attribute}>"
