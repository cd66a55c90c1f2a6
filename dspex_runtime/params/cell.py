"""One parameter of one object: its value, and the way to set it.

A cell without an owner (a plain object, a copy, a program outside a runtime) keeps version and history itself. A bound cell leaves
both to its owner, the one writer of the module's table, and only holds the value that reads give. A copy, deep or pickled, is
never bound: what is done to it stays with it.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from dspex_runtime.errors import GradientNotRequiredError, ParameterError
from dspex_runtime.params.constraints import check
from dspex_runtime.params.gradient import step
from dspex_runtime.params.spec import ParameterSpec

__all__ = ["HISTORY_LENGTH", "Cell", "Writer", "Written", "no_gradient"]

HISTORY_LENGTH: Final = 100  # of each parameter, as in the original design


class Writer(Protocol):
    """What a bound cell asks of its owner."""

    def set(self, name: str, value: Any, *, who: str) -> Any:
        """Set a parameter for everybody."""

    def apply_gradient(self, name: str, gradient: Any, *, who: str) -> Any:
        """Step a parameter."""

    def rollback(self, name: str, version: int, *, who: str) -> Any:
        """Set a parameter to what it was."""

    def reset(self, name: str, *, who: str) -> Any:
        """Set a parameter to its default."""

    def version(self, name: str) -> int:
        """Return the version that readers see."""


@dataclass(frozen=True, slots=True)
class Written:
    """One line of a parameter's history."""

    version: int
    when: float
    who: str
    value: Any
    old: Any


class Cell:
    """The value of one declared parameter of one object.

    Attributes:
        spec: What it is.
        name: What messages and the owner call it; a path in a program of several modules.
        value: What attribute access gives. Set it with `set`.
        history: The last 100 writes, oldest first; of a cell without an owner.
        grad: The accumulated gradient of such a cell, None before the first.
        owner: Who writes for it, or None.
    """

    __slots__ = ("_version", "grad", "history", "name", "owner", "spec", "value")

    def __init__(self, spec: ParameterSpec, name: str) -> None:
        self.spec = spec
        self.name = name
        self.value = self.initial()
        self.history: deque[Written] = deque(maxlen=HISTORY_LENGTH)
        self.grad: Any = None
        self.owner: Writer | None = None
        self._version = 1

    def initial(self) -> Any:
        """Return the default, as an object of its own where it can be changed in place."""
        return _own(self.spec.default)

    def begin(self) -> None:
        """Take the value so far for the initial one: no history, version 1, and what `reset` gives back."""
        if self._version != 1 and self.owner is None:
            self.spec = replace(self.spec, default=_own(self.value))
            self.history.clear()
            self.grad = None
            self._version = 1

    @property
    def version(self) -> int:
        """1 for the value it began with, one more with every write."""
        return self._version if self.owner is None else self.owner.version(self.name)

    def bind(self, owner: Writer, name: str) -> None:
        """Leave writing to an owner, under a name of its table. The value so far is the initial one and has no history."""
        self.owner, self.name = owner, name
        self.history.clear()
        self.grad = None
        self._version = 1

    def unbind(self) -> None:
        """Write for itself again: its name is no longer one of the table's."""
        self.owner = None

    def load(self) -> Any:
        """Return the value (for the owner, see holders.Holder)."""
        return self.value

    def store(self, value: Any) -> None:
        """Take over a value that is checked and written already (for the owner, see holders.Holder)."""
        self.value = value

    def set(self, value: Any, *, who: str = "module") -> None:
        """Check a value and set it, for everybody where the cell is bound.

        Raises:
            ConstraintViolationError: It is refused; nothing was changed.
            ParameterError: It cannot be written; nothing was changed.
        """
        if self.owner is not None:
            self.owner.set(self.name, value, who=who)
        else:
            self._write(check(self.spec, value, name=self.name), who)

    def apply_gradient(self, gradient: Any, *, who: str = "module") -> None:
        """Take one step of momentum SGD.

        Raises:
            GradientNotRequiredError: It was declared without requires_grad.
            ConstraintViolationError: The gradient, or the value after it, is refused; nothing was changed.
        """
        if self.owner is not None:
            self.owner.apply_gradient(self.name, gradient, who=who)
            return
        spec = self.spec
        if not spec.requires_grad:
            raise no_gradient(self.name)
        value, grad = step(self.value, self.grad, gradient, spec.learning_rate, spec.momentum, name=self.name)
        self._write(check(spec, value, name=self.name), who)
        self.grad = grad

    def rollback(self, version: int, *, who: str = "module") -> None:
        """Set the value that it had at a version; that is a write with a version of its own.

        Raises:
            ParameterError: That version is not kept.
        """
        if self.owner is not None:
            self.owner.rollback(self.name, version, who=who)
            return
        kept = {line.version - 1: line.old for line in self.history} | {line.version: line.value for line in self.history}
        kept[self._version] = self.value
        if version not in kept:
            span = f"{min(kept)} to {max(kept)}"
            raise ParameterError(f"{self.name} has no version {version!r} to go back to; kept are {span}", name=self.name)
        self._write(_own(kept[version]), who)

    def reset(self, *, who: str = "module") -> None:
        """Set the default."""
        if self.owner is not None:
            self.owner.reset(self.name, who=who)
        else:
            self._write(self.initial(), who)
            self.grad = None

    def _write(self, value: Any, who: str) -> None:
        self._version += 1
        self.history.append(Written(self._version, time.time(), who, value, self.value))
        self.value = value

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in Cell.__slots__ if name != "owner"} | getattr(self, "__dict__", {})
        if self.owner is not None:
            state["_version"] = 1  # its versions are the owner's
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.owner = None
        for name, value in state.items():
            setattr(self, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()
        # Neither a spec nor the lines of a history change, nor does the value of most cells; deep copies of all take 0.3 ms.
        kept = {"spec": state.pop("spec"), "history": state.pop("history").copy(), "value": _own(state.pop("value"), memo)}
        twin.__setstate__(copy.deepcopy(state, memo) | kept)
        return twin

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}={self.value!r} version={self.version}>"


def no_gradient(name: str) -> GradientNotRequiredError:
    """Return the error for a gradient that nobody asked for."""
    return GradientNotRequiredError(
        f"{name} takes no gradients: it was declared without requires_grad", name=name, hint="declare it with requires_grad=True"
    )


def _own(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """Return a copy of what can be changed in place; numbers, text and read-only arrays are shared."""
    if type(value) in (int, float, bool, str, type(None)):
        return value
    flags = getattr(value, "flags", None)
    return value if flags is not None and not flags.writeable else copy.deepcopy(value, memo)
