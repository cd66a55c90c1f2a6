"""What happens in a relayed call and is told while it runs: dspy's callbacks, and chunks of a stream. Host side.

One callback of ours stands for all of the caller's. Call ids are dspy's own; where the caller's program would have given none (the
root, which is the proxy's call, and what no callback of the caller watches) the id around it is told instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dspy.clients.base_lm import BaseLM
from dspy.dsp.utils.settings import settings
from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

from dspex_runtime.modules.relay.protocol import CHUNK, ENDED, KEPT, KINDS, OTHER, PART, PART_LM, STARTED
from dspex_runtime.modules.relayed.names import Names
from dspex_runtime.modules.relayed.objects import guests
from dspex_runtime.modules.relayed.record import whose_lm
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault

_codec: Final = Codec(pickle=True)

Tell = Callable[[list[Any]], None]


class Callbacks(BaseCallback):  # type: ignore[misc]  # dspy has no types
    """Tells the caller's callbacks.

    Args:
        root: The program that is called: its own start and end the caller knows.
        names: Of its parts.
        live: As it travelled.
        tell: Sends an item.
    """

    def __init__(self, root: Any, names: Names, live: Mapping[str, Any], tell: Tell) -> None:
        self._root = root
        self._names = names
        self._tell = tell
        self._around = live["call_id"]
        self._kinds = frozenset(live["kinds"])
        self._everywhere = live["everywhere"]
        self._watched = {(PART, name) for name in live["parts"]} | {(PART_LM, name) for name in live["lms"]}
        self._watched |= {(KEPT, token) for token in live["objects"]}
        self._root_seen = False
        self._alias: dict[str | None, str | None] = {}  # ids that the caller does not get -> the one around
        self._numbers: dict[int, tuple[int, Any]] = {}  # of instances and exceptions that were told, which are kept alive

    def start(self, kind: str, call_id: str, instance: Any, inputs: Any) -> None:
        """Tell that a call inside the program begins."""
        around = self._named(ACTIVE_CALL_ID.get())
        if not self._root_seen and instance is self._root:
            self._root_seen = True
            self._alias[call_id] = self._around
            return
        who = self._who(instance)
        if not self._everywhere and (who is None or (who[0], who[1]) not in self._watched):
            self._alias[call_id] = around
        elif kind in self._kinds:
            self._tell([STARTED, kind, call_id, around, _is_quiet(), who or self._other(instance), inputs])

    def end(self, kind: str, call_id: str, outputs: Any, exception: BaseException | None) -> None:
        """Tell that it ended."""
        if call_id not in self._alias and kind in self._kinds:
            error = None if exception is None else self._error(exception)
            self._tell([ENDED, kind, call_id, self._named(ACTIVE_CALL_ID.get()), _is_quiet(), outputs, error])

    def number_of(self, exc: BaseException) -> int | None:
        """Return the number under which an exception was told."""
        known = self._numbers.get(id(exc))
        return known[0] if known is not None else None

    def _named(self, call_id: str | None) -> str | None:
        return self._alias.get(call_id, call_id) if call_id is not None else self._around

    def _who(self, instance: Any) -> list[Any] | None:
        """Return how the caller knows an instance, None where it does not."""
        token = guests.token_of(instance)
        if token is not None:
            return [KEPT, token, None]
        if isinstance(instance, BaseLM):
            modules = settings.caller_modules
            known = whose_lm(self._names, instance, modules[-1] if modules else None)
            return [*known, None] if known is not None else None
        name = self._names.of(instance)
        return [PART, name, None] if name is not None else None

    def _other(self, instance: Any) -> list[Any]:
        number, is_new = self._number(instance)
        return [OTHER, number, instance if is_new else None]

    def _error(self, exc: BaseException) -> list[Any]:
        number, is_new = self._number(exc)
        return [number, to_fault(exc, id=None, incarnation=None, codec=_codec, retryable=False) if is_new else None]

    def _number(self, thing: Any) -> tuple[int, bool]:
        known = self._numbers.get(id(thing))
        if known is None:
            self._numbers[id(thing)] = (len(self._numbers), thing)
        return self._numbers[id(thing)][0], known is None


def _is_quiet() -> bool:
    """Whether nothing is streamed here: dspy switches it off around predictors that nobody listens to."""
    return settings.send_stream is None


def _handlers(kind: str) -> tuple[Any, Any]:
    def on_start(self: Callbacks, call_id: str, instance: Any, inputs: Any) -> None:
        self.start(kind, call_id, instance, inputs)

    def on_end(self: Callbacks, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self.end(kind, call_id, outputs, exception)

    return on_start, on_end


for _kind in KINDS:
    for _word, _handler in zip(("start", "end"), _handlers(_kind), strict=True):
        setattr(Callbacks, f"on_{_kind}_{_word}", _handler)


class SendStream:
    """Stands for the caller's `settings.send_stream`: what is sent to it goes to the caller."""

    def __init__(self, names: Names, tell: Tell) -> None:
        self._names = names
        self._tell = tell

    def send_nowait(self, chunk: Any) -> None:
        """Send a chunk."""
        identity = getattr(chunk, "predict_id", None)
        name = self._names.of_id(identity) if identity is not None else None
        self._tell([CHUNK, name, identity is not None, chunk])

    async def send(self, chunk: Any) -> None:
        """Send a chunk; with a sync program this runs on a loop of the call's own, which may wait."""
        self.send_nowait(chunk)

    async def aclose(self) -> None:
        """Nothing to do: the stream ends with the call."""


class Listener:
    """Stands for a StreamListener of the caller's: dspy asks whose predictor it listens to, no more."""

    def __init__(self, predict: Any) -> None:
        self.predict = predict
