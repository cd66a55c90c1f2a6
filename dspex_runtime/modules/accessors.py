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


def generate(cls: type, name: str, declared: Declared) -> None:
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


def _of_declaration(kind: type[T], read: Callable[[T], Any], doc: str) -> Callable[[type, str, str], Any]:
    """Return what makes a class method that reads the declaration of a member; `doc` has a place for the member's name."""

    def make(cls: type, accessor: str, name: str) -> Any:
        def read_it(cls: type) -> Any:
            found = getattr(cls, name, None)
            if not isinstance(found, kind):
                raise AttributeError(f"{cls.__qualname__}.{name} is no {_WORDS[kind]} any more: a subclass overrides it")
            return read(found)

        return classmethod(_named(read_it, cls, accessor, doc.format(name)))

    return make


def _parameter_options(parameter: Parameter) -> dict[str, Any]:
    meta = parameter.spec.to_meta()
    del meta["type"]
    return meta


def _named(function: Callable[..., Any], cls: type, name: str, doc: str) -> Callable[..., Any]:
    function.__name__, function.__qualname__, function.__doc__ = name, f"{cls.__qualname__}.{name}", doc
    return function


_WORDS: Final[dict[Any, str]] = {Parameter: "dx.Parameter", Predictor: "dx.predictor", SubModule: "dx.sub_module"}
_MAKERS: Final = {
    Declared.PARAMETER: (
        _getter,
        _setter,
        _of_declaration(Parameter, lambda declared: declared.spec.type.value, "Return the type of the parameter {}, as a word."),
        _of_declaration(Parameter, _parameter_options, "Return what else was declared of the parameter {}."),
    ),
    Declared.PREDICTOR: (
        _caller,
        _of_declaration(Predictor, lambda declared: declared.signature, "Return the signature of the predictor {}, a class."),
        _of_declaration(Predictor, predictor_options, "Return the kind and the options of the predictor {}."),
    ),
    Declared.SUB_MODULE: (
        _getter,
        _of_declaration(SubModule, lambda declared: declared.type_name, 'Return the class of the sub-module {}: "pkg.mod:Name".'),
        _of_declaration(SubModule, sub_module_options, "Return what else was declared of the sub-module {}."),
    ),
}
