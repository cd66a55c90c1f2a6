"""The same program, called while something is down that it depends on: its `forward_degraded`, or another module, answers.

A view of a program is of a subclass of its class and has its very attributes: whatever either of them sets, both have. It is called
as any program of dspy's is, so trace, history, callbacks and usage are kept as for `forward`. Never changes the program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from functools import lru_cache
from types import MethodType
from typing import Any, Final

import dspy

from dspex_runtime.host import sub_modules
from dspex_runtime.host.context import current_request
from dspex_runtime.modules import forwards
from dspex_runtime.modules.module import Module
from dspex_runtime.types import Kind

FORWARD_DEGRADED: Final = "forward_degraded"


class _Instead:
    """A method that goes before one of the same name in the instance."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._function if instance is None else MethodType(self._function, instance)

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value  # the program's own, as it is when it is up again


def degrades(cls: type) -> bool:
    """Return whether a class has a `forward_degraded`."""
    return callable(getattr(cls, FORWARD_DEGRADED, None))


def is_async(module: Any, fallback: str | None) -> bool:
    """Return whether the answer is awaited: by an async `forward_degraded`, or for a program that has no `forward`."""
    if degrades(type(module)):
        return inspect.iscoroutinefunction(getattr(type(module), FORWARD_DEGRADED))
    return not forwards.has(module, "forward") and fallback is not None


def note() -> None:
    """Have the call that is being served be recorded as degraded."""
    request = current_request.get()
    if request is not None:
        request.degraded = True


def noted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that notes so when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        note()
        return function(*args, **kwargs)

    return call


def view(module: Any, fallback: str | None) -> Any:
    """Return a program as it is called while something is down.

    Args:
        module: The program.
        fallback: Full id of the module that answers where the class has no `forward_degraded`.

    Raises:
        NoProcessError: There is no such module.

    Cost: The first one of a class asks the parent which module that is, so on no event loop's thread.
    """
    cls: Any = type(module)
    shown: Any = object.__new__(_class_for(cls, fallback))
    shown.__dict__ = module.__dict__
    return shown


@lru_cache(maxsize=64)
def _class_for(cls: Hashable, fallback: str | None) -> type:
    assert isinstance(cls, type)
    own = getattr(cls, FORWARD_DEGRADED, None)
    if callable(own):
        forward, aforward = (None, own) if inspect.iscoroutinefunction(own) else (own, None)
    else:
        assert fallback is not None
        other = sub_modules.fallback(fallback, Kind.MODULE)
        forward, aforward = _asking(other), _awaiting(other)
    body: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    for name, function, called_by in (("forward", forward, "__call__"), ("aforward", aforward, "acall")):
        if function is not None:
            body[name] = _Instead(function)
            if not callable(getattr(cls, name, None)):  # a `__call__` of its own would not come to it
                body[called_by] = getattr(Module if issubclass(cls, Module) else dspy.Module, called_by)
    return type(cls)(cls.__name__, (cls,), body)


def _asking(other: Any) -> Callable[..., Any]:
    def forward(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return other(*args, **kwargs)

    return forward


def _awaiting(other: Any) -> Callable[..., Any]:
    async def aforward(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return await other.acall(*args, **kwargs)

    return aforward
