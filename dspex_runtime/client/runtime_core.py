"""What the synchronous and the asyncio runtime share: the session, the process where it was started here, the end.

Never waits: what takes time is in steps, which either drives in its own way.
"""

from __future__ import annotations

from typing import Any

from dspex_runtime.client import address, spawn
from dspex_runtime.client.asking import QUICK_S, ask
from dspex_runtime.client.incoming import OnProgress
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps
from dspex_runtime.errors import RuntimeUnreachableError


class RuntimeCore:
    """What both kinds of runtime are; one that was started here owns its process."""

    _session: Session | None = None
    _process: spawn.RuntimeProcess | None = None
    _detached = False
    name: str = ""
    socket: str = ""
    pid: int | None = None
    state_dir: str = ""

    @property
    def session(self) -> Session:
        """The connection."""
        if self._session is None:
            raise RuntimeUnreachableError("this runtime was not started, or it was closed")
        return self._session

    def starting(self, config: dict[str, Any], *, fresh: bool, detach: bool, on_progress: OnProgress | None) -> Steps[None]:
        """Start the background runtime and take it over."""
        self._detached = detach
        self._session, self._process = yield from spawn.booting(config, fresh=fresh, detach=detach, on_progress=on_progress)
        yield from self._describe()

    def attaching(self, path: str, *, plain: bool) -> Steps[None]:
        """Connect to one that runs."""
        self._session = yield from address.opening(path, plain=plain)
        yield from self._describe()

    def _describe(self) -> Steps[None]:
        facts = yield from ask(self.session, "status", {}, QUICK_S)
        self.name, self.socket, self.pid, self.state_dir = facts["name"], facts["socket"], facts["pid"], facts["state_dir"]

    def ending(self) -> Steps[None]:
        """Close; where this process owns the runtime, stop the tree and wait until the process is gone."""
        session, process = self._session, self._process
        self._process = None
        if session is None:
            return
        is_ours = process is not None and not self._detached and process.reason is None
        try:
            if not session.connection.closed:
                yield from session.edits.closed()
            if process is not None and is_ours:
                yield from _stopped(session, process)
        except BaseException:
            if process is not None and is_ours:
                process.kill()  # a second Ctrl-C, or a cancelled task: nothing of the tree may outlive its owner
            raise
        finally:
            session.close()

    def __repr__(self) -> str:
        state = "not started" if self._session is None else "closed" if self._session.connection.closed else f"pid {self.pid}"
        return f"<{type(self).__name__} {self.name!r} {state}>"


def _stopped(session: Session, process: spawn.RuntimeProcess) -> Steps[None]:
    if not session.connection.closed:
        try:
            yield from ask(session, "shutdown", {})
        except RuntimeUnreachableError:
            pass  # it ended meanwhile
    session.close()
    yield from process.ended()
