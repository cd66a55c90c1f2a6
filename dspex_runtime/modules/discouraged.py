"""dspy's warning to whoever takes `forward` from a module other than by calling that. Without a function for every attribute."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

import dspy

_logger: Final = logging.getLogger(dspy.Module.__module__)


class Discouraged:
    """`forward`, with the warning. Not to dspy itself, which looks past it where it takes the method to replace it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __get__(self, proxy: Any, cls: type) -> Any:
        if proxy is None:
            return self._function
        frame = sys._getframe(1)
        if frame.f_code.co_name != "__call__" and not frame.f_globals.get("__name__", "").startswith("dspy."):
            called = f"Calling module.forward(...) on {cls.__name__} directly is discouraged."
            _logger.warning(f"{called} Please use module(...) instead.")
        return self._function.__get__(proxy, cls)
