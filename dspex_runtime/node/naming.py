"""Names of processes and locks of everybody, kept by the runtime. The tables themselves are `core.keys` and `core.locks`.

Owns liveness (asked of the kernel, where a key stands in the way), the events, and who waits for which lock. What a process
held is free before anybody hears that it ended; what a client held, when its connection ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from dspex_runtime.core.keys import ANY, Entry, Holder, KeyTable, show, typed
from dspex_runtime.core.locks import Claim, LockTable
from dspex_runtime.errors import CallTimeoutError, RegistryError, StartError
from dspex_runtime.node.handing_on import packed_size
from dspex_runtime.node.linking import Endpoint, ProcessId
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.reports import Reports, shown
from dspex_runtime.osproc.liveness import has_exited
from dspex_runtime.types import FullId, Incarnation, Kind, Registered, Unregistered

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.session import Asker, Responder


class Naming:
    """See the module docstring."""

    def __init__(self, registry: Registry, reports: Reports, lives: Callable[[Record], bool]) -> None:
        self._registry = registry
        self._reports = reports
        self._lives = lives  # whether a supervisor runs
        self.keys = KeyTable()
        self._locks: LockTable[Endpoint] = LockTable()
        self._waiting: dict[Claim[Endpoint], Responder] = {}
        self._listeners: dict[Endpoint, ModuleProcess] = {}

    # -- keys -------------------------------------------------------------------------------------------------------

    def alive(self, holder: Holder) -> bool:
        """Return whether an incarnation is there; one whose process has died is not, also before its exit was reported."""
        record = self._registry.get(holder.id)
        if record is None or record.incarnation != holder.incarnation:
            return False
        if record.spec.kind is Kind.SUPERVISOR:
            return self._lives(record)  # it has no process: it ends here, and its names with it
        process = record.process
        return process is not None and not process.ended and (process.pid is None or not has_exited(process.pid))

    def register(self, key: Any, holder: Holder, value: Any, *, unique: bool) -> None:
        """Register a process under a key; the listeners are told.

        Raises:
            RegistryError: The key is held by a living process.
            UnserialisableError: The value is nested too deep to be handed out again.
        """
        size = packed_size(value)
        self.keys.register(key, holder, value, unique=unique, alive=self.alive)
        facts = {"incarnation": holder.incarnation, "key": key, "unique": unique}
        self._reports.emit("registered", holder.id, **facts, **(shown("value", value, size) if value is not None else {}))
        self._tell(Registered(key, holder.id, value))

    def unregister(self, key: Any, holder: Holder | None, match: Any = ANY) -> list[Entry]:
        """Remove entries; the listeners are told, as of every explicit removal and of no other."""
        removed = self.keys.unregister(key, holder, match)
        for entry in removed:
            owner = entry.holder
            self._reports.emit("unregistered", owner.id, incarnation=owner.incarnation, key=entry.key)
            self._tell(Unregistered(entry.key, owner.id))
        return removed

    def start(self, record: Record) -> StartError | None:
        """Register an incarnation under its spec's key, before its init runs; returns why it must not be started."""
        key = record.spec.register
        if key is None:
            return None
        try:
            self.register(key, Holder(FullId(record.id), Incarnation(record.incarnation)), None, unique=True)
        except RegistryError as exc:
            reason = ("error", type(exc).__name__, exc.message, "")
            record.exited(record.incarnation, reason)
            error = StartError(f"{record.id!r} did not start: {exc.message}", id=record.id, reason=reason)
            error.code = exc.code
            return error
        return None

    def whereis(self, key: Any) -> Record | None:
        """Return the living holder of a unique key."""
        holder = self.keys.whereis(key, self.alive)
        return None if holder is None else self._registry.get(holder.id)

    # -- the end of a process or a client, told before anybody hears of it ---------------------------------------------

    def ended(self, id: str, incarnation: int) -> None:
        """An incarnation ended: its names are free, its locks go to the next in line."""
        self.keys.release(Holder(FullId(id), Incarnation(incarnation)))
        self._gone(ProcessId(id, incarnation))

    def session_closed(self, session: Asker) -> None:
        """A client's connection, or a module that asked for things, is gone: its locks go to the next in line."""
        self._gone(session.endpoint)

    def _gone(self, endpoint: Endpoint) -> None:
        for claim in self._locks.claims(endpoint):
            self._waiting.pop(claim, None)
        self._listeners.pop(endpoint, None)
        self._grant(self._locks.owner_gone(endpoint))

    # -- listeners --------------------------------------------------------------------------------------------------

    def listen(self, process: ModuleProcess) -> None:
        """Tell a process of every registration and explicit removal from now on, once, however often it asks."""
        self._listeners[ProcessId(process.id, process.incarnation)] = process

    def unlisten(self, process: ModuleProcess) -> bool:
        """Tell it no more; returns whether it listened."""
        return self._listeners.pop(ProcessId(process.id, process.incarnation), None) is not None

    def swapped(self, old: ModuleProcess, new: ModuleProcess, rest: Endpoint) -> None:
        """Another process is an incarnation from now on: it is told what that listened for, and holds its locks.

        Those of the old one's other threads and tasks, and what these wait for, are `rest`'s: they end with them.
        """
        endpoint = ProcessId(new.id, new.incarnation)
        if endpoint in self._listeners:
            self._listeners[endpoint] = new
        for claim in self._locks.claims(endpoint):
            is_main = old.main is not None and claim.token == old.main and claim not in self._waiting
            owner, token = (endpoint, new.main or claim.token) if is_main else (rest, claim.token)
            moved = self._locks.moved(claim, owner, token)
            if claim in self._waiting:
                self._waiting[moved] = self._waiting.pop(claim)
                self._waiting[moved].on_done = partial(self._stop_waiting, moved)

    def holds(self, key: Any, token: str, owner: Endpoint) -> bool:
        """Return whether this very party has a lock, or waits for it."""
        return Claim(typed(key), owner, token) in self._locks.claims(owner)

    def listens(self, endpoint: Endpoint) -> bool:
        """Return whether a process is told of registrations."""
        return endpoint in self._listeners

    def _tell(self, message: Registered | Unregistered) -> None:
        for process in list(self._listeners.values()):
            process.message(message)

    # -- locks ------------------------------------------------------------------------------------------------------

    def lock(self, key: Any, token: str, timeout_s: float | None, responder: Responder) -> None:
        """Answer when the lock is the asker's, in the order they asked; CallTimeoutError when it is not in time."""
        claim, granted = self._locks.acquire(key, responder.session.endpoint, token)
        if granted:
            responder.reply(None)
            return
        self._waiting[claim] = responder
        responder.on_done = lambda: self._stop_waiting(claim)
        text = f"lock {show(key)} was not free"
        if timeout_s is not None and timeout_s <= 0:
            responder.fail(CallTimeoutError(text))
        else:
            responder.give_up_after(timeout_s, f"{text} within {timeout_s} s")

    def unlock(self, key: Any, token: str, owner: Endpoint) -> bool:
        """Give up a lock, or the wait for it; returns whether there was anything to give up."""
        claim = Claim(typed(key), owner, token)
        if claim not in self._locks.claims(owner):
            return False
        waiting = self._waiting.get(claim)
        if waiting is not None:
            waiting.cancel()  # takes it out of the line
        else:
            self._grant([self._locks.release(claim)])
        return True

    def _stop_waiting(self, claim: Claim[Endpoint]) -> None:
        if self._waiting.pop(claim, None) is not None:
            self._locks.release(claim)

    def _grant(self, claims: Iterable[Claim[Endpoint] | None]) -> None:
        for claim in claims:
            if claim is not None:
                self._waiting.pop(claim).reply(None)
