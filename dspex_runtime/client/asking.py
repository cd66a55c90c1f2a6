"""A question to the runtime: who asks it, how long its answer is waited for, and what answers of several operations mean.

Every operation is written once, as a generator that both the synchronous and the asyncio client drive (`steps`): it says what it
asks and what its answer means. The operations are in `*_ops` and `naming`; nothing here knows one of them.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.errors import RuntimeUnreachableError
from dspex_runtime.types import ModuleInfo

QUICK_S: Final = 30.0  # for questions the runtime answers from memory; what waits for a process has no limit of ours


class Client(Protocol):
    """What an operation needs of the object it is a method of."""

    @property
    def session(self) -> Session:
        """The connection."""
        ...

    def reference(self, id: str, kind: str) -> Any:
        """Return a reference of this client's kind."""
        ...


def ask(session: Session, op: str, args: dict[str, Any], timeout_s: float | None = None) -> Steps[Any]:
    """One control request."""
    answer = session.connection.request(op, args)
    try:
        return (yield Await(answer, timeout_s))
    except TimeoutError as exc:
        if type(exc) is not TimeoutError:
            raise  # the runtime's own answer, CallTimeoutError
        raise RuntimeUnreachableError(f"the runtime has not answered {op!r} for {timeout_s:g} s") from None


def module_info(data: dict[str, Any]) -> ModuleInfo:
    """Return a child as the runtime describes it; facts that a newer runtime adds are left out."""
    return ModuleInfo(**{name: data[name] for name in ModuleInfo.__slots__ if name in data})


def referred(self: Client, identity: Any) -> Any:
    """Return a reference to what was started, as the runtime identifies it; "undefined" and no answer as they are."""
    return identity if identity is None or isinstance(identity, str) else self.reference(identity["id"], identity["kind"])
