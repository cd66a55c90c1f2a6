"""Whom `gather`, `map` and `pipeline` call, and with what: an id, a reference, a proxy, a pipeline, or a program in this process.

A callee is called by a thread (`run`) or by a task (`arun`), under whatever deadline is set around it. What its inputs mean is its
own affair: keywords or positions of a module, the request of a server. Never decides when or how many at once.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from inspect import iscoroutinefunction
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from dspex_runtime.client.asking import QUICK_S, ask
from dspex_runtime.client.calls import call
from dspex_runtime.client.collection import call_arguments
from dspex_runtime.client.ids import Via, looked_up
from dspex_runtime.client.ref import MODULE_CALL, Ref
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.ids import is_named, of_proxy

if TYPE_CHECKING:
    from dspex_runtime.modules.mirror.proxy import ModuleProxy

__all__ = ["Callee", "Home", "fields_of", "find"]

AWAITED_AT_ONCE: Final = 64  # of a module whose forward is async, each replica: its mailbox is the only bound it has itself
LOCAL_AT_ONCE: Final = 8  # dspy.Parallel's own number of threads, for a program that runs in this process


class Home(Protocol):
    """Where ids lead to."""

    @property
    def session(self) -> Session:
        """The connection to the runtime that ids are of."""
        ...


class Callee(ABC):
    """One that can be called.

    Attributes:
        id: What its calls are labelled with.
        session: Whose event loop may carry its calls; None: only a thread can run them.
        at_once: How many calls it runs at once; what else is sent waits in its mailbox.
        takes: The keywords it takes; None for any.
    """

    id: str
    session: Session | None = None
    at_once: int = 1
    takes: Sequence[str] | None = None

    def know(self, facts: Mapping[str, Any]) -> None:
        """Take over what the runtime says of it."""
        replicas = max(1, facts["at_once"])
        self.at_once = replicas * AWAITED_AT_ONCE if facts["awaited"] else replicas
        self.takes = facts["takes"]

    @property
    def has_edits(self) -> bool:
        """Whether there is something to `prepare`."""
        return self.session is not None and self.session.edits.waiting(self.id)

    def prepare(self) -> None:
        """Send what was edited on proxies of it: once before many calls, as it may have to wait, which a task should not."""
        if self.session is not None:
            self.session.edits.push(self.id)

    @abstractmethod
    def run(self, inputs: Any) -> Any:
        """Call it and return its value."""

    @abstractmethod
    async def arun(self, inputs: Any) -> Any:
        """`run` for tasks."""


class Server(Callee):
    """A GenServer: its inputs are the request."""

    def __init__(self, session: Session, id: str) -> None:
        self.session, self.id = session, id
        self._pool = session.pool(id)

    def run(self, inputs: Any) -> Any:
        """Send the request and return the reply."""
        return call(self._pool, "$call", (inputs,), {}, inf)

    async def arun(self, inputs: Any) -> Any:
        """Send the request and return the reply."""
        from dspex_runtime.client.async_calls import acall

        assert self.session is not None
        return await acall(self.session, self.id, "$call", (inputs,), {}, inf)


class Module(Callee):
    """A module, called by its reference: without anything of dspy's in this process."""

    def __init__(self, session: Session, id: str) -> None:
        self.session, self.id = session, id
        self._pool = session.pool(id)

    def run(self, inputs: Any) -> Any:
        """Call it."""
        self.prepare()
        return call(self._pool, MODULE_CALL, *call_arguments(inputs), None)

    async def arun(self, inputs: Any) -> Any:
        """Call it."""
        from dspex_runtime.client.async_calls import acall

        assert self.session is not None
        args, kwargs = call_arguments(inputs)
        return await acall(self.session, self.id, MODULE_CALL, args, kwargs, None)


