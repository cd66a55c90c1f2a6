"""Something happens between two instructions: the code ends there, as under SIGKILL, or another writer is faster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Killed(BaseException):
    """Raised at the chosen instruction. No handler of the code under test catches it and goes on."""


def dies_at(instruction: int, operation: Callable[[], object], *, inside: str) -> bool:
    """Run `operation` until `instruction` bytecodes were begun in files whose path has `inside` in it; then it ends.

    Returns:
        False when the operation was done before.
    """
    try:
        interrupted_at(instruction, operation, inside=inside, by=_die)
    except Killed:
        return True
    return False


def interrupted_at(instruction: int, operation: Callable[[], object], *, inside: str, by: Callable[[], object]) -> bool:
    """Run `operation`, and `by` before that one of its bytecodes; return whether there was one.

    Args:
        instruction: 0, 1, 2 ...
        operation: What runs.
        inside: Part of the path of the files whose instructions count.
        by: What happens in between.
    """
    left = instruction
    done = False

    def watch(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left, done
        if inside not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            if left == 0 and not done:
                done = True
                sys.settrace(None)
                by()
            left -= 1
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        operation()
    finally:
        sys.settrace(before)
    return done


def _die() -> None:
    raise Killed
