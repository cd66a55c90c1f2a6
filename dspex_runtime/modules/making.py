"""Objects of dspy from what a configuration says of them: an LM, an adapter, callbacks. Never shows an argument: it may be a key.

What is said is text ("pkg:Name", "file.py:Name"), a map {"class": text, "args": map or list}, a map {"pickled": bytes} from a
client, or the object itself. A class is built, a function is called, anything else is taken as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM
from dspy.utils.callback import BaseCallback

from dspex_runtime.errors import StartError

__all__ = ["make_adapter", "make_callbacks", "make_factory", "make_lm", "make_rm"]


def make_lm(spec: Mapping[str, Any]) -> Any:
    """Return the LM that `lm:` describes: {"model": ..., options}, {"class": "file.py:Name", "args": {...}} or {"pickled": bytes}.

    The API key is the one in the spec; nothing is looked up elsewhere by us.

    Raises:
        StartError: The spec describes no LM.
    """
    if "class" in spec or "pickled" in spec:
        return _made(spec, "lm", BaseLM)
    options = dict(spec)
    model = options.pop("model", None)
    if not isinstance(model, str):
        raise StartError(f"lm needs a model or a class, got the keys {sorted(spec)}")
    callbacks = [_made(entry, "lm.callbacks", BaseCallback) for entry in options.pop("callbacks", None) or ()]
    # "${LM_API_BASE:-}" of a config leaves an empty text where nothing is meant.
    said = {key: value for key, value in options.items() if value not in ("", None)}
    return dspy.LM(model, callbacks=callbacks or None, **said)


def make_adapter(spec: Any) -> Any:
    """Return the adapter that `dspy.adapter` describes; see `make_lm` for what is raised."""
    return _made(spec, "dspy.adapter", dspy.Adapter)


def make_rm(spec: Any) -> Any:
    """Return the retrieval model that `dspy.rm` describes: anything that can be called."""
    return _made(spec, "dspy.rm", None)


def make_factory(spec: Any) -> Any:
    """Return the interpreter factory that `dspy.interpreter_factory` describes. It is not called: dspy does that, each time."""
    target, args, kwargs = _parts(spec)
    found = _found(target, "dspy.interpreter_factory", None)
    if not callable(found):
        raise StartError(f"dspy.interpreter_factory: {_named(target)} is {_kind(found)}; expected what can be called")
    return functools.partial(found, *args, **kwargs) if args or kwargs else found


def make_callbacks(specs: Any) -> None:
    """Put the callbacks into dspy's settings, in order, and no others.

    A function that returns None has put its own there, as `mlflow.dspy:autolog` does.
    """
    dspy.configure(callbacks=[])
    for spec in specs:
        made = _made(spec, "dspy.callbacks", BaseCallback, may_be_none=True)
        if made is not None:
            dspy.configure(callbacks=[*dspy.settings.callbacks, made])


def _made(spec: Any, what: str, expected: type | None, *, may_be_none: bool = False) -> Any:
    """Return the object of a spec: one of `expected`, or (None) anything that can be called."""
    target, args, kwargs = _parts(spec)
    found = _found(target, what, expected)
    what = f"{what}: {_named(target)}"
    made = found
    if isinstance(found, type) or (inspect.isroutine(found) and not _fits(found, expected)):
        made = _called(found, args, kwargs, what)
        if made is None and may_be_none:
            return None
    elif args or kwargs:
        raise StartError(f"{what} is an object already and takes no args")
    if not _fits(made, expected):
        wanted = f"a dspy {expected.__name__}" if expected is not None else "what can be called"
        raise StartError(f"{what} gives {_kind(made)}; expected {wanted}")
    return made


def _fits(value: Any, expected: type | None) -> bool:
    return callable(value) if expected is None else isinstance(value, expected)


def _parts(spec: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the target, and the positional and keyword arguments."""
    if not isinstance(spec, Mapping):
        return spec, (), {}
    if "pickled" in spec:
        import pickle

        return pickle.loads(spec["pickled"]), (), {}  # the client that sent it may run code here anyway
    args = spec.get("args") or {}
    return spec["class"], (() if isinstance(args, Mapping) else tuple(args)), (dict(args) if isinstance(args, Mapping) else {})


def _found(target: Any, what: str, expected: type | None) -> Any:
    from dspex_runtime.host.targets import resolve

    if not isinstance(target, str):
        return target

    def fits(value: Any) -> bool:
        if inspect.isclass(value):
            return expected is None or (issubclass(value, expected) and value is not expected)
        return inspect.isfunction(value) or (expected is not None and isinstance(value, expected))

    where = target if ":" in target else f"dspy:{target}"
    try:
        return resolve(where, "names that fit", fits)
    except StartError as exc:
        raise StartError(f"{what}: {exc}") from None


def _called(found: Any, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> Any:
    try:
        return found(*args, **kwargs)
    except TypeError as exc:
        given = ", ".join([*(["..."] * len(args)), *(f"{name}=..." for name in kwargs)])
        raise StartError(f"{what} cannot be built with ({given}): {exc}") from exc


def _named(target: Any) -> str:
    return target if isinstance(target, str) else _kind(target)


def _kind(value: Any) -> str:
    """Return what a value is, without its value."""
    return f"the class {value.__qualname__}" if isinstance(value, type) else f"a {type(value).__name__}"
