"""What a swap needs of its caller, made ready to travel: the new version, and the code that runs in its process.

Never asks the runtime.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, TypeAlias

from dspex_runtime.client.pickling import pickled_instance
from dspex_runtime.client.target import arguments, caller_path, described, located
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.host import sent_code

__all__ = ["Migrate", "Verify", "member", "seconds"]

#: A function, or where one is: "file.py:fn", "pkg.mod:fn".
Migrate: TypeAlias = Callable[..., Any] | str
#: As `Migrate`; or the name of a method; or a command and its arguments.
Verify: TypeAlias = Callable[..., Any] | str | list[str]

FUNCTION_IS = 'a function, or "file.py:fn" or "pkg.mod:fn"'


def member(
    id: str,
    to: Any = None,
    args: Iterable[Any] | Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    version: str | None = None,
    migrate: Migrate | None = None,
    verify: Verify | None = None,
    extra: Any = None,
) -> dict[str, Any]:
    """Return what the runtime is told of one child that is swapped; see `swapping.swap` for the arguments.

    Raises:
        ConfigError: An argument is of another kind, or a file is not there.
        UnserialisableError: Something cannot leave this process.
    """
    if version is not None and not isinstance(version, str):
        raise ConfigError(f'version is text, such as "2.1.0"; got {show(version)}', id=id)
    return {
        "id": id,
        "spec": _spec(to, _arguments(args, kwargs)),
        "version": version,
        "migrate": None if migrate is None else _function("migrate", migrate),
        "verify": None if verify is None else _verify(verify),
        "extra": None if extra is None else _carried(extra, "extra"),
    }


def seconds(what: str, value: Any, *, least: str = "") -> float | None:
    """Return a duration as seconds; None for None and for no end.

    Raises:
        ConfigError: It is none, or 0 where the text says that it is to be more.
    """
    from dspex_runtime.config.durations import EXPECTED, parse_duration

    if value is None or value == inf:
        return None
    try:
        found = parse_duration(value)
    except ValueError:
        found = -1.0
    if found < 0 or (least and found == 0):
        raise ConfigError(f"{what} is {EXPECTED}{least}, or None; got {show(value)}")
    return found


def _spec(to: Any, told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the keys of the child that others take the place of; None for none."""
    if to is None:
        # It looks for its own code where it did. What only this process would find is looked for behind that.
        if told is not None and "pickled_args" in told:
            told["pickled_args"] = _behind_its_own(sent_code.opened, told["pickled_args"])
        return told
    spec = described(to)
    is_built = not isinstance(to, str | type) or (isinstance(to, str) and os.path.isdir(next(iter(spec.values()))))
    if told is None and is_built:
        told = {"args": []}  # those that there are were for building another one
    return {**spec, **(told or {}), "sys_path": caller_path()}


def _arguments(args: Any, kwargs: Any) -> dict[str, Any] | None:
    if args is None and kwargs is None:
        return None
    if isinstance(args, Mapping):  # as in YAML
        args, kwargs = (), {**args, **(kwargs or {})}
    if isinstance(args, str | bytes) or not isinstance(args, Iterable | None):
        raise ConfigError(f"args is a list of positional arguments, or a map of named ones; got {show(args)}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise ConfigError(f"kwargs is a map of named arguments; got {show(kwargs)}")
    return arguments(tuple(args or ()), kwargs or {}) or {"args": []}


def _verify(verify: Any) -> dict[str, Any]:
    if isinstance(verify, list | tuple) and verify and all(isinstance(word, str) and word for word in verify):
        program, *words = verify
        # The runtime stands in another folder than who names a program of this one.
        return {"command": [os.path.abspath(program) if os.sep in program else program, *words]}
    if isinstance(verify, str) and verify.isidentifier():
        return {"call": verify}
    wanted = f"{FUNCTION_IS}, the name of a method, or a command as a list of words"
    return {"pickled": _function("verify", verify, wanted)}


def _function(what: str, function: Any, wanted: str = FUNCTION_IS) -> bytes:
    if isinstance(function, str) and all(function.rpartition(":")):
        return _behind_its_own(sent_code.named, located(function))
    if not callable(function):
        raise ConfigError(f"{what} is {wanted}; got {show(function)}")
    return _carried(function, what)


def _carried(value: Any, what: str) -> bytes:
    return _behind_its_own(sent_code.opened, pickled_instance(value, what))


class _Call:
    """Pickled it is the result of a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def _behind_its_own(function: Callable[[list[str], Any], Any], what: Any) -> bytes:
    return pickle.dumps(_Call(function, caller_path(), what))
