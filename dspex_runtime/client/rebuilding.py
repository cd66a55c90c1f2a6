"""An object that cannot travel, as the arguments it was built with: read from its attributes, by the names of its constructor.

Knows no dspy. Never guesses: an argument that is kept under no attribute of its name is an error, not a default.
"""

from __future__ import annotations

import inspect
from typing import Any

from dspex_runtime.errors import UnserialisableError

__all__ = ["constructor_arguments"]


def constructor_arguments(built: Any, why: UnserialisableError) -> dict[str, Any]:
    """Return the keyword arguments that make an object like this one, those included that go on to a base by `**kwargs`.

    Args:
        built: Keeps its arguments as attributes of their names, or with an underscore before.
        why: It cannot travel as it is.

    Raises:
        UnserialisableError: An argument is not to be found; names it.
    """
    found: dict[str, Any] = {}
    for cls in type(built).__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise _unknown(built, f"*{parameter.name}", why)
            if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in found:
                found[parameter.name] = _kept(built, parameter.name, why)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _kept(built: Any, name: str, why: UnserialisableError) -> Any:
    for attribute in (name, f"_{name}"):
        if attribute in vars(built):
            return vars(built)[attribute]
    raise _unknown(built, name, why)


def _unknown(built: Any, name: str, why: UnserialisableError) -> UnserialisableError:
    cls = type(built).__qualname__
    return UnserialisableError(
        f"{why.message}; and {cls} cannot be built again from its arguments: it keeps none that is called {name!r}",
        path=why.path,
        hint=f"name its class, with its arguments as options: compile(..., {cls!r}, name=value)",
    )
