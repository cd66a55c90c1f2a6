"""What is kept of every child beyond its process: which of it there is, who is given it, and what a new keeper has to be told.

The keeper (`keeper_link`) holds and stores it; a second hand on what only it holds is in `holdings`. Never opens the store, never
reads a value. Decides nothing about modules.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from dspex_runtime.errors import StartError
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.holdings import BLOB, TABLE, Holdings
from dspex_runtime.node.keeper_link import ASK_TIMEOUT_S, Answer, Facts, KeeperLink
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.osproc.keeper_client import KeeperProcess
from dspex_runtime.state.protocol import OFFERS

__all__ = ["Answer", "Keeping"]

log = logging.getLogger(__name__)

HAND_OVER_TIMEOUT_S: Final = 10.0
ON_ITS_WAY_S: Final = 0.001  # from a module's pipe to us


class Keeping:
    """See the module docstring. `opened` is whether the store was looked at: until then nothing that is kept is known."""

    def __init__(
        self,
        loop: EventLoop,
        *,
        spawn: Callable[[], KeeperProcess],
        living: Callable[[], Iterable[ModuleProcess]],
        figures: Callable[[ModuleProcess], Facts],
        on_event: Callable[[Facts], None],
        report: Callable[..., None],
        room: int,
    ) -> None:
        """Prepare; `open` starts the process.

        Args:
            loop: Of the runtime process.
            spawn: Starts a keeper; may raise OSError.
            living: The processes that live, starting ones included.
            figures: What a process has counted: calls, failures, busy_ns.
            on_event: Told what the keeper tells (`state.protocol`, events).
            report: Publishes an event of ours.
            room: How many descriptors may be held here besides those that the keeper has.
        """
        self.opened = False
        self._loop = loop
        self._link = KeeperLink(loop, self, spawn=spawn, report=report)
        self._living = living
        self._figures = figures
        self._on_event = on_event
        self._on_opened: Callable[[], None] | None = None
        self._on_failed: Callable[[StartError], None] | None = None
        self._ids: set[str] = set()  #: of which something is kept
        self._holdings = Holdings(room)
        self._noted: dict[str, Facts] = {}  #: by id: restarts, last exit, metrics: the newest, whoever keeps them
        self._configured: dict[str, Mapping[str, Any]] = {}
        self._earlier: set[str] = set()  #: whose next start has to be told: there may be a configuration, or a restore

    @property
    def pid(self) -> int | None:
        """Of the living keeper."""
        return self._link.pid

    # -- the keeper -------------------------------------------------------------------------------------------------

    def open(
        self,
        state_dir: str,
        *,
        fresh: bool,
        shared: Mapping[str, Any],
        on_opened: Callable[[], None],
        on_failed: Callable[[StartError], None],
    ) -> None:
        """Start the keeper and have it open the store.

        Args:
            state_dir: The state directory.
            fresh: Whether what is there is to be discarded first.
            shared: Specs of the runtime's own parameters.
            on_opened: Called once, when what is kept is known.
            on_failed: Called instead when keepers end one after another before that.

        Raises:
            OSError: It could not be started.
        """
        self._on_opened, self._on_failed = on_opened, on_failed
        self._link.open({"state_dir": state_dir, "fresh": fresh, "shared": dict(shared)})

    def keeper_opened(self, found: Facts, *, again: bool) -> None:
        """Know what the store has; give a keeper that took another one's place what only that had."""
        self.opened = True
        self._ids.update(found["kept"])
        if not again:
            self._earlier.update(found["kept"])
        for id, facts in found["ids"].items():
            self._noted[id] = {**facts, **self._noted.get(id, {})}
        if again:
            self._hand_over()
        on_opened, self._on_opened = self._on_opened, None
        if on_opened is not None:
            on_opened()

    def _hand_over(self) -> None:
        for id, noted in self._noted.items():
            self.tell("note", {"id": id, "facts": noted})
        for id, values in self._configured.items():
            self.tell("configured", {"id": id, "values": dict(values)})
        living = {process.id: process.incarnation for process in self._living()}
        for id, kind, facts, fd in self._holdings.all():
            self.tell(kind, {"id": id, "incarnation": living.get(id, 0), **facts}, (os.dup(fd),))
        for process in self._living():
            if process.serving and self._holdings.lacks(process.id):
                process.request("hand_over", {}, HAND_OVER_TIMEOUT_S, _handed_over)

    def keeper_failed(self, error: StartError) -> None:
        """No keeper gets as far as opening the store."""
        if self._on_failed is not None:
            self._on_failed(error)

    def keeper_offers(self, id: str, kind: str, facts: Facts, fd: int) -> None:
        """Hold a copy of what the keeper made itself."""
        self._holdings.take(id, kind, facts, fd)

    def keeper_tells(self, facts: Facts) -> None:
        """Pass on what the keeper tells."""
        self._on_event(facts)

    def ask(
        self, op: str, args: Facts, answer: Answer, *, fds: Sequence[int] = (), timeout_s: float | None = ASK_TIMEOUT_S
    ) -> None:
        """Ask the keeper, see `KeeperLink.ask`."""
        self._link.ask(op, args, answer, fds=fds, timeout_s=timeout_s)

    def tell(self, op: str, args: Facts, fds: Sequence[int] = ()) -> None:
        """Tell the keeper, see `KeeperLink.tell`."""
        self._link.tell(op, args, fds)

    # -- what is known ----------------------------------------------------------------------------------------------

    def holds(self, id: str) -> bool:
        """Return whether something is kept for an id, so that its next incarnation has to wait for it."""
        return id in self._ids

    def holds_table(self, id: str) -> bool:
        """Return whether the table of an id is there to be read."""
        return self._holdings.has_table(id)

    @property
    def n_tables(self) -> int:
        """How many tables are there to be read."""
        return self._holdings.n_tables

    def noted(self, id: str) -> Facts:
        """Return what is known of an id from before: restarts, last_exit, metrics, checkpoint."""
        return self._noted.get(id, {})

    def base(self, id: str) -> Facts:
        """Return the figures of all incarnations that have ended: calls, failures, busy_ns."""
        metrics: Facts = self.noted(id).get("metrics") or {}
        return metrics

    def note(self, id: str, facts: Facts) -> None:
        """Keep facts of an id, also over the end of this runtime."""
        known = self._noted.setdefault(id, {})
        if any(known.get(key) != value for key, value in facts.items()):
            known |= facts
            self.tell("note", {"id": id, "facts": facts})

    def kept(self, id: str) -> None:
        """Something of an id is kept from now on: a checkpoint."""
        self._ids.add(id)

    def restored(self, id: str) -> None:
        """A stopped module was put back to a checkpoint: the keeper has to hear when it has taken that over."""
        self._ids.add(id)
        self._earlier.add(id)

    def forget(self, id: str) -> None:
        """Keep nothing of an id any more."""
        if id not in self._ids and id not in self._noted:
            return  # never heard of: each child of a pool comes by here before its first start
        self._ids.discard(id)
        self._holdings.forget(id)
        self._noted.pop(id, None)
        self._configured.pop(id, None)
        self._earlier.discard(id)
        self._link.ask("drop", {"id": id}, _dropped, timeout_s=None, is_asked_again=True)

    # -- reading ----------------------------------------------------------------------------------------------------

    def reader(self, id: str, answer: Answer) -> None:
        """Answer with a descriptor to read a table with, or none; from here if possible: a reader waits for no keeper."""
        fd = self._holdings.readable(id, TABLE)
        if fd is None:
            self.ask("reader", {"id": id}, answer)
        else:
            answer(None, None, [fd])

    def blob_of(self, id: str, name: str, version: int, answer: Answer) -> None:
        """Answer with the descriptor of one version of a large value, or none; from here if possible, too."""
        if not self._blob_from_here(id, name, version, answer):
            # A reader can be faster than we: what it saw published had been sent to us before.
            self._loop.call_later(ON_ITS_WAY_S, lambda: self._blob_that_came(id, name, version, answer))

    def _blob_that_came(self, id: str, name: str, version: int, answer: Answer) -> None:
        if not self._blob_from_here(id, name, version, answer):
            self.ask("blob_of", {"id": id, "name": name, "version": version}, answer)

    def _blob_from_here(self, id: str, name: str, version: int, answer: Answer) -> bool:
        fd = self._holdings.readable(id, BLOB, name, version)
        if fd is None and not self._holdings.supersedes(id, name, version):
            return False
        answer(None, None, [] if fd is None else [fd])
        return True

    # -- modules ----------------------------------------------------------------------------------------------------

    def give(self, process: ModuleProcess) -> None:
        """Get for a process what is kept for its id, and send it there; asked again of the next keeper if this one dies."""

        def given(value: Any, fault: Facts | None, fds: list[int]) -> None:
            if fault is not None:  # never fatal: what the module has in its own journal it reads itself
                log.error("nothing kept of %s could be given: %s", process.id, fault.get("message"))
            process.give_kept(value or {}, fds)

        if not process.ended:
            asked = {"id": process.id, "incarnation": process.incarnation}
            self._link.ask("give", asked, given, timeout_s=None, is_asked_again=True)

    def offered(self, process: ModuleProcess, event: Facts, fd: int) -> None:
        """Forward what a module wants kept: its table, a value of its own, its journal of memory."""
        kind = event.get("type")
        if kind not in OFFERS or process.ended:
            os.close(fd)
            return
        self._ids.add(process.id)
        facts: Facts = {key: event[key] for key in ("name", "version") if key in event}
        self._holdings.take(process.id, kind, facts, fd)
        self.tell(kind, {"id": process.id, "incarnation": process.incarnation, **facts}, (fd,))

    def rotated(self, process: ModuleProcess) -> None:
        """A segment of a journal is complete: it can be taken in, and go."""
        self.tell("fold", {"id": process.id})

    def ready(self, process: ModuleProcess) -> None:
        """A process has taken over its configured values."""
        values = process.launch.params
        if values or self._configured.get(process.id) or process.id in self._earlier:
            self._earlier.discard(process.id)
            self._configured[process.id] = values
            self.tell("configured", {"id": process.id, "values": dict(values)})

    def swapped(self, process: ModuleProcess) -> Facts:
        """Another process goes on from here as the same incarnation; return the figures of all before it.

        What the old one counted is kept; its journal, which the new one goes on writing, can be taken in as far as it is complete.
        """
        metrics = self._counted(process)
        self.note(process.id, {"metrics": metrics})
        self.tell("fold", {"id": process.id})
        return metrics

    def _counted(self, process: ModuleProcess) -> Facts:
        base, own = self.base(process.id), self._figures(process)
        return base | {key: base.get(key, 0) + own[key] for key in own}

    def ended(self, process: ModuleProcess, ending: Ending) -> None:
        """A process is gone: what it wrote is folded, and why it went and what it counted is kept."""
        facts: Facts = {"last_exit": ending.reason, "metrics": self._counted(process)}
        self._noted.setdefault(process.id, {}).update(facts)
        self.tell("ended", {"id": process.id, "incarnation": process.incarnation, "facts": facts})

    # -- end --------------------------------------------------------------------------------------------------------

    def close(self, done: Callable[[], None]) -> None:
        """End the keeper in order, then call `done`: it takes in every journal first. Modules must be gone by now."""
        self._holdings.close()
        self._link.close(done)

    def kill(self) -> None:
        """End the keeper at once. What it has not taken in is in the journals, for the next one. Idempotent."""
        self._holdings.close()
        self._link.kill()


def _handed_over(_value: Any, _fault: Facts | None) -> None:
    pass  # what it hands over comes as events


def _dropped(_value: Any, fault: Facts | None, _fds: list[int]) -> None:
    if fault is not None:
        log.error("what was kept of a deleted module is still there: %s", fault.get("message"))
