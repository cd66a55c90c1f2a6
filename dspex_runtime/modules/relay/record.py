"""What a call left in its module's process, put where dspy would have put it had it run here. Client side.

The same dict of the history goes into every list that dspy has for it; a step of the trace names the mirror's own predictor.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

import dspy
from dspy.clients.base_lm import BaseLM

from dspex_runtime.modules.relay import codec as relay_codec
from dspex_runtime.modules.relay import objects as relay_objects
from dspex_runtime.modules.relay.protocol import KEPT, Mirror
from dspex_runtime.wire.faults import take_record

#: An entry of a history that is just put into its places here, and whose LM made it: one of whoever has called this process.
passing: Final[ContextVar[tuple[Any, Any] | None]] = ContextVar("dspex_passing", default=None)


class Landing:
    """Where the record of one call goes.

    Args:
        now: The settings that the call was made under.
        mirror: Of the module that ran it.
    """

    __slots__ = ("_mirror", "_now")

    def __init__(self, now: Mapping[str, Any], mirror: Mirror) -> None:
        self._now = now
        self._mirror = mirror

    def value(self, value: Any, packed: bytes | None) -> Any:
        """Put the record of a call that returned in its places; returns the value, which may be a step of the trace itself."""
        if packed is None:
            return value
        record = relay_codec.unpack(packed)
        predictions = self._put(record)
        if (same := record.get("same")) is not None:
            return predictions[same]
        if (part := record.get("signature")) is not None:
            self._sign(value, self._mirror.part(part))
        return value

    def error(self, error: BaseException, told: Mapping[int, Any]) -> BaseException:
        """Put the record of a call that raised in its places; returns what is to be raised.

        Args:
            error: What the call raised here.
            told: What callbacks were told by number: an exception that went through them is raised as the very same.
        """
        packed = take_record(error)
        if packed is None:
            return error
        record = relay_codec.unpack(packed)
        self._put(record)
        raised = told.get(record.get("raised"))
        if isinstance(raised, type(error)):
            raised.__cause__, error = error.__cause__, raised
        for name, part in (record.get("rebind") or {}).items():
            signature = getattr(self._mirror.part(part), "signature", None)
            if signature is not None:
                setattr(error, name, signature)
        return error

    def entry(self, entry: Any, whose: Any, parts: list[str]) -> None:
        """Put one call of an LM into the histories: dspy's own, the LM's, and those of all modules it was made in."""
        if self._now["disable_history"]:
            return
        lm = self._lm(whose)
        inside = [part for name in parts if (part := self._mirror.part(name)) is not None]
        callers = [*(self._now["caller_modules"] or ()), *inside]
        token = passing.set((entry, whose)) if lm is None and whose is not None and whose[0] == KEPT else None
        try:
            with dspy.context(caller_modules=callers):
                if lm is not None:
                    lm.update_history(entry)
                else:
                    BaseLM.update_history(_NoLM(), entry)
        finally:
            if token is not None:
                passing.reset(token)

    def _put(self, record: Mapping[str, Any]) -> list[Any]:
        for entry in record.get("history") or ():
            self.entry(*entry)
        tracker = self._now["usage_tracker"]
        for lm, entries in (record.get("usage") or {}).items():
            for usage in entries:
                tracker.add_usage(lm, usage)
        for token, left in (record.get("left") or {}).items():
            kept = relay_objects.by_token(token)
            if kept is not None:
                kept.catch_up(left)
        return self._trace(record)

    def _trace(self, record: Mapping[str, Any]) -> list[Any]:
        """Add the steps to the caller's trace; returns their predictions."""
        trace, most = self._now["trace"], self._now["max_trace_size"]
        predictions = []
        for step in record.get("trace") or ():
            if type(step) is list:
                part, inputs, prediction, signature = step
                predictor = self._mirror.part(part) if type(part) is str else record["whole"][part]
                if predictor is None:  # it came to the program after the mirror was looked at, or went since
                    predictor = relay_codec.NotSent(f"predictor {part!r}, which the mirror does not show")
                self._sign(prediction, predictor if signature is True else None, signature)
                step = (predictor, inputs, prediction)
            predictions.append(step[-1])
            if trace is not None and most > 0:
                if len(trace) >= most:
                    trace.pop(0)
                trace.append(step)
        return predictions

    def _sign(self, prediction: Any, predictor: Any, signature: Any = None) -> None:
        completions = getattr(prediction, "_completions", None)
        if completions is not None:
            completions.signature = getattr(predictor, "signature", None) if predictor is not None else signature

    def _lm(self, whose: Any) -> Any:
        if whose is None:
            return None
        word, what = whose
        if word == KEPT:
            kept = relay_objects.by_token(what)
            return kept.object if kept is not None else None
        return getattr(self._mirror.part(what), "lm", None)


class _NoLM:
    """Stands for an LM that this process has not: its calls show in the modules' histories only."""

    def __init__(self) -> None:
        self.history: list[Any] = []
