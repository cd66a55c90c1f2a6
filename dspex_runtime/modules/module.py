"""`dx.Module`: a dspy.Module with declared members. In everything else it is the dspy.Module that it inherits from.

A declared `Parameter` is a data descriptor on the class, and a cell (a dspy.Parameter) under the same name in the instance's
`__dict__`: attribute access gives the value, and dspy's named_parameters, dump_state, load_state, save, load, reset_copy and
deepcopy see the cell. Works without a runtime; inside one the cells are bound to the table, and a copy of the module is not.
Declared predictors and sub-modules are in `members`. What is added beside them (`train`, `executions`, ...) are methods, which an
attribute of the user's hides: no name of a dspy program means anything else here.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import dspy
from dspy.primitives.module import ProgramMeta

from dspex_runtime.modules.accessors import generate, kind_of
from dspex_runtime.modules.calls import ATTRIBUTE as CALLS
from dspex_runtime.modules.calls import calls_of
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.members import build_members, declared_by, members_of
from dspex_runtime.modules.metadata import describe
from dspex_runtime.modules.mirror.following import without_remote
from dspex_runtime.modules.parts import OF_CALLS
from dspex_runtime.modules.parts_process import switch_parts
from dspex_runtime.modules.reserved import Declared, refusal
from dspex_runtime.modules.state_loading import load_onto_pristine
from dspex_runtime.params.cell import Cell
from dspex_runtime.params.parameter import Shared, declared


def materialise(module: Any) -> None:
    """Give a module the cells that it lacks; one that was made at its first use (of a plain dspy.Module) becomes dspy's."""
    attributes = module.__dict__
    for name, parameter in declared_by(type(module)).parameters.items():
        cell = attributes.get(name)
        if not isinstance(cell, DspyCell):
            attributes[name] = DspyCell(parameter.spec, name)
            if isinstance(cell, Cell):
                attributes[name].__setstate__(cell.__getstate__())
                attributes[name].begin()


class ModuleMeta(ProgramMeta):  # type: ignore[misc] # dspy has no types
    """Checks the declarations of a class when it is made, builds an instance's parts before its __init__, settles it after."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> None:  # noqa: N805
        super().__init__(name, bases, namespace, **options)
        parameters, members = declared(cls), members_of(cls)
        every = {*parameters, *members}
        kinds = {attribute: kind_of(member) for attribute, member in members.items()}
        shared = [attribute for attribute, member in namespace.items() if isinstance(member, Shared)]
        for attribute in (*parameters, *members, *shared):
            reason = refusal(attribute, every, kinds.get(attribute, Declared.PARAMETER))
            if reason is not None:
                raise TypeError(f"{cls.__qualname__}.{attribute} needs another name: {reason}")
        for attribute, member in members.items():
            reason = member.refusal()
            if reason is not None:
                raise TypeError(f"{cls.__qualname__}.{attribute}: {reason}")
        for attribute in (*parameters, *members):
            generate(cls, attribute, kinds.get(attribute, Declared.PARAMETER))
        cls.__compiled_at__ = time.time()

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Build an instance as dspy's metaclass does, which leaves no room for what comes between its init and the class's."""
        obj: Any = cls.__new__(cls, *args, **kwargs)
        if isinstance(obj, cls):
            dspy.Module._base_init(obj)
            build_members(obj)
            cls.__init__(obj, *args, **kwargs)
            for name in OF_CALLS:
                if not hasattr(obj, name):
                    setattr(obj, name, [])
            for name in declared_by(type(obj)).parameters:
                cell = obj.__dict__.get(name)
                if cell is not None:  # else a __new__ of the user's own went past ours
                    cell.begin()  # what __init__ assigned is the initial value
        return obj


