"""OTP's static supervisor, transcribed from supervisor.erl: it blocks in start and stop, and reads its mailbox between.

Deliberately nothing like the machine it checks. No back-off, no time-outs, children obey at once.
"""

from __future__ import annotations

from collections import deque
from typing import Any

RESTARTING = "restarting"
NORMAL = ("normal", "shutdown")
Message = tuple[Any, ...]


class Shutdown(Exception):  # noqa: N818
    """The supervisor ends: it reached its restart intensity, or its significant children are through."""


class OtpSupervisor:
    """A supervisor and its world.

    Attributes:
        pids: In start order: a number, None (undefined) or RESTARTING.
        scripts: How the next starts of a child come out.
        mailbox: ("EXIT", id, pid, reason), ("try_again", id), or a request.
        log: "start a", "stop a".
        ended: Why it ended, "gave_up" or "auto_shutdown", or None.
    """

    def __init__(
        self,
        specs: list[tuple[str, str]],
        strategy: str,
        intensity: int,
        auto_shutdown: str = "never",
        significant: frozenset[str] = frozenset(),
    ) -> None:
        self.restart_types = dict(specs)
        self.pids: dict[str, Any] = dict.fromkeys(self.restart_types)
        self.strategy = strategy
        self.intensity = intensity
        self.auto_shutdown = auto_shutdown
        self.significant = significant
        self.restarts = 0
        self.scripts: dict[str, deque[str]] = {}
        self.mailbox: deque[Message] = deque()
        self.alive: set[int] = set()
        self.log: list[str] = []
        self.answers: list[Any] = []
        self.ended: str | None = None
        self._next_pid = 0

    def run(self) -> None:
        """Handle the mailbox until it is empty."""
        while self.mailbox and self.ended is None:
            message = self.mailbox.popleft()
            try:
                self._handle(message)
            except Shutdown as shutdown:
                self._terminate(list(self.pids))
                self.ended = str(shutdown)

    def kill(self, id: str, reason: Any) -> None:
        """A child ends by itself; its EXIT goes to the mailbox."""
        pid = self.pids[id]
        self.alive.discard(pid)
        self.mailbox.append(("EXIT", id, pid, reason))

    def boot(self) -> None:
        assert self._start(list(self.pids)) is None

    def _handle(self, message: Message) -> None:
        match message:
            case ("EXIT", id, pid, reason):
                if self.pids.get(id) == pid:
                    self._exit(id, reason)
            case ("try_again", id):
                if self.pids.get(id) == RESTARTING:
                    self._restart(id)
            case ("terminate", id):
                self.answers.append("not_found" if id not in self.pids else None)
                if id in self.pids:
                    self._stop(id)
                    self._del_child(id)
            case ("restart", id):
                self.answers.append(self._restart_child(id))
            case ("delete", id):
                refusal = self._not_undefined(id)
                self.answers.append(refusal)
                if refusal is None:
                    del self.pids[id]
            case ("start", id, restart):
                self.answers.append(self._start_child(id, restart))
            case ("which",):
                shown = [(id, "running" if isinstance(pid, int) else pid) for id, pid in self.pids.items()]
                self.answers.append(shown[::-1])
            case ("count",):
                self.answers.append(len(self.pids))  # active children too, but they depend on deaths not heard of

    def _not_undefined(self, id: str) -> str | None:
        if id not in self.pids:
            return "not_found"
        return {None: None, RESTARTING: "restarting"}.get(self.pids[id], "running")

    def _restart_child(self, id: str) -> str | None:
        return self._not_undefined(id) or self._answer(id, self._do_start(id))

    def _start_child(self, id: str, restart: str) -> str | None:
        if id in self.pids:
            return "already_started" if isinstance(self.pids[id], int) else "already_present"
        self.restart_types[id] = restart
        self.pids[id] = None
        outcome = self._do_start(id)
        if outcome == "fail" or (outcome == "ignore" and restart == "temporary"):
            del self.pids[id]
        return self._answer(id, outcome)

    def _answer(self, id: str, outcome: str) -> str:
        return {"ready": "started", "ignore": "undefined", "fail": "start_failed"}[outcome]

    def _exit(self, id: str, reason: Any) -> None:
        restart = self.restart_types[id]
        if restart == "permanent" or (restart == "transient" and reason not in NORMAL):
            self._restart(id)
        else:
            self._del_child(id)
            self._do_auto_shutdown(id)

    def _do_auto_shutdown(self, id: str) -> None:
        if self.auto_shutdown == "never" or not self._is_significant(id):
            return
        if self.auto_shutdown == "all_significant":
            for other, pid in self.pids.items():
                if pid is not None and self._is_significant(other):
                    return
        raise Shutdown("auto_shutdown")

    def _is_significant(self, id: str) -> bool:
        return id in self.significant and self.restart_types[id] != "permanent"

    def _del_child(self, id: str) -> None:
        if self.restart_types[id] == "temporary":
            del self.pids[id]
        else:
            self.pids[id] = None

    def _restart(self, id: str) -> None:
        self.restarts += 1
        if self.restarts > self.intensity:
            self._del_child(id)
            raise Shutdown("gave_up")
        failed: str | None
        if self.strategy == "one_for_one":
            failed = id if self._do_start(id) == "fail" else None
        else:
            ids = list(self.pids)
            affected = ids if self.strategy == "one_for_all" else ids[ids.index(id) :]
            self.pids[id] = None
            self._terminate(affected)
            failed = self._start([other for other in affected if other in self.pids])
        if failed is not None:
            self.pids[failed] = RESTARTING
            self.mailbox.append(("try_again", failed))

    def _terminate(self, ids: list[str]) -> None:
        for id in reversed(ids):
            self._stop(id)
            self._del_child(id)

    def _stop(self, id: str) -> None:
        pid = self.pids[id]
        if isinstance(pid, int) and pid in self.alive:
            self.log.append(f"stop {id}")
            self.alive.discard(pid)

    def _start(self, ids: list[str]) -> str | None:
        for id in ids:
            if self._do_start(id) == "fail":
                return id
        return None

    def _do_start(self, id: str) -> str:
        self.log.append(f"start {id}")
        script = self.scripts.get(id)
        outcome = script.popleft() if script else "ready"
        self.pids[id] = None
        if outcome == "ready":
            self._next_pid += 1
            self.pids[id] = self._next_pid
            self.alive.add(self._next_pid)
        return outcome
