"""dspy made safe after the fork, and configured as the spec says. On the main thread, before the user's module is built.

What a fork inherits and must not keep: who may configure, call history, the trace. What it must never share, LM connections,
is prevented earlier: nothing calls an LM before the fork.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy

from dspex_runtime.errors import StartError

# dspy's own caps are 10 000 calls, 7 MB per process; a thousand modules live on one machine.
MAX_HISTORY: Final = 1000
MAX_TRACE: Final = 1000


def prepare(lm: Mapping[str, Any] | None, settings: Mapping[str, Any] | None) -> None:
    """Reset what was inherited, then configure; the settings hold for every thread of this process.

    Raises:
        StartError: An LM or setting cannot be made from the config.
    """
    _forget_the_zygote()
    configured: dict[str, Any] = {"max_history_size": MAX_HISTORY, "max_trace_size": MAX_TRACE, **(settings or {})}
    if isinstance(configured.get("adapter"), str):
        configured["adapter"] = _make(configured["adapter"], {}, "dspy.adapter")
    if lm is not None:
        configured["lm"] = make_lm(lm)
    dspy.configure(**configured)


@contextmanager
def restored() -> Iterator[None]:
    """Put dspy's settings back at the end: values, and who may configure."""
    settings = _settings_module()
    values = dict(settings.main_thread_config)
    owners = settings.config_owner_thread_id, settings.config_owner_async_task
    try:
        yield
    finally:
        settings.main_thread_config.clear()
        settings.main_thread_config.update(values)
        settings.config_owner_thread_id, settings.config_owner_async_task = owners


def make_lm(spec: Mapping[str, Any]) -> Any:
    """Return the LM that `lm:` describes: {"model": ..., options} or {"class": "file.py:Name", "args": {...}}.

    The API key is the one in the spec; nothing is looked up elsewhere by us.
    """
    options = dict(spec)
    if "class" in options:
        return _make(options["class"], options.get("args") or {}, "lm.class")
    model = options.pop("model", None)
    if not isinstance(model, str):
        raise StartError(f"lm needs a model or a class, got the keys {sorted(spec)}")
    # "${LM_API_BASE:-}" of a config leaves an empty text where nothing is meant.
    return dspy.LM(model, **{key: value for key, value in options.items() if value not in ("", None)})


def _make(target: str, args: Any, what: str) -> Any:
    from dspex_runtime.host.targets import resolve

    found = resolve(target if ":" in target else f"dspy:{target}")
    if not isinstance(found, type):
        return found
    try:
        return found(**args) if isinstance(args, Mapping) else found(*args)
    except TypeError as exc:
        raise StartError(f"{what}: {target} cannot be built with {args!r}: {exc}") from exc


def _forget_the_zygote() -> None:
    settings = _settings_module()
    settings.config_owner_thread_id = None
    settings.config_owner_async_task = None
    settings.main_thread_config["trace"] = []
    history = sys.modules.get("dspy.clients.base_lm")
    if history is not None:
        history.GLOBAL_HISTORY.clear()


def _settings_module() -> Any:
    # `dspy.dsp.utils.settings` as an attribute is the Settings object; the module is only in sys.modules.
    return importlib.import_module("dspy.dsp.utils.settings")
