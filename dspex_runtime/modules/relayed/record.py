"""What a relayed call leaves for its caller: history, trace, usage. Noted while it runs, in the host.

The record stands first in dspy's `caller_modules`, so that every entry of a history reaches it like any module of the call.
Nothing here fails a call: what cannot be sent is replaced by a note that says so (`relay.codec`). Of a call that leaves nothing it
costs about a microsecond.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from dspy.dsp.utils.settings import settings
from dspy.primitives.prediction import Prediction
from dspy.utils.usage_tracker import UsageTracker

from dspex_runtime.host.context import check_cancelled
from dspex_runtime.modules.relay import codec as relay_codec
from dspex_runtime.modules.relay.protocol import ENTRY, HISTORY, KEPT, PART_LM, TRACE, USAGE
from dspex_runtime.modules.relay.record import passing
from dspex_runtime.modules.relayed.names import Names
from dspex_runtime.modules.relayed.objects import guests
from dspex_runtime.wire.faults import RECORD

log = logging.getLogger("dspex_runtime.module")

MOST_BYTES: Final = 24 * 2**20  # of a record: with its value, or its fault, it must fit a frame
MOST_BYTES_EACH: Final = 2**16  # of a value in a record that is larger than that
_LOOK_BACK: Final = 16  # entries that other threads may have put behind the one just recorded


class Record:
    """What one call leaves; to dspy a module whose history is the record itself.

    Args:
        module: The program that is called.
        want: What the caller keeps.
        tokens: Of the caller's objects that it uses.

    Attributes:
        module: As given.
        configured: Settings of the call that come from the caller's `dspy.configure`, for the calls made in it.
        trace: The steps of the call, None where the caller keeps none.
        usage: The tracker, where the caller has one.
        tell: Sends an item of a live call; None in a plain one.
        logs: The level from which log records are told.
        number_of: The number under which an exception was told, if it was.
    """

    # What most calls never need is not set for each.
    configured: Mapping[str, Any] = MappingProxyType({})
    usage: UsageTracker | None = None
    tell: Callable[[list[Any]], None] | None = None
    logs: int | None = None
    number_of: Callable[[BaseException], int | None] | None = None
    _names: Names | None = None
    _whole: Sequence[Any] = ()

    def __init__(self, module: Any, want: int, tokens: Sequence[str] = ()) -> None:
        self.module = module
        self.trace: list[Any] | None = [] if want & TRACE else None
        if want & USAGE:
            self.usage = UsageTracker()
        self._noted: list[tuple[Any, Any, list[Any]]] = []
        self._want = want
        self._tokens = tokens

    @property
    def names(self) -> Names:
        """The names of the program's parts."""
        if self._names is None:
            self._names = Names(self.module)
        return self._names

    # -- as a module of dspy's: whatever LM is called in it, its history gets the entry

    @property
    def history(self) -> Record:
        """Return what takes the entries."""
        return self

    def __len__(self) -> int:
        return 0  # never full

    def __bool__(self) -> bool:
        return True

    def append(self, entry: Any) -> None:
        """Note an entry, and whose it is. Raises CallCancelledError in a call that its caller gave up."""
        check_cancelled()
        if not self._want & HISTORY:
            return
        modules = settings.caller_modules
        inside = modules[next(place for place, module in enumerate(modules) if module is self) + 1 :]
        noted = (entry, self._whose(entry, inside), inside[1:])
        if self.tell is not None:
            self.tell([ENTRY, *self._entry(*noted)])
        else:
            self._noted.append(noted)

    def _whose(self, entry: Any, modules: list[Any]) -> list[Any] | None:
        """Return how the caller knows the LM that was called; None for one of this process alone."""
        caller = modules[-1] if modules else None
        known = passing.get()
        if known is not None and known[0] is entry:  # of a part in another process, which was given it as this one was
            return list(known[1])
        for lm in (getattr(caller, "lm", None), settings.lm, *guests.all()):
            if any(known is entry for known in reversed(getattr(lm, "history", ())[-_LOOK_BACK:])):
                return whose_lm(self.names, lm, caller)
        return None

    # -- as bytes

    def packed(self, value: Any) -> bytes | None:
        """Return the record of a call that returned `value`, None where there is nothing to tell."""
        is_whole = type(value) is Prediction and value._completions is not None
        if not (self.trace or self._noted or self.usage or self._tokens or is_whole):
            return None
        try:
            return _packed(self._basics() | (self._of_value(value) if is_whole else {}))
        except Exception:  # a user's property, on the way to the parts of the program
            log.exception("what a call left could not be told to its caller")
            return None

    def _of_value(self, value: Any) -> dict[str, Any]:
        same = [index for index, step in enumerate(self.trace or ()) if type(step) is tuple and step[-1] is value]
        return {"same": same[0]} if same else {"signature": self.names.with_signature(value._completions.signature)}

    def attach(self, exc: BaseException) -> None:
        """Put the record of a call that raises on what it raises, where the fault finds it."""
        try:
            if (packed := _packed(self._basics() | self._of_error(exc))) is not None:
                vars(exc)[RECORD] = packed
        except Exception:  # the exception is the user's, and raised whatever it makes of being looked at
            log.exception("what a failed call left could not be told to its caller")

    def _of_error(self, exc: BaseException) -> dict[str, Any]:
        signatures = [(name, value) for name, value in vars(exc).items() if isinstance(value, type)]
        rebind = {name: part for name, value in signatures if (part := self.names.with_signature(value)) is not None}
        return {"raised": self.number_of(exc) if self.number_of is not None else None, "rebind": rebind or None}

    def _basics(self) -> dict[str, Any]:
        return {
            "trace": list(self._steps()) or None,
            "history": [self._entry(*noted) for noted in self._noted] or None,
            "usage": dict(self.usage.usage_data) or None if self.usage is not None else None,
            "left": guests.left(self._tokens) or None,
            "whole": self._whole or None,
        }

    def _entry(self, entry: Any, lm: Any, modules: list[Any]) -> list[Any]:
        return [entry, lm, [name for module in modules if (name := self.names.of(module))]]

    def _steps(self) -> Iterator[Any]:
        for step in self.trace or ():
            if type(step) is not tuple or len(step) != 3:
                yield step
                continue
            predictor, inputs, prediction = step
            name = self.names.of(predictor)
            yield [self._number(predictor) if name is None else name, inputs, prediction, _signature(predictor, prediction)]

    def _number(self, predictor: Any) -> int:
        for number, known in enumerate(self._whole):
            if known is predictor:
                return number
        self._whole = [*self._whole, predictor]
        return len(self._whole) - 1


