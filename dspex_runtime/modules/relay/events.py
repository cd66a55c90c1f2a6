"""What a call tells while it runs: the caller's callbacks hear of it, chunks go to the caller's stream. Client side.

Handlers run here, in the thread or task of the caller, in the order in which things happened; the program goes on meanwhile.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import dspy
from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

from dspex_runtime.modules.relay import codec as relay_codec
from dspex_runtime.modules.relay import objects as relay_objects
from dspex_runtime.modules.relay import protocol as p
from dspex_runtime.modules.relay.context import Context
from dspex_runtime.modules.relay.record import Landing
from dspex_runtime.wire.faults import from_fault

_log: Final = logging.getLogger("dspy.utils.callback")  # what its handlers raise is told in dspy's words
_METHODS: Final = {"adapter_format": "format", "adapter_parse": "parse", "compile": "compile"}


def live_of(now: Mapping[str, Any], mirror: p.Mirror, context: Context | None) -> dict[str, Any] | None:
    """Return what is to be told while a call runs; None: nothing.

    Args:
        now: The caller's settings.
        mirror: Of the module that is called.
        context: With the caller's objects that the call brings.
    """
    callbacks, stream, logs = now["callbacks"], now["send_stream"], now.get(p.LOGS)
    kept: Mapping[str, relay_objects.Kept] = context.kept if context is not None else {}
    parts, lms = _with_callbacks(mirror)
    objects = [token for token, known in kept.items() if getattr(known.object, "callbacks", None)]
    if not (callbacks or stream is not None or logs or parts or lms or objects):
        return None
    instances = (*parts.values(), *lms.values(), *(kept[token].object for token in objects))
    own = [callback for instance in instances for callback in instance.callbacks]
    listeners = [mirror.name_of(listener.predict) for listener in now["stream_listeners"] or ()]
    return {
        "call_id": ACTIVE_CALL_ID.get(),
        "kinds": _kinds([*callbacks, *own]),
        "everywhere": bool(callbacks),
        "parts": list(parts),
        "lms": list(lms),
        "objects": objects,
        "stream": {"listeners": listeners} if stream is not None else None,
        "logs": _level(logs) if logs else None,
    }


def _with_callbacks(mirror: p.Mirror) -> tuple[dict[str, Any], dict[str, Any]]:
    # The program's own hear of its call here; of calls of itself inside that, which are the process's, they are told.
    parts = {"": mirror.root} if mirror.root.callbacks else {}
    lms = {}
    for name, part, own in mirror.parts():
        if own.get("callbacks"):
            parts[name] = part
        if (lm := own.get("lm")) is not None and getattr(lm, "callbacks", None):
            lms[name] = lm
    return parts, lms


def _kinds(callbacks: list[Any]) -> list[str]:
    """Return what any of them has a handler for that does something."""
    return [kind for kind in p.KINDS if any(_handles(c, f"on_{kind}_start") or _handles(c, f"on_{kind}_end") for c in callbacks)]


def _handles(callback: Any, handler: str) -> bool:
    found = getattr(type(callback), handler, None)
    return handler in vars(callback) or (found is not None and found is not getattr(BaseCallback, handler, None))


def _level(logs: Any) -> int:
    return logging.NOTSET if logs is True else logs if isinstance(logs, int) else logging.getLevelNamesMapping()[str(logs).upper()]


class Hearing:
    """Hears one call.

    Args:
        now: The settings the call was made under.
        mirror: Of the module that runs it.
        landing: Where entries of the history go.

    Attributes:
        told: Instances and exceptions by the number under which they were told.
    """

    def __init__(self, now: Mapping[str, Any], mirror: p.Mirror, landing: Landing) -> None:
        self._now = now
        self._mirror = mirror
        self._landing = landing
        self._open: dict[str, list[Any]] = {}  # call id -> the callbacks that heard its start
        self.told: dict[int, Any] = {}

    def hear(self, packed: bytes) -> Callable[[], Coroutine[Any, Any, Any]] | None:
        """Do what an item says; returns how to send a chunk to the caller's stream, which only the caller can wait for."""
        word, *item = relay_codec.unpack(packed)
        match word:
            case p.STARTED:
                self._started(*item)
            case p.ENDED:
                self._ended(*item)
            case p.ENTRY:
                self._landing.entry(*item)
            case p.CHUNK:
                return self._chunk(*item)
            case p.LOGGED:
                record = logging.makeLogRecord(item[0])
                if (logger := logging.getLogger(record.name)).isEnabledFor(record.levelno):
                    logger.handle(record)
            case p.WARNED:
                category, text, file, line = item
                warnings.warn_explicit(text, category, file, line)
        return None

    def _started(self, kind: str, call_id: str, around: str | None, quiet: bool, who: list[Any], inputs: Any) -> None:
        instance = self._instance(*who)
        own = [*self._now["callbacks"], *(getattr(instance, "callbacks", None) or ())]
        self._open[call_id] = own
        with self._inside(around, quiet):
            for callback in own:
                try:
                    getattr(callback, f"on_{kind}_start")(call_id=call_id, instance=instance, inputs=inputs)
                except Exception as exc:
                    _log.warning(f"Error when calling callback {callback}: {exc}")

    def _ended(self, kind: str, call_id: str, around: str | None, quiet: bool, outputs: Any, error: Any) -> None:
        exception = self._exception(*error) if error is not None else None
        with self._inside(around, quiet):
            for callback in self._open.pop(call_id, ()):
                try:
                    getattr(callback, f"on_{kind}_end")(call_id=call_id, outputs=outputs, exception=exception)
                except Exception as exc:
                    function = _METHODS.get(kind, "__call__")
                    _log.warning(f"Error when applying callback {callback}'s end handler on function {function}: {exc}.")

    @contextmanager
    def _inside(self, call_id: str | None, quiet: bool) -> Iterator[None]:
        """While a handler runs, the call around the one that it hears of is dspy's active one, and streams if that does."""
        token = ACTIVE_CALL_ID.set(call_id)
        try:
            if quiet and self._now["send_stream"] is not None:
                with dspy.context(send_stream=None):
                    yield
            else:
                yield
        finally:
            ACTIVE_CALL_ID.reset(token)

    def _instance(self, word: str, what: Any, body: Any) -> Any:
        match word:
            case p.PART:
                return self._mirror.part(what)
            case p.PART_LM:
                return getattr(self._mirror.part(what), "lm", None)
            case p.KEPT:
                known = relay_objects.by_token(what)
                return known.object if known is not None else None
        return self.told.setdefault(what, body)

    def _exception(self, number: int, fault: Any) -> Any:
        return self.told.setdefault(number, from_fault(fault) if fault is not None else None)

    def _chunk(self, name: str | None, has_id: bool, chunk: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
        if has_id:
            # An id of the other process may be that of anything here: a listener must not take it for its own.
            predict_id = id(self._mirror.part(name)) if name is not None else -chunk.predict_id
            if isinstance(chunk, dict):  # dspy's own chunks are dicts whose entries are attributes
                chunk["predict_id"] = predict_id
            else:
                chunk.predict_id = predict_id
        stream = self._now["send_stream"]
        return lambda: stream.send(chunk)
