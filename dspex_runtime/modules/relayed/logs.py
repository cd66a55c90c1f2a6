"""dspy's log records and warnings of a relayed call, told to the caller who asked for them. Host side.

One handler at the logger of dspy, put there with the first call that asks: it looks whose call a record belongs to. The records are
in the module's own log all the same.
"""

from __future__ import annotations

import logging
import threading
import warnings
from typing import Any, Final

from dspy.dsp.utils.settings import settings

from dspex_runtime.modules.relay.protocol import LOGGED, RELAYED, WARNED

_LOGGER: Final = "dspy"
_lock: Final = threading.Lock()
_installed: list[Any] = []


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        relayed = settings.get(RELAYED)
        if relayed is not None and relayed.logs is not None and record.levelno >= relayed.logs and relayed.tell is not None:
            told = {**vars(record), "msg": record.getMessage(), "args": None, "exc_info": None}
            if record.exc_info is not None and not record.exc_text:
                told["exc_text"] = logging.Formatter().formatException(record.exc_info)
            relayed.tell([LOGGED, told])


def listen() -> None:
    """See that records and warnings are told from now on. Safe to do again."""
    with _lock:
        if not _installed:
            handler = _Handler()
            _installed.append(handler)
            logging.getLogger(_LOGGER).addHandler(handler)
            _tell_warnings()


def _tell_warnings() -> None:
    show = warnings.showwarning

    def showwarning(message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        relayed = settings.get(RELAYED)
        if relayed is not None and relayed.logs is not None and relayed.tell is not None:
            relayed.tell([WARNED, category, str(message), filename, lineno])
        show(message, category, filename, lineno, file, line)

    warnings.showwarning = showwarning