def _signature(predictor: Any, prediction: Any) -> Any:
    """Return True where it is the predictor's own, which the caller has; None where there is none."""
    signature = getattr(getattr(prediction, "_completions", None), "signature", None)
    return True if signature is not None and signature is getattr(predictor, "signature", None) else signature


def _packed(record: dict[str, Any]) -> bytes | None:
    if all(item is None for item in record.values()):
        return None
    packed = relay_codec.pack(record)
    if len(packed) <= MOST_BYTES:
        return packed
    # Prompts with images, say: what was called and when is told all the same.
    history = [[_clipped(entry), *whose] for entry, *whose in record["history"] or ()]
    packed = relay_codec.pack(record | {"history": history})
    if len(packed) <= MOST_BYTES:
        return packed
    trace = [[step[0], _clipped(step[1]), *step[2:]] if type(step) is list else step for step in record["trace"] or ()]
    return relay_codec.pack(record | {"history": history, "trace": trace})


def _clipped(values: Any) -> Any:
    """Return a dict without its large values."""
    if not isinstance(values, dict):
        return values
    return {
        key: value if relay_codec.size(value) <= MOST_BYTES_EACH else relay_codec.too_large(value) for key, value in values.items()
    }


def whose_lm(names: Names, lm: Any, caller: Any) -> list[Any] | None:
    """Return how the caller of a relayed call knows an LM: kept by token, or the LM of a part; None where it does not."""
    token = guests.token_of(lm)
    if token is not None:
        return [KEPT, token]
    if caller is not None and getattr(caller, "lm", None) is lm and (name := names.of(caller)) is not None:
        return [PART_LM, name]
    return None
