"""The accessors generated for a declared member `x`, as in the original design.

Of a parameter get_x, set_x, x_type, x_opts; of a predictor predict_x, x_signature, x_opts; of a sub-module get_x, x_type, x_opts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from dspex_runtime.modules.members import Member, Predictor, SubModule
from dspex_runtime.modules.metadata import predictor_options, sub_module_options
from dspex_runtime.modules.reserved import Declared, accessor_names
from dspex_runtime.params.parameter import Parameter

T = TypeVar("T")


def generate(cls: type, name: str, declared: Declared = Declared.PARAMETER) -> None:
    """Put the accessors of a member on a class; one that the class defines or inherits stays."""
    for accessor, make in zip(accessor_names(name, declared), _MAKERS[declared], strict=True):
        if not hasattr(cls, accessor):
            setattr(cls, accessor, make(cls, accessor, name))


def kind_of(member: Member) -> Declared:
    """Return what a member was declared as."""
    return Declared.PREDICTOR if isinstance(member, Predictor) else Declared.SUB_MODULE


def _getter(cls: type, accessor: str, name: str) -> Any:
    def get(self: Any) -> Any:
        return getattr(self, name)

    return _named(get, cls, accessor, f"Return {name}.")


def _setter(cls: type, accessor: str, name: str) -> Any:
    def set(self: Any, value: Any) -> None:
        setattr(self, name, value)

    return _named(set, cls, accessor, f"Set the parameter {name}: checked, versioned, for everybody.")


def _caller(cls: type, accessor: str, name: str) -> Any:
    def predict(self: Any, /, *args: Any, **inputs: Any) -> Any:
        return getattr(self, name)(*args, **inputs)

    return _named(predict, cls, accessor, f"Call the predictor {name}.")


def _type(cls: type, accessor: str, name: str) -> Any:
    def type_(cls: type) -> str:
        return _member(cls, name, Parameter).spec.type.value

    return classmethod(_named(type_, cls, accessor, f"Return the type of the parameter {name}, as a word."))


def _options(cls: type, accessor: str, name: str) -> Any:
    def options(cls: type) -> dict[str, Any]:
        meta = _member(cls, name, Parameter).spec.to_meta()
        del meta["type"]
        return meta

    return classmethod(_named(options, cls, accessor, f"Return what else was declared of the parameter {name}."))


def _signature(cls: type, accessor: str, name: str) -> Any:
    def signature(cls: type) -> Any:
        return _member(cls, name, Predictor).signature

    return classmethod(_named(signature, cls, accessor, f"Return the declared signature of the predictor {name}, a class."))


def _predictor_options(cls: type, accessor: str, name: str) -> Any:
    def options(cls: type) -> dict[str, Any]:
        return predictor_options(_member(cls, name, Predictor))

    return classmethod(_named(options, cls, accessor, f"Return the kind and the options of the predictor {name}."))


def _sub_module_type(cls: type, accessor: str, name: str) -> Any:
    def type_(cls: type) -> str:
        return _member(cls, name, SubModule).type_name

    return classmethod(_named(type_, cls, accessor, f'Return the class of the sub-module {name}, as "pkg.mod:Name".'))


def _sub_module_options(cls: type, accessor: str, name: str) -> Any:
    def options(cls: type) -> dict[str, Any]:
        return sub_module_options(_member(cls, name, SubModule))

    return classmethod(_named(options, cls, accessor, f"Return what else was declared of the sub-module {name}."))


def _member(cls: type, name: str, kind: type[T]) -> T:
    found = getattr(cls, name, None)
    if not isinstance(found, kind):
        raise AttributeError(f"{cls.__qualname__}.{name} is no {_WORDS[kind]} any more: a subclass overrides it")
    return found


def _named(function: Callable[..., Any], cls: type, name: str, doc: str) -> Callable[..., Any]:
    function.__name__, function.__qualname__, function.__doc__ = name, f"{cls.__qualname__}.{name}", doc
    return function


_WORDS: Final[dict[Any, str]] = {Parameter: "dx.Parameter", Predictor: "dx.predictor", SubModule: "dx.sub_module"}
_MAKERS: Final = {
    Declared.PARAMETER: (_getter, _setter, _type, _options),
    Declared.PREDICTOR: (_caller, _signature, _predictor_options),
    Declared.SUB_MODULE: (_getter, _sub_module_type, _sub_module_options),
}
