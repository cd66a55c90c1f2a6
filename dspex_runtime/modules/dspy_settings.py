"""dspy's settings where dspy keeps them: its defaults, what is configured, what overrides that, and who may configure.

`dspy.settings` gives one value at a time, of all of these together. Not to be changed but by who puts it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final

#: With the two words that say who may configure: `config_owner_thread_id` and `config_owner_async_task`.
module: Final[Any] = import_module("dspy.dsp.utils.settings")  # as an attribute of its package it is the Settings object
DEFAULTS: Final[Mapping[str, Any]] = module.DEFAULT_CONFIG
configured: Final[dict[str, Any]] = module.main_thread_config  #: by `dspy.configure`; holds in every thread
overrides: Final[ContextVar[dict[str, Any]]] = module.thread_local_overrides  #: by `dspy.context`, of this thread or task
