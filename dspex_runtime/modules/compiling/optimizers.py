"""The optimizer of a compile: found by its name, taken as it came or built from its arguments, and which options go where.

An option of a class name is an argument of its constructor, else of its `compile`; of an instance, of `compile`. Never runs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dspy.teleprompt
from dspy.teleprompt.teleprompt import Teleprompter

from dspex_runtime.config.suggestions import suggest
from dspex_runtime.errors import CompileError, StartError
from dspex_runtime.host.targets import resolve

__all__ = ["Run", "metric_of", "named", "optimizers", "prepared"]

_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_SHOWN: Final = 200  # characters of an option in the record of a run


@dataclass(frozen=True, slots=True)
class Run:
    """An optimizer and what its `compile` gets beside the program.

    Attributes:
        label: Name of its class.
        shown: The options as plain data, for the record.
    """

    label: str
    optimizer: Any
    arguments: dict[str, Any]
    shown: dict[str, Any]

    def compile(self, student: Any) -> Any:
        """Run it."""
        return self.optimizer.compile(student, **self.arguments)


def optimizers() -> dict[str, type]:
    """Return the optimizers that the installed dspy has, by name."""
    found = {name: getattr(dspy.teleprompt, name) for name in dspy.teleprompt.__all__}
    return {name: cls for name, cls in found.items() if isinstance(cls, type) and issubclass(cls, Teleprompter)}


def named(name: str) -> type:
    """Return an optimizer's class by its name in dspy, or by "pkg.mod:Name" or "file.py:Name".

    Raises:
        CompileError: There is none of that name, or it is none.
    """
    known = optimizers()
    if name in known:
        return known[name]
    if ":" not in name:
        hint = suggest(name, known) or f"there are {', '.join(sorted(known))}; one of your own is 'pkg.mod:Name' or 'file.py:Name'"
        raise CompileError(f"dspy has no optimizer {name!r}", hint=hint)
    try:
        found = resolve(name)
    except StartError as exc:
        raise CompileError(f"the optimizer cannot be had: {exc}") from None
    if not isinstance(found, type) or not callable(getattr(found, "compile", None)):
        raise CompileError(f"{name} is no optimizer: expected a class with a compile(student, ...) method, got {found!r:.100}")
    return found


def metric_of(metric: Any) -> Callable[..., Any] | None:
    """Return the metric: a function, or the one that "file.py:fn" names.

    Raises:
        CompileError: It is neither, or there is none of that name.
        Exception: The file cannot be imported.
    """
    try:
        found = resolve(metric, "functions", inspect.isroutine) if isinstance(metric, str) else metric
    except StartError as exc:
        raise CompileError(f"the metric cannot be had: {exc}") from None
    if found is not None and not callable(found):
        raise CompileError(f"metric is a function of (example, prediction, trace), or 'file.py:fn'; got {found!r:.100}")
    return found  # type: ignore[no-any-return]


def prepared(
    wanted: Any, options: dict[str, Any], metric: Callable[..., Any] | None, *, trainset: list[Any], valset: list[Any] | None
) -> Run:
    """Return what is to be run.

    Raises:
        CompileError: It is no optimizer, makes no program of one program, an option is unknown, or a metric is missing.
    """
    match wanted:
        case str():
            return _of_class(named(wanted), options, metric, trainset, valset)
        case {"class": cls, "arguments": dict(arguments)}:
            optimizer = _built(cls, arguments)
        case _:
            optimizer = wanted
    if not callable(getattr(optimizer, "compile", None)):
        raise CompileError(f"an optimizer is an instance with a compile(student, ...) method, or its name; got {optimizer!r:.100}")
    if metric is not None and getattr(optimizer, "metric", ...) is None:
        optimizer.metric = metric
    return _run(optimizer, options, options, trainset, valset)


def _of_class(
    cls: type, options: dict[str, Any], metric: Callable[..., Any] | None, trainset: list[Any], valset: list[Any] | None
) -> Run:
    accepted, is_open = _constructor(cls)
    of_compile = _parameters(cls.compile)  # type: ignore[attr-defined]
    _check_compile(cls.__name__, of_compile)
    arguments = {name: options[name] for name in options if name in accepted}
    later = {name: options[name] for name in options if name not in accepted and name in of_compile}
    for name in options.keys() - arguments.keys() - later.keys():
        near = suggest(name, [*accepted, *of_compile])
        if near or not is_open:
            raise _unknown(cls.__name__, name, [*accepted, *(n for n in of_compile if n not in _OURS)], near)
        arguments[name] = options[name]
    for name, value in (("metric", metric), ("trainset", trainset)):
        if name in accepted and (value is not None or accepted[name].default is inspect.Parameter.empty):
            arguments.setdefault(name, value)
    if arguments.get("metric", ...) is None and accepted["metric"].default is inspect.Parameter.empty:
        raise CompileError(
            f"{cls.__name__} needs a metric", hint="metric=function, or 'file.py:fn'; of the CLI --metric file.py:fn"
        )
    return _run(_built(cls, arguments), options, later, trainset, valset)


def _run(optimizer: Any, options: dict[str, Any], later: dict[str, Any], trainset: Any, valset: Any) -> Run:
    label = type(optimizer).__name__
    parameters = _parameters(type(optimizer).compile)
    _check_compile(label, parameters)
    is_open = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [name for name in later if name in _OURS or (name not in parameters and not is_open)]
    if unknown:
        allowed = [name for name, parameter in parameters.items() if name not in _OURS and parameter.kind in _NAMED]
        raise _unknown(f"{label}.compile", unknown[0], allowed, suggest(unknown[0], allowed))
    arguments = dict(later)
    if "trainset" in parameters or is_open:
        arguments["trainset"] = trainset
    if valset is not None and ("valset" in parameters or is_open):
        arguments["valset"] = valset
    return Run(label, optimizer, arguments, {name: _plain(value) for name, value in options.items()})


_OURS: Final = frozenset({"self", "student", "trainset", "valset"})


def _check_compile(label: str, parameters: Mapping[str, inspect.Parameter]) -> None:
    if "student" not in parameters:
        takes = ", ".join(name for name in parameters if name != "self") or "nothing"
        raise CompileError(
            f"{label} makes another program, not another state of this one: its compile takes {takes}",
            hint=f"use {label} in your own program, over the proxies of hosted modules",
        )


def _constructor(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments that a constructor takes, those of its base included where it passes any on; whether it takes others."""
    accepted: dict[str, inspect.Parameter] = {}
    is_open = False
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = _parameters(vars(base)["__init__"])
        for name, parameter in parameters.items():
            if name != "self" and parameter.kind in _NAMED:
                accepted.setdefault(name, parameter)
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
        is_open = True
    return accepted, is_open


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def _built(cls: type, arguments: Mapping[str, Any]) -> Any:
    try:
        return cls(**arguments)
    except Exception as exc:
        raise CompileError(f"{cls.__name__} cannot be built: {type(exc).__name__}: {exc}") from exc


def _unknown(label: str, name: str, allowed: list[str], near: str) -> CompileError:
    listed = ", ".join(dict.fromkeys(name for name in allowed if name != "self"))
    return CompileError(f"{label} has no option {name!r}", hint="; ".join(filter(None, (near, f"it has {listed}"))))


def _plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float):
        return value
    return str(value)[:_SHOWN]
