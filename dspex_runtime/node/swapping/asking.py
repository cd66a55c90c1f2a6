"""What a process may ask while it does not speak for its incarnation: the new version before its swap, the old one after it.

    in a rehearsal   queries are answered. What has effect for the process itself (names, monitors, links, locks, alarms, what it
                     follows) is accepted and done in the moment it serves; what it has by then already stays what it is. What has
                     effect on others is refused: a rehearsal that is given up has to have been nothing.
    after the swap   what it had is another's: it cannot give it up, and gets nothing for it. All else it may ask, as in any
                     terminate().

Nothing here knows of processes or of the swap: it sees sessions and tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.core.keys import ANY, Holder, show
from dspex_runtime.errors import DspexError, RegistryError, SwapError
from dspex_runtime.node.linking import ProcessId
from dspex_runtime.node.session import Responder
from dspex_runtime.types import FullId, Incarnation

if TYPE_CHECKING:
    from dspex_runtime.node.module_session import ModuleSession
    from dspex_runtime.node.node import Node

__all__ = ["AfterSwap", "InRehearsal"]

#: Operations that have effect on others, and no answer but their outcome.
REFUSED: Final = frozenset(
    {"start", "stop", "restart", "kill", "delete", "shutdown", "start_supervisor", "start_child", "terminate_child"}
    | {"restart_child", "delete_child", "param_write", "checkpoint", "restore", "prune", "import", "scale"}
)
CHANGES: Final = frozenset({"terminate", "reply", "replace_state", "suspend", "resume", "debug"})  # of `module_op`

Args: TypeAlias = dict[str, Any]


class InRehearsal:
    """Answers the new version, and does for it what it has asked once it serves.

    Args:
        node: The runtime.
        session: Of the new version.
        old: Returns the session of the process that serves; None: that has never asked for anything.
    """

    def __init__(self, node: Node, session: ModuleSession, old: Callable[[], ModuleSession | None]) -> None:
        self._node = node
        self._session = session
        self._old = old
        self._asked: list[tuple[int, str, Args]] = []
        self._monitors: list[tuple[int, ProcessId]] = []  #: by ref, those of the old one included that are its own as well
        self._accepts: dict[str, Callable[[Args], Any]] = {
            "register": self._register, "unregister": self._unregister, "update_value": lambda _: True,
            "listen": lambda _: None, "unlisten": lambda _: self._naming.listens(session.endpoint),
            "lock": lambda _: None, "unlock": lambda _: True,
            "monitor": self._monitor, "demonitor": self._demonitor, "link": self._found, "unlink": self._linked,
            "exit": lambda _: None, "set_alarm": lambda _: None, "clear_alarm": self._is_set,
            "param_subscribe": lambda _: None, "param_unsubscribe": self._follows,
        }  # fmt: skip
        self._naming = node.naming

    def __call__(self, request: int, op: str, args: Args) -> bool:
        """Answer a request, or return that it is a query like any other."""
        responder = Responder(self._session, request)
        if op in REFUSED or (op == "module_op" and args.get("op") in CHANGES):
            what = f"{op} {args['op']}" if op == "module_op" else op
            text = f"{self._session.endpoint.id!r} asked for {what!r} in its rehearsal: that has effect on others"
            responder.fail(SwapError(text, code="start", id=self._session.endpoint.id, hint="do it once it serves"))
            return True
        accept = self._accepts.get(op)
        if accept is None:
            return False
        try:
            answer = accept(args)
        except DspexError as exc:
            responder.fail(exc)
            return True
        if op not in ("monitor", "demonitor"):
            self._asked.append((request, op, args))
        responder.reply(answer)
        return True

    def done(self) -> None:
        """It serves: do what it has asked, in order. What cannot be done any more is reported."""
        self._session.instead = None
        self._node.parts.committed(self._session.process)
        linking, monitoring = self._node.relations.linking, self._node.relations.monitoring
        for ref, process in self._monitors:
            if ref not in monitoring.refs(process, self._session):
                monitoring.monitor(process, self._session, ref)
                if not linking.alive(process):
                    monitoring.no_process(process, ref, self._session)
        asked, self._asked = self._asked, []
        for request, op, args in asked:
            try:
                self._do(request, op, args)
            except (DspexError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
                _Late(self._session, request, op=op).fail(exc)

    def _do(self, request: int, op: str, args: Args) -> None:
        responder = _Late(self._session, request, op=op)
        if op == "register" and self._has(args):
            if args.get("unique", True):
                self._naming.keys.update_value(args["key"], self._holder(args), args.get("value"))
            return
        if op == "lock" and self._naming.holds(args["key"], str(args["token"]), self._session.endpoint):
            return
        if op == "update_value":
            args = {**args, "revision": None}  # what it read was the old one's to change until now
        self._node.operate(op, args, responder)

    # -- what is answered in the meantime ---------------------------------------------------------------------------

    def _register(self, args: Args) -> None:
        holder = self._holder(args)
        there = self._naming.keys.lookup(args["key"])
        taken = [entry for entry in there if (entry.unique or args.get("unique", True)) and entry.holder != holder]
        if any(self._naming.alive(entry.holder) for entry in taken):
            text = f"key {show(args['key'])} is registered already: {taken[0].holder} holds it"
            raise RegistryError("already_registered", text, holder=taken[0].holder.id)

    def _unregister(self, args: Args) -> int:
        return len(self._naming.keys.lookup(args["key"], self._holder(args), args.get("match", ANY)))

    def _monitor(self, args: Args) -> Args:
        """Give it the number of a monitor that the old one has on the same, which will be its own; else a new one."""
        monitoring, old = self._node.relations.monitoring, self._old()
        process = self._node.relations.linking.find(args["id"])
        own = {ref for ref, _ in self._monitors}
        there = [] if old is None else [ref for ref in monitoring.refs(process, old) if ref not in own]
        ref = there[0] if there else monitoring.new_ref()
        self._monitors.append((ref, process))
        return {"ref": ref, "id": process.id, "incarnation": process.incarnation}

    def _demonitor(self, args: Args) -> bool:
        mine = [each for each in self._monitors if each[0] == args["ref"]]
        self._monitors = [each for each in self._monitors if each not in mine]
        return bool(mine)

    def _found(self, args: Args) -> Args:
        process = self._node.relations.linking.find(args["id"])
        return {"id": process.id, "incarnation": process.incarnation}

    def _linked(self, args: Args) -> Args:
        asked = [op for _, op, its in self._asked if op in ("link", "unlink") and its["id"] == args["id"]]
        return {"id": self._found(args)["id"], "linked": asked[-1:] == ["link"]}

    def _is_set(self, args: Args) -> bool:
        asked = [op for _, op, its in self._asked if op in ("set_alarm", "clear_alarm") and its["alarm"] == args["alarm"]]
        return asked[-1] == "set_alarm" if asked else any(alarm.id == args["alarm"] for alarm in self._node.alarms.all())

    def _follows(self, args: Args) -> bool:
        asked = [op for _, op, its in self._asked if op.startswith("param_") and its["pattern"] == args["pattern"]]
        old = self._old()
        there = old is not None and self._node.subscriptions.follows(old.peer, args["pattern"])
        return asked[-1] == "param_subscribe" if asked else there

    # -- what it has ------------------------------------------------------------------------------------------------

    def _holder(self, args: Args) -> Holder:
        if args.get("id") is not None:
            record = self._node.registry.resolve(args["id"])
            return Holder(FullId(record.id), Incarnation(record.incarnation))
        endpoint = self._session.endpoint
        return Holder(FullId(endpoint.id), Incarnation(endpoint.incarnation))

    def _has(self, args: Args) -> bool:
        entries = self._naming.keys.lookup(args["key"], self._holder(args))
        return any(entry.unique or entry.value == args.get("value") for entry in entries)


class _Late(Responder):
    """Nobody waits for the answer any more: it was given when it was asked."""

    __slots__ = ("_op",)

    def __init__(self, session: ModuleSession, request: int, *, op: str) -> None:
        super().__init__(session, request)
        self._op = op

    def reply(self, _value: Any) -> None:
        """It is done."""
        self._finish()

    def fail(self, error: BaseException) -> None:
        """It could not be done: people are told."""
        if self._finish():
            text = f"{self._op} of its rehearsal: {error}"
            self.session.node.reports.emit("swap_late", getattr(self.session.endpoint, "id", None), op=self._op, message=text)


class AfterSwap:
    """Answers the old version, which is nobody any more.

    Args:
        node: The runtime.
        session: Of the old version: what it asks for from now on goes with it, and nothing of its incarnation's does.
    """

    def __init__(self, node: Node, session: ModuleSession) -> None:
        self._node = node
        self._session = session
        session.endpoint = ProcessId(session.endpoint.id, 0)  # which never lives

    def __call__(self, request: int, op: str, args: Args) -> bool:
        """Answer what is about what it had, or return that it is a request like any other."""
        if op not in GIVEN_AWAY:
            return False
        answer = GIVEN_AWAY[op]
        if op in ("monitor", "link", "unlink"):
            process = self._node.relations.linking.find(args["id"])
            answer = {"ref": 0, "id": process.id, "incarnation": process.incarnation, "linked": False}
        Responder(self._session, request).reply(answer)
        return True


#: What concerns the asking process alone, with the answer of one that has nothing.
GIVEN_AWAY: Final[dict[str, Any]] = {
    "register": None, "unregister": 0, "update_value": True, "listen": None, "unlisten": False,
    "monitor": None, "demonitor": False, "link": None, "unlink": None, "param_subscribe": None, "param_unsubscribe": False,
}  # fmt: skip
