"""One zygote and the processes that it has made ready: hands each start one, in the order they were asked for.

A start takes a spare when one is idle, else the next fork. The zygote is replaced when it dies (`zygote_life`); what it had
forked is then its keeper's to reap. Knows nothing of modules that have their process: those are the keeper's. A template
(`templates`) is a zygote like any: it has a nursery of its own, and the process that it is it has from another one.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol, TypeAlias

from dspex_runtime.errors import StartError
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.spares import Pool, Spare
from dspex_runtime.node.zygote_life import MakeLife
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.wire.messages import Message

log = logging.getLogger(__name__)

MAX_FORKS_AHEAD: Final = 8  # forks asked for and not yet there; more only lengthens the zygote's queue
REFILL_AFTER_S: Final = 0.02  # spares are refilled when no start has waited for this long
CALM_S: Final = 1.0  # ... and no swap's callers wait, which may take longer than spares can be missed


class Keeper(Protocol):
    """Whom a nursery works for."""

    def assign(self, process: ModuleProcess, spare: Spare) -> None:
        """Take the process that a start was waiting for."""

    def exited(self, pid: int, status: int) -> None:
        """Hear of the end of an assigned process; it is acknowledged on return."""

    def stranger(self, pid: int, status: int) -> None:
        """Hear of the end of one that the zygote has not forked itself: a dead template has, or one that lives below it."""

    def lost(self, nursery: Nursery, pid: int, orphans: set[int]) -> None:
        """Take over the reaping of these: their zygote, `pid`, is gone."""

    def refused(self, nursery: Nursery, error: StartError) -> None:
        """Hear why there is no zygote and will be none."""

    def report(self, type: str, **facts: Any) -> None:
        """Publish an event."""


Taker: TypeAlias = Callable[[Spare | None], None]  #: of a process that is to be a template; None: none could be had


class Nursery:
    """See the module docstring. `refusal` is why it serves nobody: its zygote's imports failed."""

    def __init__(self, loop: EventLoop, keeper: Keeper, *, name: str, warmth: Warmth, spares: int, life: MakeLife) -> None:
        """Prepare; `open` starts the zygote.

        Args:
            loop: Of the runtime process.
            keeper: Gets the processes and their ends.
            name: Whom it serves, for reports.
            warmth: Of its spares.
            spares: How many to keep.
            life: Makes the life of its zygote.
        """
        self.name = name
        self.refusal: StartError | None = None
        self._loop = loop
        self._keeper = keeper
        self._warm = Pool(warmth, spares)
        self._cold = Pool(Warmth.COLD, 0)  #: forked for starts that wait or are announced; none is kept in store
        self._waiting: deque[ModuleProcess] = deque()
        self._ahead = 0  #: starts announced and not yet made
        self._takers: deque[Taker] = deque()  #: of forks that are to be templates
        self._children: set[int] = set()
        self._templates: set[int] = set()  #: those of them that fork themselves
        self._zygote = life(on_message=self._message, on_lost=self._zygote_lost, on_failed=self._zygote_failed)
        self._closing = False
        self._retired = False
        self._refill_timer: Timer | None = None
        self._calm_until = 0.0  #: spares are not refilled before, on the loop's clock

    @property
    def zygote_pid(self) -> int | None:
        """The living zygote's pid."""
        return self._zygote.pid

    # -- the zygote -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the zygote; starts that are asked for meanwhile wait for it.

        Raises:
            OSError: It could not be started.
        """
        self._zygote.open()

    def _message(self, peer: Peer, message: Message) -> None:
        match message:
            case ["forked", int(pid), int(warmth)]:
                self._forked(peer, pid, self._pool(warmth))
            case ["exited", int(pid), int(status)]:
                self._exited(pid, status)
                peer.send(["reap", pid])
            case ["ready", dict() as info]:
                self._zygote.became_ready()
                self._keeper.report("zygote_ready", serves=self.name, **info)
                self._ask_forks()
                self._refill_later()
            case ["failed", dict() as why]:
                self._preload_failed(why)
            case ["fork_failed", str(text), int(warmth)]:
                self._fork_failed(text, self._pool(warmth))
            case _:
                log.error("illegal message from the zygote: %r", message)

    def _pool(self, warmth: int) -> Pool:
        return self._cold if warmth == Warmth.COLD else self._warm

    def _preload_failed(self, why: dict[str, Any]) -> None:
        message, traceback = str(why.get("message")), str(why.get("traceback") or "")
        self._keeper.report("zygote_failed", serves=self.name, message=message)
        if self._zygote.was_ready:
            return  # it worked before: what is missing now may come back
        self.refusal = StartError(message, remote_traceback=traceback or None, reason=("error", "PreloadError", message, traceback))
        self._keeper.refused(self, self.refusal)
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        self._end_waiting(str(self.refusal), self.refusal)

    def _end_waiting(self, message: str, error: StartError | None = None) -> None:
        while self._takers:
            self._takers.popleft()(None)
        for _ in range(len(self._waiting)):  # and not those that are started again for it
            if self._waiting:  # else the end of one was the end of others, too
                self._waiting.popleft().never_forked(message, error)

    def _zygote_lost(self, pid: int) -> None:
        if self.refusal is not None:
            return
        modules = len(self._children) - len(self._warm) - len(self._cold)
        self._warm.clear()
        self._cold.clear()
        children, self._children = self._children, set()
        self._templates.clear()
        self._keeper.lost(self, pid, children)
        delay_s = self._zygote.reopen_later()
        self._keeper.report("zygote_lost", serves=self.name, pid=pid, modules=modules, again_in_s=delay_s)

    def _zygote_failed(self, text: str) -> None:
        self._keeper.report("zygote_failed", serves=self.name, message=text)

    # -- starting ---------------------------------------------------------------------------------------------------

    @property
    def waited_for(self) -> bool:
        """Whether a start waits for a process."""
        return bool(self._waiting)

    def start(self, process: ModuleProcess) -> None:
        """Have `process` assigned an OS process, now or when the zygote has made one; refused if there will be none."""
        spare = self._warm.take() or self._cold.take()
        if spare is not None:
            self._keeper.assign(process, spare)
            self._refill_later()
        else:
            self._waiting.append(process)
            if self.refusal is not None:
                # Not now: it may be a restart of what was refused just now, and the next one its restart, and so on.
                self._loop.call_soon(self._refuse_waiting)
        self._ask_forks()

    def give(self, taker: Taker) -> None:
        """Have `taker` given a process that is to be a template, now or with the next fork: what it is for would start many."""
        spare = self._warm.take() or self._cold.take()
        if spare is not None:
            self._hand(taker, spare)
            self._refill_later()
        elif self.refusal is not None or self._closing:
            taker(None)
        else:
            self._takers.append(taker)
            self._ask_forks()

    def _hand(self, taker: Taker, spare: Spare) -> None:
        self._templates.add(spare.pid)
        self._zygote.send(["template", spare.pid])  # before it can have forked anything
        taker(spare)

    def expect(self, starts: int) -> None:
        """Know how many starts will follow one after another: forks are made ahead of them, on another core."""
        more = starts > self._ahead
        self._ahead = starts
        if more:
            self._ask_forks()
        elif not starts:
            self._cold.trim(0)

    def keep_spares(self, n: int) -> None:
        """Keep so many spares from now on."""
        self._warm.size = n
        self._warm.trim(n)
        self._refill_later()

    def calm(self, is_calm: bool) -> None:
        """Refill nothing for CALM_S, as a swap's callers are about to wait; or go on, when they do not any more.

        The rehearsal has taken a spare. Making another one takes 3 ms of the zygote and 5 to 20 of the spare itself: a third of
        all that was computed in a pause. While there is none left it is made all the same: the next start would wait for it.
        """
        self._calm_until = self._loop.now() + CALM_S if is_calm else 0.0
        if self._refills_at is not None:
            self._drop_refill()
            self._refill_later()

    def abandon(self, process: ModuleProcess) -> bool:
        """Forget a start that still waits for a process; False if it does not."""
        if process not in self._waiting:
            return False
        self._waiting.remove(process)
        return True

    def take_waiting(self, which: Callable[[ModuleProcess], bool] = lambda _: True) -> list[ModuleProcess]:
        """Forget those starts that still wait for a process and that somebody else makes; return them, in order."""
        taken = [process for process in self._waiting if which(process)]
        self._waiting = deque(process for process in self._waiting if not which(process))
        return taken

    def _ask_forks(self) -> None:
        if not self._zygote.ready or self._retired:
            return
        # Whoever waits gets a cold fork: a rehearsal pays only while nobody waits for it.
        coming = max(0, self._ahead - len(self._cold))
        wanted = min(len(self._takers) + len(self._waiting) + coming, MAX_FORKS_AHEAD)
        # In a burst half of them at a time: the zygote forks in a row what it is asked in one message, and a row costs it
        # half the pages, and its children those that it would have written in between.
        if wanted > self._cold.asked and (wanted < MAX_FORKS_AHEAD or self._cold.asked <= MAX_FORKS_AHEAD // 2):
            self._ask(self._cold, wanted - self._cold.asked)

    def _ask(self, pool: Pool, n: int) -> None:
        pool.asked += n
        self._zygote.send(["fork", n, int(pool.warmth)])

    @property
    def _refills_at(self) -> float | None:
        """When spares are refilled, on the loop's clock."""
        timer = self._refill_timer
        return None if timer is None or timer.callback is None else timer.deadline

    def _drop_refill(self) -> None:
        if self._refill_timer is not None:
            self._refill_timer.cancel()

    def _refill_later(self) -> None:
        """Refill in a while, or sooner than was intended when the last spare has gone."""
        at = self._loop.now() + REFILL_AFTER_S
        if len(self._warm):
            at = max(at, self._calm_until)
        if self._refills_at is None or self._refills_at > at:
            self._drop_refill()
            self._refill_timer = self._loop.call_at(at, self._refill)

    def _refill(self) -> None:
        if not self._zygote.ready or self._closing or self._retired:
            return
        if self._waiting or self._ahead:
            self._refill_later()  # a tree is coming up: its starts go first
            return
        if self._warm.missing:
            self._ask(self._warm, self._warm.missing)

    def _forked(self, peer: Peer, pid: int, pool: Pool) -> None:
        fd = peer.take_fd()
        pool.arrived()
        if fd is None:
            peer.close(RuntimeError("the zygote sent a fork without its control pipe"))
            return
        self._children.add(pid)
        spare = Spare(pid, socket.socket(fileno=fd))
        if self._takers:
            self._hand(self._takers.popleft(), spare)
            self._ask_forks()
        elif self._waiting:
            self._keeper.assign(self._waiting.popleft(), spare)
            self._ask_forks()
        else:
            pool.put(spare)
            self._cold.trim(self._ahead)
            if self._retired:
                self._warm.trim(0)
        self._refill_later()

    def _fork_failed(self, text: str, pool: Pool) -> None:
        pool.arrived()
        self._keeper.report("fork_failed", message=text)
        if self._takers:
            self._takers.popleft()(None)
        elif self._waiting:
            self._waiting.popleft().never_forked(text)
        self._ask_forks()

    # -- ending -----------------------------------------------------------------------------------------------------

    def _exited(self, pid: int, status: int) -> None:
        if pid not in self._children:
            self._keeper.stranger(pid, status)
            return
        self._children.discard(pid)
        if self._warm.lost(pid) or self._cold.lost(pid):
            self._refill_later()
        self._keeper.exited(pid, status)
        self._end_if_unused()

    def forked(self, pid: int) -> bool:
        """Return whether its zygote is the parent of this process."""
        return pid in self._children

    def orphaned_by(self, template: int, pids: Collection[int]) -> bool:
        """Have the zygote report these from now on, which a template has left it; False where that was no child of this zygote."""
        if template not in self._templates:
            return False
        self._templates.discard(template)
        self._children |= set(pids)
        self._zygote.send(["adopt", template, list(pids)])
        return True

    def retire(self) -> None:
        """Make nothing any more, and end the zygote once none of its children is left."""
        self._retired = True
        self._ahead = 0
        self._drop_refill()
        self.keep_spares(0)
        self._cold.trim(0)
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._retired and not self._children and not self._waiting:
            self._closing = True
            self._zygote.close()

    def close(self) -> None:
        """Ask spares and the zygote to end; it kills whatever descendant is left. `collect` waits for it."""
        self._closing = True
        self._drop_refill()
        self._end_waiting("the runtime is stopping")
        self._warm.clear()
        self._cold.clear()
        self._zygote.close()

    def collect(self) -> None:
        """Wait until the zygote that was closed is gone."""
        self._zygote.collect()