class Proxied(Callee):
    """A module, called as a `dspy.Module`: the caller's settings go along, and trace, history and usage come back."""

    def __init__(self, proxy: ModuleProxy) -> None:
        self._proxy = proxy
        self.session, self.id = proxy.dx.session, proxy.dx.id

    def run(self, inputs: Any) -> Any:
        """Call it."""
        args, kwargs = call_arguments(inputs)
        return self._proxy(*args, **kwargs)

    async def arun(self, inputs: Any) -> Any:
        """Call it."""
        from dspex_runtime.modules import apart

        args, kwargs = call_arguments(inputs)
        return await apart.acall(self._proxy, args, kwargs)


class Local(Callee):
    """A program, or any function, in this very process: a part that is built inline, where there is no runtime for it.

    One that is awaited, as an `AsyncPipeline` is, needs a task to call it.
    """

    at_once = LOCAL_AT_ONCE

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.id = getattr(function, "__name__", None) or type(function).__name__
        self._is_async = iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)

    def run(self, inputs: Any) -> Any:
        """Call it.

        Raises:
            ConfigError: What it gives is to be awaited.
        """
        if self._is_async:
            raise self._only_in_tasks()
        value = self._called(inputs)
        if isinstance(value, Coroutine):
            value.close()
            raise self._only_in_tasks()
        return value

    async def arun(self, inputs: Any) -> Any:
        """Call it, on a thread of the loop's unless it is awaited."""
        from asyncio import to_thread

        value = self._called(inputs) if self._is_async else await to_thread(self._called, inputs)
        return await value if isinstance(value, Awaitable) else value

    def _called(self, inputs: Any) -> Any:
        args, kwargs = call_arguments(inputs)
        return self._function(*args, **kwargs)

    def _only_in_tasks(self) -> ConfigError:
        return ConfigError(f"{self.id!r} is async, only a task can call it", hint="the runtime that `dx.aio` opens does")


def find(home: Home, targets: Sequence[Any], *, facts: bool = False) -> Steps[list[Callee]]:
    """Return callees. The runtime is asked once for all, and only where an id does not tell what it is of, or `facts` are wanted.

    Raises:
        ConfigError: Something is no target.
        NoProcessError: Nobody holds the key of a `Via`. An id of nobody is no error here: the call itself says it.
    """
    found: list[Callee | str] = []
    for target in targets:
        one = yield from _found(home, target)
        found.append(one)
    asked = dict.fromkeys(
        one if isinstance(one, str) else one.id for one in found if isinstance(one, str) or (facts and one.session)
    )
    if not asked:
        return [one for one in found if not isinstance(one, str)]
    answers = yield from ask(home.session, "callees", {"ids": list(asked)}, QUICK_S)
    known = dict(zip(asked, answers, strict=True))
    callees = [_of(home, one, known[one]) if isinstance(one, str) else one for one in found]
    for callee in callees:
        if (told := known.get(callee.id)) is not None:
            callee.know(told)
    return callees


def _found(home: Home, target: Any) -> Steps[Callee | str]:
    """Return a callee, or the id of one."""
    if isinstance(target, Callee):
        return target
    reference = of_proxy(target)
    if isinstance(reference, Ref):
        if reference is not target:
            return Proxied(target)
        is_server = hasattr(type(reference), "send_request")  # that of aio, too
        return (Server if is_server else Module)(reference.session, reference.id)
    if isinstance(target, str | Via) or is_named(reference):
        return (yield from looked_up(home.session, target))
    if not callable(target):
        raise ConfigError(f"expected an id, a reference, or a program to call; got {show(target)}")
    return Local(target)


def _of(home: Home, id: str, told: Mapping[str, Any] | None) -> Callee:
    session = home.session
    if told is not None and told["kind"] == "server":
        return Server(session, id)
    if session.plain or "dspy" not in sys.modules:
        return Module(session, id)
    from dspex_runtime.client.proxies import module_proxy

    return Proxied(module_proxy(session, id))


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of a Prediction, an Example or a mapping; None: it has none."""
    if isinstance(value, Mapping) or (hasattr(type(value), "keys") and hasattr(type(value), "__getitem__")):
        return {name: value[name] for name in value.keys()}  # noqa: SIM118 # a Prediction iterates over something else
    return None
