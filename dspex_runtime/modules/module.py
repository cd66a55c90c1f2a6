"""`dx.Module`: a dspy.Module with declared parameters. In everything else it is the dspy.Module that it inherits from.

A declared `Parameter` is a data descriptor on the class, and a cell (a dspy.Parameter) under the same name in the instance's
`__dict__`: attribute access gives the value, and dspy's named_parameters, dump_state, load_state, save, load, reset_copy and
deepcopy see the cell. Works without a runtime; inside one the cells are bound to the table, and a copy of the module is not.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

import dspy
from dspy.primitives.module import ProgramMeta

from dspex_runtime.modules.accessors import generate
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.pristine import pristine
from dspex_runtime.modules.reserved import refusal
from dspex_runtime.params.cell import Cell
from dspex_runtime.params.parameter import Parameter, Shared, declared

# By class, filled at its first instance: cloudpickle makes a class empty and fills it later.
_parameters: Final[WeakKeyDictionary[type, dict[str, Parameter]]] = WeakKeyDictionary()


def parameters_of(cls: type) -> dict[str, Parameter]:
    """Return the declared parameters of a class by name, looked up once."""
    found = _parameters.get(cls)
    if found is None:
        found = _parameters[cls] = declared(cls)
    return found


def materialise(module: Any) -> None:
    """Give a module the cells that it lacks; one that was made at its first use (of a plain dspy.Module) becomes dspy's."""
    attributes = module.__dict__
    for name, parameter in parameters_of(type(module)).items():
        cell = attributes.get(name)
        if not isinstance(cell, DspyCell):
            attributes[name] = DspyCell(parameter.spec, name)
            if isinstance(cell, Cell):
                attributes[name].__setstate__(cell.__getstate__())
                attributes[name].begin()


class ModuleMeta(ProgramMeta):  # type: ignore[misc] # dspy has no types
    """Checks the declarations of a class when it is made, and settles the parameters of an instance after its __init__."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> None:  # noqa: N805
        super().__init__(name, bases, namespace, **options)
        parameters = declared(cls)
        shared = [attribute for attribute, member in namespace.items() if isinstance(member, Shared)]
        for attribute in (*parameters, *shared):
            reason = refusal(attribute, parameters)
            if reason is not None:
                raise TypeError(f"{cls.__qualname__}.{attribute} needs another name: {reason}")
        for attribute in parameters:
            generate(cls, attribute)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Build an instance as dspy does."""
        obj = super().__call__(*args, **kwargs)
        if isinstance(obj, cls):
            for name in parameters_of(type(obj)):
                cell = obj.__dict__.get(name)
                if cell is not None:  # else a __new__ of the user's own went past ours
                    cell.begin()  # what __init__ assigned is the initial value
        return obj


class Module(dspy.Module, metaclass=ModuleMeta):  # type: ignore[misc]
    """A DSPy program whose parameters can be declared, seen by other processes, and outlive it.

    Parameters are declared in the class body, `temperature = dx.Parameter(float, default=0.2, min=0, max=2)`, and used as plain
    attributes. Define `forward` or `aforward`; optional are setup(), terminate(reason), get_state() and set_state(state).
    """

    training = False  # see train(); a class attribute, so that a program's own attribute of that name is no conflict

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the cells, before dspy's and any other __init__; also of a copy and of what is unpickled."""
        base = super().__new__
        obj: Self = base(cls) if base is object.__new__ else base(cls, *args, **kwargs)
        materialise(obj)
        return obj

    def train(self) -> Self:
        """Switch this module and all dx.Modules inside it to training; what that means is up to their `forward`."""
        return self._switch(True)

    def eval(self) -> Self:
        """Switch this module and all dx.Modules inside it to evaluation, the mode they begin in."""
        return self._switch(False)

    def _switch(self, training: bool) -> Self:
        for _, module in self.named_sub_modules(type_=Module):
            module.training = training
        return self

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Any:
        """Load what `dump_state` returned, as dspy does: all of it or, when any part is refused, nothing.

        A parameter that the state does not know, because it is older, gets its default. Every predictor's signature is loaded
        onto the one it was built with, so that a module can be loaded any number of times.
        """
        named = self.named_parameters()
        if isinstance(self, dspy.Predict):  # one of the user's own: dspy's state of it holds nothing else
            self.signature = pristine(self)
            return super().load_state(state, allow_unsafe_lm_state=allow_unsafe_lm_state)
        missing = {name: p for name, p in named if isinstance(p, DspyCell) and name not in state}
        whole = {**state, **{name: {"value": cell.initial()} for name, cell in missing.items()}}
        predictors = [p for _, p in named if isinstance(p, dspy.Predict)]
        before = [(p, p.signature) for p in predictors]
        try:
            for predictor in predictors:
                predictor.signature = pristine(predictor)
            return super().load_state(whole, allow_unsafe_lm_state=allow_unsafe_lm_state)
        except BaseException:
            for predictor, signature in before:
                predictor.signature = signature
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A program saved before a parameter was declared has its default; one saved under other limits has today's.
        materialise(self)
        for name, parameter in parameters_of(type(self)).items():
            cell = self.__dict__[name]
            if cell.spec is not parameter.spec:
                cell.spec = replace(parameter.spec, default=cell.spec.default)

    def __copy__(self) -> Self:
        """Return a shallow copy; its parameters are its own, as any attribute of a copy that is assigned to."""
        twin = type(self).__new__(type(self))
        attributes: Any = self.__getstate__()
        twin.__setstate__(attributes)
        for name, value in twin.__dict__.items():
            if isinstance(value, Cell):
                twin.__dict__[name] = copy.deepcopy(value)
        return twin
