"""The accessors generated for a declared parameter `x`, as in the original design: get_x, set_x, x_type, x_opts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspex_runtime.modules.reserved import accessor_names
from dspex_runtime.params.parameter import Parameter


def generate(cls: type, name: str) -> None:
    """Put the accessors of a parameter on a class; one that the class defines or inherits stays."""
    for accessor, make in zip(accessor_names(name), (_getter, _setter, _type, _options), strict=True):
        if not hasattr(cls, accessor):
            setattr(cls, accessor, make(cls, accessor, name))


def _getter(cls: type, accessor: str, name: str) -> Any:
    def get(self: Any) -> Any:
        return getattr(self, name)

    return _named(get, cls, accessor, f"Return the parameter {name}.")


def _setter(cls: type, accessor: str, name: str) -> Any:
    def set(self: Any, value: Any) -> None:
        setattr(self, name, value)

    return _named(set, cls, accessor, f"Set the parameter {name}: checked, versioned, for everybody.")


def _type(cls: type, accessor: str, name: str) -> Any:
    def type_(cls: type) -> str:
        return _parameter(cls, name).spec.type.value

    return classmethod(_named(type_, cls, accessor, f"Return the type of the parameter {name}, as a word."))


def _options(cls: type, accessor: str, name: str) -> Any:
    def options(cls: type) -> dict[str, Any]:
        meta = _parameter(cls, name).spec.to_meta()
        del meta["type"]
        return meta

    return classmethod(_named(options, cls, accessor, f"Return what else was declared of the parameter {name}."))


def _parameter(cls: type, name: str) -> Parameter:
    found = getattr(cls, name, None)
    if not isinstance(found, Parameter):
        raise AttributeError(f"{cls.__qualname__}.{name} is no dx.Parameter any more: a subclass overrides it")
    return found


def _named(function: Callable[..., Any], cls: type, name: str, doc: str) -> Callable[..., Any]:
    function.__name__, function.__qualname__, function.__doc__ = name, f"{cls.__qualname__}.{name}", doc
    return function