class Module(dspy.Module, metaclass=ModuleMeta):  # type: ignore[misc]
    """A DSPy program whose parameters can be declared, seen by other processes, and outlive it.

    Declared in the class body, used as plain attributes: `temperature = dx.Parameter(float, default=0.2, min=0, max=2)`,
    `answer = dx.predictor("question -> answer")`, `retriever = dx.sub_module("retrieval:BM25", inline=True)`. Define `forward` or
    `aforward`; optional are setup(), terminate(reason), get_state() and set_state(state).

    In a hot swap parameters that somebody has set keep their value, and a state goes from get_state() to set_state(). To change
    them on the way define `code_change(old_version, state, extra)`: `state` is {"params": {name: value}, "state": what get_state()
    returned, or None}, and so is what it returns. What is returned as it came counts as not touched.

    Attributes:
        module_config: Anything plain about the class; shown by `__module_metadata__()`.
    """

    training = False  # see train(); a class attribute, so that a program's own attribute of that name is no conflict
    module_config: ClassVar[Mapping[str, Any]] = {}
    __compiled_at__: ClassVar[float]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the cells, before dspy's and any other __init__; also of a copy and of what is unpickled."""
        base = super().__new__
        obj: Self = base(cls) if base is object.__new__ else base(cls, *args, **kwargs)
        materialise(obj)
        return obj

    def train(self) -> Self:
        """Switch this module and all dx.Modules inside it to training, its parts in other processes too.

        What that means is up to their `forward`.
        """
        return self._switch(True)

    def eval(self) -> Self:
        """Switch this module and all dx.Modules inside it to evaluation, the mode they begin in; see `train`."""
        return self._switch(False)

    def _switch(self, training: bool) -> Self:
        for _, module in self.named_sub_modules(type_=Module):
            module.training = training
        switch_parts(self, "train" if training else "eval")
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the program as dspy does, and remember for `executions` and `metrics` how that went."""
        began = time.monotonic_ns()
        try:
            result = super().__call__(*args, **kwargs)
        except BaseException as exc:
            calls_of(self).record(began, time.monotonic_ns(), exc)
            raise
        calls_of(self).record(began, time.monotonic_ns(), None)
        return result

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Call it awaited; remembered, too."""
        began = time.monotonic_ns()
        try:
            result = await super().acall(*args, **kwargs)
        except BaseException as exc:
            calls_of(self).record(began, time.monotonic_ns(), exc)
            raise
        calls_of(self).record(began, time.monotonic_ns(), None)
        return result

    def executions(self, n: int = 20) -> list[dict[str, Any]]:
        """Return the last n calls of this object, newest first: method, started_at, duration_ms, ok, error."""
        return calls_of(self).executions(n)

    def metrics(self) -> dict[str, Any]:
        """Return the figures of this object's calls: count, failures, success_rate, avg_ms, p50_ms, p99_ms, busy_s, last_error."""
        return calls_of(self).summary()

    def compile_status(self) -> str:
        """Return "compiled" once an optimizer has frozen the program (dspy's `_compiled`), before that "not_compiled"."""
        return "compiled" if getattr(self, "_compiled", False) else "not_compiled"

    @classmethod
    def __module_metadata__(cls) -> dict[str, Any]:
        """Return what the class declares: module, parameters, predictors, sub_modules, config, compiled_at (when it was made)."""
        return describe(cls)

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Return the parameters as dspy does, those of parts in processes of their own, too."""
        return without_remote(super().named_parameters(), self)

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Any:
        """Load what `dump_state` returned, as dspy does: all of it or, when any part is refused, nothing.

        A parameter that the state does not know, because it is older, gets its default. Every predictor's signature is loaded
        onto the one it was built with, so that a module can be loaded any number of times.
        """
        return load_onto_pristine(self, state, partial(super().load_state, allow_unsafe_lm_state=allow_unsafe_lm_state))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A program saved before a member was declared has a new one; one saved under other limits has today's.
        materialise(self)
        build_members(self)
        for name, parameter in declared_by(type(self)).parameters.items():
            cell = self.__dict__[name]
            if cell.spec is not parameter.spec:
                cell.spec = replace(parameter.spec, default=cell.spec.default)

    def __copy__(self) -> Self:
        """Return a shallow copy; its parameters are its own, as any attribute of a copy that is assigned to."""
        twin = type(self).__new__(type(self))
        attributes: Any = self.__getstate__()
        attributes.pop(CALLS, None)
        twin.__setstate__(attributes)
        for name, value in twin.__dict__.items():
            if isinstance(value, Cell):
                twin.__dict__[name] = copy.deepcopy(value)
        return twin
