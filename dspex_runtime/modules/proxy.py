"""What a client holds for a hosted module: a dspy.Module whose calls run in the module's process.

Everything of ours is behind `.dx`; every other name belongs to dspy and its users. It has no predictors of its own, so that
`named_parameters()` and `get_lm()` behave as those of an empty module.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

import dspy


class Ref(Protocol):
    """What the proxy needs of a reference to a running module."""

    @property
    def id(self) -> str:
        """Full id."""
        ...

    def call(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a method and wait."""
        ...

    async def acall(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call a method and await."""
        ...


_logger: Final = logging.getLogger(dspy.Module.__module__)


class _Discouraged:
    """`forward`, and dspy's warning to whoever takes it from a module other than by calling that."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __get__(self, proxy: Any, cls: type) -> Any:
        if proxy is None:
            return self._function
        if sys._getframe(1).f_code.co_name != "__call__":
            called = f"Calling module.forward(...) on {cls.__name__} directly is discouraged."
            _logger.warning(f"{called} Please use module(...) instead.")
        return self._function.__get__(proxy, cls)


class ModuleProxy(dspy.Module):  # type: ignore[misc]
    """A module in another process; valid across its restarts. Copies share the process."""

    # dspy's is a Python function on the way to every attribute, for the one warning that `_Discouraged` gives.
    __getattribute__ = object.__getattribute__

    def __init__(self, ref: Ref) -> None:
        super().__init__()
        self.__dict__["dx"] = ref

    @property
    def dx(self) -> Any:
        """The reference: parameters, metrics, other methods, streams.

        Cost: 0.05 us more for each attribute than of a reference of one's own; whoever reads parameters in a loop takes
        `params = rt.ref("qa").params` out of it.
        """
        return self.__dict__["dx"]

    @_Discouraged
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's own call in its process."""
        return self.__dict__["dx"].call("__call__", *args, **kwargs)

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's own call in its process, awaited."""
        return await self.__dict__["dx"].acall("__call__", *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleProxy:
        copy = type(self)(self.__dict__["dx"])
        memo[id(self)] = copy
        return copy

    def __copy__(self) -> ModuleProxy:
        return type(self)(self.__dict__["dx"])

    def __reduce__(self) -> Any:
        raise TypeError(f"a ModuleProxy cannot be pickled: send its id {self.__dict__['dx'].id!r} and call rt.module(id) there")

    def __repr__(self) -> str:
        return f"<ModuleProxy {self.__dict__['dx'].id!r}>"
