"""What travels by value: cloudpickle bytes that a process of the runtime can open, whatever files it can import.

Classes and functions of a file that a fresh process would not find (a notebook's, a test's, `__main__`) go by value, wherever in
the object they are; all others by name. Imports cloudpickle at the first use, and nothing of the user's.
"""

from __future__ import annotations

from typing import Any

from dspex_runtime.errors import UnserialisableError

__all__ = ["pickled", "pickled_instance"]


def pickled(value: Any, name: str = "") -> bytes:
    """Return cloudpickle bytes.

    Args:
        value: What is to travel.
        name: What messages call it; its type by default.

    Raises:
        UnserialisableError: It cannot be pickled; names the part that is to blame, and its path inside the value.
    """
    return _shipped(value, name, new_locks=False)


def pickled_instance(value: Any, name: str = "") -> bytes:
    """Return the bytes of an object that goes on living in its process, as dspy's own `deepcopy` would copy it.

    A lock inside it (of threading, also one inside a queue, an event, a semaphore) becomes a new one of the same kind, free: what
    it guards is a copy. A `threading.local` becomes an empty one.

    Raises:
        UnserialisableError: As `pickled`.
    """
    return _shipped(value, name, new_locks=True)


def _shipped(value: Any, name: str, *, new_locks: bool) -> bytes:
    from dspex_runtime.client import shipping
    from dspex_runtime.wire.paths import locate

    try:
        return shipping.dumps(value, new_locks=new_locks)
    except Exception as exc:
        failure = exc

    def why_not(part: Any) -> Exception | None:
        try:
            shipping.dumps(part, new_locks=new_locks)
        except Exception as exc:
            return exc
        return None

    start = name or (value if isinstance(value, type) else type(value)).__name__
    culprit = locate(start, value, failure, payload=lambda _: NotImplemented, packs=why_not, pickles=why_not)
    kind = type(culprit.value)
    raise UnserialisableError(
        f"{culprit.path}, a {kind.__module__}.{kind.__qualname__}, cannot be sent to its process: "
        f"{type(culprit.error).__name__}: {culprit.error}",
        path=culprit.path,
        hint="make it in the module's process: in setup(), in the constructor of a class that is started, or at its first use",
    ) from failure
