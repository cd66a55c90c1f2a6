"""What the runtime has asked one module's control thread, until it answers. Owns the numbers and the time-outs.

Each question is answered exactly once: by the module, by its time-out, or by the module's end. Never reads the pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.errors import BusyError
from dspex_runtime.node.event_loop import EventLoop, Timer

Answer = Callable[[Any, dict[str, Any] | None], None]  # (value, fault)

_WHY_SILENT: Final = "it is still in a callback, C code holds its GIL, or it is stopped"


@dataclass(slots=True)
class _Pending:
    op: str
    answer: Answer
    timer: Timer | None

    def told(self, value: Any, fault: dict[str, Any] | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.answer(value, fault)


class ControlRequests:
    """The open questions to one module.

    Args:
        loop: Keeps the time.
        id: The module's full id, for texts.
        to_fault: Makes an error of ours what a module would have sent.
    """

    def __init__(self, loop: EventLoop, id: str, to_fault: Callable[[Exception], dict[str, Any]]) -> None:
        self._loop = loop
        self._id = id
        self._to_fault = to_fault
        self._open: dict[int, _Pending] = {}
        self._next = 1
        self.on_settled: Callable[[], None] | None = None  #: told whenever one was answered, however

    @property
    def ops(self) -> list[str]:
        """What is asked and not answered."""
        return [pending.op for pending in self._open.values()]

    def add(self, op: str, timeout_s: float | None, answer: Answer) -> int:
        """Return the number of a new question; without an answer in time it ends as BusyError."""
        number = self._next
        self._next += 1
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, lambda: self._unanswered(number, op, timeout_s))
        self._open[number] = _Pending(op, answer, timer)
        return number

    def answered(self, number: int, value: Any, fault: dict[str, Any] | None) -> None:
        """The module answered; too late is not at all."""
        pending = self._open.pop(number, None)
        if pending is not None:
            pending.told(value, fault)
            self._settled()

    def refuse(self, why: str, answer: Answer) -> None:
        """Answer what cannot be asked."""
        answer(None, self._to_fault(BusyError(f"{self._id!r} {why}", id=self._id)))

    def close(self) -> None:
        """The module ended: whatever it has not answered it never will."""
        left, self._open = list(self._open.values()), {}
        gone = self._to_fault(BusyError(f"{self._id!r} ended before it answered", id=self._id))
        for pending in left:
            pending.told(None, gone)
        self._settled()

    def _unanswered(self, number: int, op: str, timeout_s: float) -> None:
        pending = self._open.pop(number, None)
        if pending is not None:
            self.refuse(f"did not answer {op!r} within {timeout_s:g} s: {_WHY_SILENT}", pending.answer)
            self._settled()

    def _settled(self) -> None:
        if self.on_settled is not None:
            self.on_settled()
