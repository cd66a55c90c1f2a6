"""Gives processes to modules and carries their exit statuses to whoever they belong to.

Where dspy is preloaded there are two zygotes. Servers come from one without it: their processes are a third of the size, start
faster and are gone faster. dspy modules come from the other, which has numpy too, and so do servers that were seen to import
one of them. What wants a template comes from that, once there is one (`templates`).
When a zygote dies, what it forked lives on as children of the runtime, which then reaps them here. When a template dies, it is
the children of the zygote that the template came from, or of the runtime where that is dead, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from dspex_runtime.errors import StartError
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.nursery import Nursery
from dspex_runtime.node.spares import Spare
from dspex_runtime.node.templates import Templates
from dspex_runtime.node.zygote_life import ZygoteLife
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.subreaper import reap_exited, reap_strays
from dspex_runtime.osproc.warmth import Warmth
from dspex_runtime.osproc.zygote_client import Zygote
from dspex_runtime.types import Kind

ENTRY: Final = "dspex_runtime.host.bootstrap:main"
REHEARSAL: Final = "dspex_runtime.host.bootstrap:rehearse"
MAX_TARGETS_KNOWN: Final = 10_000  # what was learned of so many targets is kept


class Launcher:
    """See the module docstring."""

    def __init__(
        self,
        loop: EventLoop,
        board: Board,
        lifeline_fd: int,
        *,
        preload: Sequence[str],
        env: Mapping[str, str],
        spares: int,
        path: Sequence[str],
        facts: Callable[[ModuleProcess], dict[str, Any]],
        on_failed: Callable[[StartError], None],
        report: Callable[..., None],
        others: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._loop = loop
        self._board = board
        self._lifeline_fd = lifeline_fd
        self._env = dict(env)
        self._path = tuple(path)
        self._facts = facts
        self._on_failed = on_failed
        self._others = others  #: pids of children that are somebody else's to wait for
        self.report = report
        self._calm_for: set[object] = set()  #: whose callers are about to wait
        self._expected = 0  #: starts announced and not yet made
        self._by_pid: dict[int, ModuleProcess] = {}
        self._adopted: set[int] = set()  #: pids whose zygote died: ours to reap
        self._needs_dspy: dict[str, bool] = {}  #: what was seen of a target, whatever its spec said
        bare = tuple(name for name in preload if name.partition(".")[0] != "dspy")
        if len(bare) < len(preload) and find_spec("numpy") is not None:
            preload = (*preload, "numpy")  # 130 ms when it is imported after the fork, and then at each restart
        self._lean = self._nursery("servers" if len(bare) < len(preload) else "all", bare, Warmth.SERVER, spares)
        self._full = self._lean if len(bare) == len(preload) else self._nursery("modules", preload, Warmth.MODULE, spares)
        self._nurseries = tuple(dict.fromkeys((self._lean, self._full)))
        self._templates = Templates(loop, self, spares)
        self._latest = self._lean  #: whom the starts that are announced will most likely ask

    def _nursery(self, name: str, preload: Sequence[str], warmth: Warmth, spares: int) -> Nursery:
        def spawn() -> Zygote:
            return Zygote.spawn(
                preload=tuple(preload),
                env=self._env,
                lifeline_fd=self._lifeline_fd,
                board_fd=self._board.fd,
                entry=ENTRY,
                rehearsal=REHEARSAL,
                log_fd=2,
                path=self._path,
            )

        return Nursery(self._loop, self, name=name, warmth=warmth, spares=spares, life=partial(ZygoteLife, self._loop, spawn))

    @property
    def zygote_pids(self) -> dict[str, int | None]:
        """The pids of the living zygotes by whom they serve, first the one for servers; templates are "template of <id>"."""
        return {nursery.name: nursery.zygote_pid for nursery in self._nurseries} | self._templates.pids

    def open(self) -> None:
        """Start the zygotes; a start that is asked for meanwhile waits for the one it needs.

        Raises:
            OSError: One could not be started.
        """
        for nursery in self._nurseries:
            nursery.open()

    def refused(self, nursery: Nursery, error: StartError) -> None:
        """Hear that a zygote's imports failed: that is everybody's trouble only if somebody waits for it."""
        if nursery.waited_for:
            self._on_failed(error)

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self, process: ModuleProcess) -> None:
        """Give `process` an OS process, now or when a zygote has made one."""
        nursery = self._latest = self._templates.nursery_for(process) or self.nursery_of(process)
        nursery.expect(self._expected)
        nursery.start(process)

    def nursery_of(self, process: ModuleProcess) -> Nursery:
        """Return the one whose zygote such a process comes from."""
        return self._full if self._needs_dspy.get(_name_of(process), process.spec.kind is Kind.MODULE) else self._lean

    def _started(self, process: ModuleProcess) -> None:
        """Remember what a target turned out to be: a name alone tells neither a server nor what its file imports."""
        name = _name_of(process)
        needs = process.kind is Kind.MODULE or process.outgrew or self._needs_dspy.get(name, False)
        if len(self._needs_dspy) < MAX_TARGETS_KNOWN:
            self._needs_dspy[name] = needs
        self._templates.started(process)

    def expect(self, starts: int) -> None:
        """Announce starts that will follow one after another: forks are made ahead of them, on another core.

        A negative number takes back what was announced: it is being made now, or will not be.
        """
        self._expected += starts
        if starts > 0:
            self._latest.expect(self._expected)
        elif not self._expected:
            for nursery in self._all_nurseries():
                nursery.expect(0)

    def keep_spares(self, n: int) -> None:
        """Keep so many processes warm from now on, of each kind."""
        for nursery in self._nurseries:
            nursery.keep_spares(n)
        self._templates.keep_spares(n)

    def calm(self, who: object, *, is_calm: bool) -> None:
        """Refill no spares for a moment, as callers of `who`, a swap, are about to wait; or go on, when nobody's do any more."""
        if is_calm:
            self._calm_for.add(who)
        elif who in self._calm_for:
            self._calm_for.discard(who)
            if self._calm_for:
                return  # the others' callers wait still
        else:
            return
        for nursery in self._all_nurseries():
            nursery.calm(is_calm)

    def abandon(self, process: ModuleProcess) -> None:
        """Forget a start that still waits for a process; it ends as never forked."""
        if any(nursery.abandon(process) for nursery in self._all_nurseries()):
            process.never_forked("stopped before it had a process")

    def assign(self, process: ModuleProcess, spare: Spare) -> None:
        """Make a forked process a module's."""
        try:
            slot = self._board.allocate()
        except OSError as exc:
            spare.sock.close()
            process.never_forked(f"no place on the board for another process: {exc}")
            return
        self._by_pid[spare.pid] = process
        process.on_started = self._started
        facts = self._facts(process)
        self._templates.assigned(process, facts)
        process.assign(spare.pid, spare.sock, slot, facts)

    # -- ending -----------------------------------------------------------------------------------------------------

    def exited(self, pid: int, status: int) -> None:
        """Tell a process its exit status, once; those that nobody became are nobody's."""
        process = self._by_pid.pop(pid, None)
        if process is None:
            self._templates.exited(pid, status)
            return
        slot = process.slot
        process.exited(status)
        if slot is not None:
            self._board.free(slot)
        self._templates.left(process)

    def stranger(self, pid: int, status: int) -> None:
        """Hear of one that a zygote has not forked: a process of a template that died just now, or nobody's."""
        if pid in self._by_pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # as the zygote does for its own; the zombie pins the group's number
        self.exited(pid, status)

    def lost(self, nursery: Nursery, pid: int, orphans: set[int]) -> None:
        """Have these reaped from now on by who is their parent now: the zygote that a template came from, or we."""
        known = orphans & self._by_pid.keys()
        if not any(each.orphaned_by(pid, known) for each in self._nurseries if each is not nursery):
            self._adopted |= orphans
            self.reap()

    def reap(self) -> None:
        """Collect the exits of processes whose zygote died. Called on SIGCHLD; costs nothing while there are none."""
        if self._adopted:
            for pid, status in reap_exited(self._adopted):
                self._adopted.discard(pid)
                self.exited(pid, status)
        zygotes = [pid for pid in self.zygote_pids.values() if pid is not None]
        reap_strays({*self._adopted, *self._by_pid, *zygotes, *self._others()})

    # -- closing ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End spares and zygotes. Modules must be gone by now; a zygote kills whatever descendant is left."""
        self._templates.close()
        for nursery in self._nurseries:
            nursery.close()
        for nursery in self._nurseries:
            nursery.collect()

    def _all_nurseries(self) -> list[Nursery]:
        return [*self._nurseries, *self._templates.nurseries]


def _name_of(process: ModuleProcess) -> str:
    """What one child has in common with others of the same code; what came pickled, only with its own restarts."""
    return process.launch.target or process.id
