"""What a compile needs of its caller, made ready to travel: optimizer, metric, data, settings. Imports no dspy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from dspex_runtime.client.pickling import pickled, pickled_instance
from dspex_runtime.client.rebuilding import constructor_arguments
from dspex_runtime.client.target import caller_path, located
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, UnserialisableError

__all__ = ["Data", "job_of"]

#: Examples or maps of their fields; or a file with one map in JSON per line.
Data: TypeAlias = Iterable[Any] | str | os.PathLike[str]


def job_of(
    optimizer: Any,
    trainset: Data,
    metric: Callable[..., Any] | str | None,
    valset: Data | None,
    inputs: Sequence[str] | None,
    options: Mapping[str, Any],
) -> bytes:
    """Return what the compile process gets, see `modules.compiling.driver`; the LM that this thread has set goes with it.

    Raises:
        ConfigError: An argument is of another kind, or a file cannot be read.
        UnserialisableError: Something cannot leave this process.
    """
    if isinstance(inputs, str):
        raise ConfigError(f"inputs is a list of names; got the text {inputs!r}")
    job = {
        "optimizer": located(optimizer) if isinstance(optimizer, str) else _portable(optimizer),
        "options": dict(options),
        "metric": located(metric) if isinstance(metric, str) else metric,
        "inputs": None if inputs is None else list(inputs),
        "trainset": _examples("trainset", trainset),
        "valset": None if valset is None else _examples("valset", valset),
        "settings": _settings(),
    }
    # Where to find what goes by name is known before any of it is looked for.
    return pickled((caller_path(), pickled_instance(job, "compile")))


def _portable(optimizer: Any) -> Any:
    """Return an optimizer as it is, or how to build it again where it holds what cannot leave this process."""
    if isinstance(optimizer, type):
        return {"class": optimizer, "arguments": {}}
    try:
        pickled_instance(optimizer, "optimizer")
    except UnserialisableError as exc:
        return {"class": type(optimizer), "arguments": constructor_arguments(optimizer, exc)}
    return optimizer


def _settings() -> dict[str, Any]:
    if "dspy" not in sys.modules:
        return {}
    from dspex_runtime.modules.compiling import settings as compiling_settings

    return compiling_settings.of_caller()


def _examples(what: str, data: Data) -> list[Any]:
    if isinstance(data, str | os.PathLike):
        return _read(what, os.fspath(data))
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise ConfigError(f"{what} is a list of Examples or maps, or the name of a JSONL file; got {show(data)}")
    return list(data)


def _read(what: str, path: str) -> list[Any]:
    found: list[Any] = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append(_example(f"{path}, line {number}", line))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{what} cannot be read: {exc}") from None
    return found


def _example(place: str, line: str) -> dict[str, Any]:
    try:
        example = json.loads(line)
    except ValueError as exc:
        raise ConfigError(f"{place}: not JSON: {exc}") from None
    if not isinstance(example, dict):
        raise ConfigError(f"{place}: expected an object with the fields of an example, got {type(example).__name__}")
    return example
