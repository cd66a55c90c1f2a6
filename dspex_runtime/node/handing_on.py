"""Whether what came in can go out again: it travels on wrapped in messages of ours, deeper than it came.

Asked where it comes in, so that nothing that is kept, or told to others, fails when it is told.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.exit_reason import ExitReason, is_exit_reason
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.types import Registered


def packed_size(value: Any) -> int:
    """Return how many bytes a value takes on the wire, wrapped as deep as any answer or message of ours wraps it.

    Raises:
        UnserialisableError: It came, and could not be handed out.
    """
    PLAIN.pack([Registered(None, "", value)])  # the packer counts levels of lists and of extension types apart
    return len(PLAIN.pack([[[[value]]]]))


def is_tellable(reason: Any) -> TypeGuard[ExitReason]:
    """Return whether a value is an exit reason that everybody who is to hear of it can be told."""
    if not is_exit_reason(reason):
        return False
    try:
        packed_size(("shutdown", ("failed_to_start_child", "", reason)))  # as a supervisor's own end tells it
    except UnserialisableError:
        return False
    return True


def told(reason: ExitReason) -> ExitReason:
    """Return an exit reason as it is, or one that says that it could not be told."""
    return reason if is_tellable(reason) else ("error", "ExitReason", "its reason is nested too deep to be told", "")
