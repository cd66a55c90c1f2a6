"""What a process or a client has with others, undone when it ends, here and nowhere else, in OTP's order.

    what it holds (names, keys, locks) is free -> its monitors' DOWN -> its links' exit signals -> (the caller) its supervisor

so that whoever is told of an end can take the name at once. Owns the sessions of the modules that ask; the tables are others'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.linking import Linking, ProcessId, Tree
from dspex_runtime.node.monitoring import Monitoring
from dspex_runtime.node.registry import Registry
from dspex_runtime.wire.messages import Message

if TYPE_CHECKING:
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.module_session import ModuleSession
    from dspex_runtime.node.session import Asker, Session


class Relations:
    """Monitors, links and holdings of everything in one runtime.

    Attributes:
        on_process_end: Called with full id and incarnation when a child ends, before anybody is told: free what is its own.
        on_session_end: Called with whoever asked for things, a client or a module, when it ends: free what it held.
    """

    def __init__(
        self, registry: Registry, tree: Callable[[], Tree | None], session_of: Callable[[ModuleProcess], ModuleSession]
    ) -> None:
        self.monitoring = Monitoring()
        self.linking = Linking(registry, tree)
        self.on_process_end: list[Callable[[str, int], None]] = []
        self.on_session_end: list[Callable[[Asker], None]] = []
        self._session_of = session_of
        self._sessions: dict[ModuleProcess, ModuleSession] = {}

    def asked(self, process: ModuleProcess, message: Message) -> None:
        """Serve a request of a module. Its session begins with its first: most modules never ask."""
        session = self._sessions.get(process)
        if session is None:
            session = self._sessions[process] = self._session_of(process)
        session.message(message)

    def session_of(self, process: ModuleProcess) -> ModuleSession | None:
        """Return the session of a module that has asked for something."""
        return self._sessions.get(process)

    def swapped(self, old: ModuleProcess, new: ModuleProcess, session: ModuleSession) -> ModuleSession:
        """One process is another from now on: what the old one has is the new one's, under the session that this has had.

        Names and links are an incarnation's: they stay where they are. Returns the session of the old one, which is served on.
        """
        before = self._sessions.get(old)
        if before is None:
            before = self._sessions[old] = self._session_of(old)
        self.monitoring.moved(before, session)
        self._sessions[new] = session
        return before

    def left(self, process: ModuleProcess) -> None:
        """The end of a process that another one took the place of: only what it has asked for since then goes with it."""
        session = self._sessions.pop(process, None)
        if session is not None:
            session.closed()
            self._release(session)

    def process_ended(self, process: ModuleProcess, reason: ExitReason) -> None:
        """A module or a server ended, and all that it had sent was handled."""
        session = self._sessions.pop(process, None)
        if session is not None:
            session.closed()
            self._release(session)
        self.ended(process.id, process.incarnation, reason)

    def ended(self, id: str, incarnation: int, reason: ExitReason) -> None:
        """An incarnation of a child, a supervisor's too, ended."""
        for free in self.on_process_end:
            free(id, incarnation)
        self.monitoring.down(id, incarnation, reason)
        self.linking.exited(ProcessId(id, incarnation), reason)

    def client_gone(self, session: Session, reason: ExitReason) -> None:
        """A client's connection ended."""
        self._release(session)
        self.linking.exited(session, reason)

    def _release(self, session: Asker) -> None:
        for free in self.on_session_end:
            free(session)
        self.monitoring.owner_gone(session)
