"""The runtime process: puts loop, launcher, supervision, broker and clients together, from its boot to its last exit.

Boot: the owner's connection brings the configuration; name, directories and socket are claimed; the zygote starts; the tree
boots. End: the tree is stopped in order, then the zygote, then this process. However the process ends, the lifeline ends
every module with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.config import parse
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.core.alarms import AlarmTable
from dspex_runtime.errors import ConfigError, DspexError, StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node import operations
from dspex_runtime.node.broker import Broker
from dspex_runtime.node.checkpointing import Checkpointing
from dspex_runtime.node.composites.composites import Composites
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.event_store import EventStore
from dspex_runtime.node.front_door import FrontDoor
from dspex_runtime.node.keeper_events import KeeperEvents
from dspex_runtime.node.keeping import Keeping
from dspex_runtime.node.launcher import Launcher
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.naming import Naming
from dspex_runtime.node.operations import arguments
from dspex_runtime.node.operations import groups as group_ops
from dspex_runtime.node.parts import Parts
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.relations import Relations
from dspex_runtime.node.replicas import Replicas
from dspex_runtime.node.reports import Event, Reports
from dspex_runtime.node.session import Responder, Session, send_fault
from dspex_runtime.node.sources import Archive
from dspex_runtime.node.subscriptions import Subscriptions
from dspex_runtime.node.supervision import Supervision
from dspex_runtime.node.swapping.swaps import Swaps
from dspex_runtime.node.versions import Versions
from dspex_runtime.node.waiting import Waiters
from dspex_runtime.node.watchdog import Watchdog, metrics, totals
from dspex_runtime.osproc import folder_lock, lifeline, limits
from dspex_runtime.osproc.board import Board
from dspex_runtime.osproc.keeper_client import KeeperProcess
from dspex_runtime.osproc.subreaper import set_subreaper
from dspex_runtime.state.layout import holds_state, journal_directory
from dspex_runtime.types import Kind
from dspex_runtime.version import VERSION

if TYPE_CHECKING:
    from dspex_runtime.node.reloading.reload import Reload

log = logging.getLogger(__name__)

LOG_MAX_BYTES: Final = 10 * 2**20  # a module's log file is rotated at this size ...
LOG_KEEP: Final = 3  # ... and so many old ones are kept


class Node:
    """One runtime. Everything in it belongs to the thread of `run`."""

    def __init__(self, boot: socket.socket) -> None:
        self.version = VERSION
        self.name = "?"
        self.started_at = time.time()
        self.state = "booting"
        self.loop = EventLoop()
        self.registry = Registry()
        self.reports = Reports()
        self.broker = Broker(self.loop, send_fault)
        self.alarms = AlarmTable()
        self.naming = Naming(self.registry, self.reports, self._lives)
        self.relations = Relations(self.registry, lambda: self.supervision, lambda process: ModuleSession(self, process))
        self.relations.on_process_end.append(self.naming.ended)
        self.relations.on_session_end.append(self.naming.session_closed)
        self.subscriptions = Subscriptions(self.registry)
        self.relations.on_session_end.append(self.subscriptions.session_closed)
        self.waiters = Waiters()
        self.sessions: set[Session] = set()
        self.replicas = Replicas(self)
        self.spec: RuntimeSpec | None = None
        self.launcher: Launcher | None = None
        self.supervision: Supervision | None = None
        self.watchdog: Watchdog | None = None
        self.board: Board | None = None
        self.state_dir = Path()
        self._door = FrontDoor(self.loop, self._accept)
        self._lifeline: tuple[int, int] | None = None
        self._temporary_state = False
        self._state_lock = -1
        self._detached = False
        self._boot_responder: Responder | None = None
        self._shutdown_waiters: list[Callable[[], None]] = []
        self._accept(boot, owner=True)
        self.keeping = Keeping(
            self.loop,
            spawn=self._spawn_keeper,
            living=self._processes,
            figures=self._figures,
            on_event=KeeperEvents(self.alarms, self.reports, self.subscriptions).told,
            report=self.reports.emit,
            room=limits.raise_nofile()[0] // 4,  # one descriptor of a module is its pipe; clients need some, too
        )
        self.checkpointing = Checkpointing(self.loop, self.keeping, self.reports)
        self.compiles: set[str] = set()  #: full ids of the modules that are being compiled (`compiling`)
        self.reload: Reload | None = None  #: that is under way
        self.swaps = Swaps(self)
        self.versions = Versions(Archive(), self.keeping.noted, self.keeping.note)
        self.event_store = EventStore(self.loop, self.keeping)
        self.parts = Parts(self)
        self.composites = Composites(self)
        self.checkpointing.save = self.composites.save
        self.registry.noted = self.keeping.noted
        self.registry.on_change += [self.broker.changed, self.waiters.changed, self._note, self.checkpointing.changed]
        self.registry.on_change += [self.versions.changed]
        self.registry.on_forgotten += [self._remove_logs, self.keeping.forget, self.versions.forget]

    @property
    def socket_path(self) -> str:
        """Where clients find this runtime; "" before it has its name."""
        return self._door.path

    def run(self) -> int:
        """Serve until the tree has stopped. Returns 0, or 1 when it never came up."""
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        set_subreaper()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the CLI, which asks us in order
        self.loop.on_signal(signal.SIGTERM, self.shutdown)
        self.loop.on_signal(signal.SIGCHLD, lambda: self.launcher.reap() if self.launcher else None)
        self.loop.run()
        self._release()
        return 0 if self.state == "stopped" else 1

    # -- boot -------------------------------------------------------------------------------------------------------

    def boot(self, args: dict[str, Any], responder: Responder) -> None:
        """Come up as the owner says; the answer comes when the whole tree is ready, or with what prevented it."""
        if self.state != "booting" or self._boot_responder is not None:
            raise DspexError("this runtime has booted already")
        self._boot_responder = responder
        self._detached = bool(args.get("detach"))
        try:
            spec = self.spec = parse(args["config"])
            self.name = spec.name
            self._door.claim(spec.name)
            self._open_directories(spec)
            limits.raise_nofile()
            self._lifeline = lifeline.create()
            waits = self._open_store(spec, fresh=bool(args.get("fresh")))
            self._open_machinery(spec, [str(entry) for entry in args.get("sys_path") or ()])
            self._door.open()
        except DspexError as exc:
            self._boot_failed(exc)
            return
        except OSError as exc:
            hint = "`dspex doctor` shows what this machine allows"
            self._boot_failed(StartError(f"the runtime could not start: {exc}", hint=hint))
            return
        self.reports.follow(responder.session.peer, 0, None, list)
        if not waits:
            self._boot_tree()

    def _boot_tree(self) -> None:
        assert self.supervision is not None
        assert self.spec is not None
        if self.state == "booting":
            self.supervision.boot(self.spec.tree, self._tree_booted, self._root_exited)

    def _open_store(self, spec: RuntimeSpec, *, fresh: bool) -> bool:
        """Start the keeper; return whether the tree waits for it: only where something is there to be read."""
        waits = holds_state(self.state_dir)
        opened = self._boot_tree if waits else lambda: None
        self.keeping.open(str(self.state_dir), fresh=fresh, shared=spec.shared, on_opened=opened, on_failed=self._boot_failed)
        if not self._temporary_state:
            self.reports.sink = self.event_store.take
        return waits

    def _open_directories(self, spec: RuntimeSpec) -> None:
        if spec.state_dir is None:
            self.state_dir = Path(tempfile.mkdtemp(prefix=f"dspex-{spec.name}-"))
            self._temporary_state = True
            self._door.takes_along(self.state_dir)
        else:
            self.state_dir = Path(spec.state_dir)
        try:
            (self.state_dir / "logs").mkdir(parents=True, exist_ok=True)
            self._state_lock = folder_lock.take(self.state_dir, "runtime.state_dir")  # two stores would undo one another
            log_fd = os.open(self.state_dir / "runtime.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigError(f"runtime.state_dir: cannot write to {self.state_dir}: {exc.strerror}") from exc
        for fd in (1, 2):
            os.dup2(log_fd, fd)
        os.close(log_fd)

    def _open_machinery(self, spec: RuntimeSpec, sys_path: list[str]) -> None:
        assert self._lifeline is not None
        self.board = Board.create()
        self.launcher = Launcher(
            self.loop,
            self.board,
            self._lifeline[0],
            preload=spec.preload,
            env=spec.env,
            spares=spec.spares,
            path=[spec.base_dir, *sys_path],
            facts=self._facts,
            on_failed=self._zygote_refused,
            report=self.reports.emit,
            others=lambda: () if self.keeping.pid is None else (self.keeping.pid,),
        )
        self.supervision = Supervision(self.loop, self.registry, self.launcher, self.reports, self.relations, self.naming)
        self.watchdog = Watchdog(self.loop, self.board, self._all_processes, log_max_bytes=LOG_MAX_BYTES)
        self.launcher.open()

    def _lives(self, record: Record) -> bool:
        return self.supervision is not None and self.supervision.alive(record)

    def _processes(self) -> list[ModuleProcess]:
        return [record.process for record in self.registry if record.process is not None]

    def _all_processes(self) -> list[ModuleProcess]:
        return [*self._processes(), *self.swaps.beside]

    def _spawn_keeper(self) -> KeeperProcess:
        assert self._lifeline is not None
        return KeeperProcess.spawn(self._lifeline[0])

    def _figures(self, process: ModuleProcess) -> dict[str, int]:
        return totals(self.board, process.slot) if self.board is not None else {}

    def _note(self, record: Record) -> None:
        """Keep what `ps` shows over the end of this runtime."""
        restarts = record.earlier_restarts + record.restarts
        if restarts and record.spec.kind is not Kind.SUPERVISOR:  # a first start has nothing to be noted
            self.keeping.note(record.id, {"restarts": restarts})

    def _facts(self, process: ModuleProcess) -> dict[str, Any]:
        kept = False
        if not process.rehearsal:  # else all there is belongs to the one that serves
            process.keeper = self.keeping
            process.on_changed = self.subscriptions.changed
            kept = self.keeping.holds(process.id)
            if kept:
                self.keeping.give(process)  # its answer comes behind the assignment that this is a part of
        return {
            "runtime": self.name,
            "socket": self.socket_path,
            "log": str(self.log_path(process.id)),
            "log_max_bytes": LOG_MAX_BYTES,
            "log_keep": LOG_KEEP,
            "cwd": self.spec.base_dir if self.spec is not None else "/",
            "kept": kept,
            "journal": str(journal_directory(self.state_dir, process.id)),  # in a rehearsal: where it is to write once it serves
            "base": {} if process.rehearsal else self.keeping.base(process.id),
            "rehearsal": process.rehearsal,
            "dependencies": {} if self.supervision is None else self.supervision.dependencies.table(process.id),
        }

    def log_path(self, id: str) -> Path:
        """Return the log file of a full id; "/" is kept readable and unambiguous ("." cannot follow an id part's end)."""
        return self.state_dir / "logs" / (id.replace("/", "+") + ".log")

    def _remove_logs(self, id: str) -> None:
        """Delete what a child wrote that nobody remembers: a pool of short-lived children must not fill the disk."""
        path = self.log_path(id)
        for log in (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, LOG_KEEP + 1))):
            with contextlib.suppress(OSError):
                log.unlink()

    def _tree_booted(self, error: StartError | None) -> None:
        if error is not None:
            self._boot_failed(error)
            return
        self.state = "running"
        responder, self._boot_responder = self._boot_responder, None
        if responder is not None:
            self.reports.unfollow(responder.session.peer, 0)
            responder.reply({"name": self.name, "socket": self.socket_path, "pid": os.getpid(), "state_dir": str(self.state_dir)})

    def _boot_failed(self, error: DspexError) -> None:
        responder, self._boot_responder = self._boot_responder, None
        self.state = "failed"
        if responder is not None:
            responder.fail(error)
        # Only when the answer is on its way: the owner is about to see our end.
        self.loop.call_soon(self.loop.stop)

    def _zygote_refused(self, error: StartError) -> None:
        if self.state == "booting":  # later it fails the starts that need it, and no more
            self._boot_failed(error)

    def _root_exited(self, gave_up: bool) -> None:
        if gave_up:
            # Crashed is never terminal: the runtime stays, shows what failed, and `start` brings it back.
            self.reports.emit("gave_up", None, message="the root supervisor reached its restart limit")

    # -- clients ----------------------------------------------------------------------------------------------------

    def _accept(self, sock: socket.socket, *, owner: bool = False) -> None:
        def peer_of(session: Session) -> Peer:
            return Peer(self.loop, sock, session.message, session.closed)

        self.sessions.add(Session(self, peer_of, owner=owner))

    def session_closed(self, session: Session, peer: Peer, error: Exception | None) -> None:
        """A client is gone; when it owned this runtime, the tree goes too."""
        self.sessions.discard(session)
        self.broker.forget(peer)
        self.reports.unfollow(peer)
        lost: ExitReason = ("error", "ClientLost", str(error) if error is not None else "its connection ended", "")
        self.relations.client_gone(session, "normal" if session.left else lost)
        if error is not None:
            log.warning("client connection closed: %s", error)
        if session.owner and not self._detached:
            self.shutdown()

    def operate(self, op: str, args: dict[str, Any], responder: Responder) -> None:
        """Carry out one control request."""
        if op == "boot" and responder.session.owner:
            self.boot(args, responder)
            return
        operation = operations.TABLE.get(op)
        if operation is None:
            raise DspexError(f"unknown operation {op!r}; there are {', '.join(sorted(operations.TABLE))}")
        if self.supervision is None:
            raise DspexError("the runtime is not up yet")
        arguments.check(op, args)
        if not group_ops.dispatched(self, op, args, responder):
            operation(self, args, responder)

    def info(self, record: Record) -> dict[str, Any]:
        """Return what clients see of one child."""
        process = record.process
        figures = metrics(self.board, process.slot) if self.board is not None and process is not None else {}
        if process is not None and process.boot_s is not None:
            figures["boot_ms"] = process.boot_s * 1e3
        for name, value in self.keeping.base(record.id).items():
            if value and name in ("calls", "failures"):
                figures[name] = figures.get(name, 0) + value
        supervisor = self.supervision.view.facts(record) if self.supervision is not None else None
        return record.info(figures).as_dict() | {
            "supervisor": supervisor,
            "checkpoint": self.keeping.noted(record.id).get("checkpoint"),
            "swap": self.swaps.shown(record),
            "parts": [f"{record.id}/{name}" for name in self.parts.names(record.id)],
            **({} if self.supervision is None else self.supervision.dependencies.shown(record)),
        }

    def snapshot(self) -> list[Event]:
        """Return every child, as events' first message."""
        return [self.info(record) for record in self.registry]

    # -- end --------------------------------------------------------------------------------------------------------

    def shutdown(self, done: Callable[[], None] | None = None) -> None:
        """Stop everything in order, then leave. Asked again while stopping: waits for the same end."""
        if self.state in ("stopped", "failed"):  # the loop is about to end
            if done is not None:
                done()
            return
        if done is not None:
            self._shutdown_waiters.append(done)
        if self.state == "stopping":
            return
        booting, self.state = self.state == "booting", "stopping"
        self.reports.emit("stopping")
        if self.supervision is None:
            self._stopped()
            return
        if booting and self._boot_responder is not None:
            self._boot_responder.fail(StartError("stopped while it was starting"))
            self._boot_responder = None
        self.swaps.abort_all("the runtime is stopping")
        self.supervision.shutdown(lambda: self.swaps.beside.when_gone(self._stopped))

    def _stopped(self) -> None:
        if self.launcher is not None:
            self.launcher.close()
        if self._temporary_state:
            self.keeping.kill()
        self.keeping.close(self._left)

    def _left(self) -> None:
        self.state = "stopped"
        self._leave_rendezvous()
        self.reports.end()
        self.subscriptions.end()
        for waiter in self._shutdown_waiters:
            waiter()
        self.loop.call_soon(self.loop.stop)

    def _leave_rendezvous(self) -> None:
        self._door.close()
        if self._state_lock >= 0:
            os.close(self._state_lock)
            self._state_lock = -1
        if self._temporary_state:
            shutil.rmtree(self.state_dir, ignore_errors=True)

    def _release(self) -> None:
        if self.launcher is not None:
            self.launcher.close()
        self.keeping.kill()
        self._leave_rendezvous()
        for session in list(self.sessions):
            session.peer.close()
        if self._lifeline is not None:
            for fd in self._lifeline:
                with contextlib.suppress(OSError):
                    os.close(fd)
