"""What a client holds for a hosted module: a dspy.Module whose calls run in the module's process.

Everything of ours is behind `.dx`; every other name belongs to dspy and its users. It has no predictors of its own, so that
`named_parameters()` and `get_lm()` behave as those of an empty module.
"""

from __future__ import annotations

from typing import Any, Protocol

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


class ModuleProxy(dspy.Module):  # type: ignore[misc]
    """A module in another process; valid across its restarts. Copies share the process."""

    def __init__(self, ref: Ref) -> None:
        super().__init__()
        self.__dict__["dx"] = ref

    @property
    def dx(self) -> Any:
        """The reference: parameters, metrics, other methods, streams."""
        return self.__dict__["dx"]

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
