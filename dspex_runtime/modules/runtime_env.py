"""dspy made safe after the fork, and configured as the spec says. On the main thread, before the user's module is built.

What a fork inherits and must not keep: who may configure, call history, the trace. What it must never share, LM connections,
is prevented earlier: nothing calls an LM before the fork.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy

from dspex_runtime.modules import lm_cache, making
from dspex_runtime.modules.dspy_settings import configured
from dspex_runtime.modules.dspy_settings import module as owned_by

# dspy's own caps are 10 000 calls, 7 MB per process; a thousand modules live on one machine.
MAX_HISTORY: Final = 1000
MAX_TRACE: Final = 1000
_MADE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "adapter": making.make_adapter,
    "rm": making.make_rm,
    "interpreter_factory": making.make_factory,
}


def prepare(lm: Mapping[str, Any] | None, settings: Mapping[str, Any] | None) -> None:
    """Reset what was inherited, then configure; the settings hold for every thread of this process.

    Raises:
        StartError: An LM or setting cannot be made from the config.
    """
    _forget_the_zygote()
    said = dict(settings or {})
    cache, callbacks = said.pop("cache", None), said.pop("callbacks", None)
    made = {name: make(said.pop(name)) for name, make in _MADE.items() if name in said}
    if lm is not None:
        made["lm"] = making.make_lm(lm)
    dspy.configure(**{"max_history_size": MAX_HISTORY, "max_trace_size": MAX_TRACE, **said, **made})
    if callbacks is not None:
        making.make_callbacks(callbacks)
    if cache is not None:
        lm_cache.configure(cache)


@contextmanager
def restored() -> Iterator[None]:
    """Put dspy's settings back at the end: values, and who may configure."""
    values = dict(configured)
    owners = owned_by.config_owner_thread_id, owned_by.config_owner_async_task
    try:
        yield
    finally:
        configured.clear()
        configured.update(values)
        owned_by.config_owner_thread_id, owned_by.config_owner_async_task = owners


def _forget_the_zygote() -> None:
    owned_by.config_owner_thread_id = None
    owned_by.config_owner_async_task = None
    configured["trace"] = []
    history = sys.modules.get("dspy.clients.base_lm")
    if history is not None:
        history.GLOBAL_HISTORY.clear()
