"""What one client process holds of one runtime: the control connection, the codec, and the direct pipes opened through it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from dspex_runtime.client.channel_pool import ChannelPool
from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.client.edits import Edits
from dspex_runtime.client.itself import is_itself
from dspex_runtime.client.steps import Steps
from dspex_runtime.client.values import client_codec
from dspex_runtime.errors import RuntimeUnreachableError
from dspex_runtime.osproc.channel import Channel
from dspex_runtime.wire.codec import Codec

if TYPE_CHECKING:
    from dspex_runtime.client.background_loop import BackgroundLoop
    from dspex_runtime.client.groups import Load
    from dspex_runtime.client.mux import MuxLink
    from dspex_runtime.client.mux_links import MuxLinks
    from dspex_runtime.client.tables import Tables

P = ParamSpec("P")
R = TypeVar("R")

SWEEP_EVERY: Final = 64  # ids, after which idle pipes to modules that have ended are looked for


class _Held:
    """What threads and event loops keep alive when the session itself is forgotten without a close."""

    def __init__(self, control: Channel) -> None:
        self.control = control
        self.links: weakref.WeakSet[MuxLink] = weakref.WeakSet()
        self.background: BackgroundLoop | None = None

    def let_go(self) -> None:
        # Runs wherever the session is collected: takes no lock and waits for nobody.
        self.control.close()
        for link in list(self.links):
            link.close_soon()
        if self.background is not None:
            self.background.abandon()


class Session:
    """A connection and its pools. Refs hold the session, so that a tree lives as long as anything that can call into it.

    Attributes:
        socket_path: Address of the runtime; with an id it is the identity of a reference.
        codec: Encodes what goes over direct pipes; may unpickle, since modules run as the same user.
        edits: What was edited on proxies and is still to be sent.
        client: Name of this client in idempotency keys and to modules, which know by it what is whose; unique per session.
    """

    def __init__(self, connection: ControlConnection, socket_path: str = "", *, plain: bool = False) -> None:
        self.connection = connection
        self.socket_path = socket_path
        self.plain = plain
        self.codec: Codec = client_codec(plain=plain)
        self.client = f"{os.getpid()}-{os.urandom(6).hex()}"
        self.edits = Edits()
        self._lock = threading.Lock()
        self._pools: dict[str, ChannelPool] = {}
        self._muxes: dict[Any, MuxLinks] = {}
        self._recent_mux: MuxLinks | None = None
        self._tables: Tables | None = None
        self._held = _Held(connection.wire)
        self._aliases: dict[str, int] = {}
        self._load: Load | None = None
        self._grouping = threading.Lock()  # what is heard of a group is applied in the order of its `seq`
        self._groups: dict[str, Mapping[str, Any]] = {}  # by full id; None as the members of one that has ended
        self._group_found = _weakly(weakref.WeakMethod(self._found_group))  # a pool must not keep alive what closes it
        weakref.finalize(self, self._held.let_go).atexit = False
        ref = weakref.ref(self)  # the reader of the connection must not keep alive what closes it
        connection.on_pipes(lambda facts: None if (session := ref()) is None else session.changed(facts))
        _alive.add(self)

    def publish(self, socket_path: str) -> None:
        """Make the session findable by the runtime's address, for references that arrive pickled."""
        self.socket_path = socket_path
        _by_path[socket_path] = self

    def pool(self, id: str) -> ChannelPool:
        """Return the pool of direct pipes to one module id."""
        pool = self._pools.get(id)
        if pool is None:
            with self._lock:
                own = is_itself(self.socket_path, id)
                made = ChannelPool(self.connection, self.codec, self.client, id, own=own, grouped=self._group_found)
                pool = self._pools.setdefault(id, made)
                others = list(self._pools.values()) if len(self._pools) % SWEEP_EVERY == 0 else []
            for other in others:
                other.drop_dead()
        return pool

    def changed(self, facts: Mapping[str, Any]) -> None:
        """Hear that what the runtime had said of a module, or of a group, when its pipes were opened is otherwise now."""
        if "members" in facts:
            self._group_changed(facts)
            return
        for id, pool in list(self._pools.items()):
            if facts["id"] == id or facts["id"].endswith(f"/{id}"):
                pool.know(facts)

    def _group_changed(self, facts: Mapping[str, Any]) -> None:
        with self._grouping:
            if self._newest(facts) is not facts:
                return
            groups = [(pool, pool.group) for pool in list(self._pools.values()) if pool.group is not None]
            for pool, group in groups:
                if group.id != facts["id"]:
                    continue
                if facts["members"] is None:
                    pool.group = None
                elif group.know(facts) and facts["members"]:  # else nobody says how long a call may take
                    pool.know(facts)
            if self._tables is not None:
                self._tables.group_changed(facts)

    def _newest(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep what the runtime says of a group; return what is the last that it has said: it may have come another way."""
        known = self._groups.get(facts["id"])
        if known is None or known["seq"] <= facts["seq"]:
            known = self._groups[facts["id"]] = facts
        return known

    def _found_group(self, pool: ChannelPool, info: Mapping[str, Any]) -> Steps[ChannelPool]:
        """A pipe was asked for and the id is a group's: know it from now on; return the pool of the replica that it leads to."""
        from dspex_runtime.client.descriptors import descriptor
        from dspex_runtime.client.groups import Group, Load

        if self._load is None:
            fd = yield from descriptor(self.connection, "board", {})
            assert fd is not None  # there are modules, so there is a board
            self._load = Load(fd)
        with self._grouping:
            facts = self._newest(info["group"])
            if facts["members"] is None:  # it has ended since: whoever asked for the pipe asks again
                pool.group = None
            elif pool.group is not None and pool.group.id == facts["id"]:
                pool.group.know(facts)
            else:
                written = _weakly(weakref.WeakMethod(self._group_written))
                pool.group = Group(_weakly(weakref.WeakMethod(self.pool)), self._load, facts, written)
                if self._tables is not None:
                    self._tables.group_changed(facts)
        return self.pool(info["id"])

    def _group_written(self, group: str, replica: str) -> None:
        if self._tables is not None:
            self._tables.is_read_of(group, replica)

    def mux(self, loop: Any) -> MuxLinks:
        """Return the multiplexed pipes of one event loop."""
        recent = self._recent_mux
        if recent is not None and recent.loop is loop:
            return recent
        from dspex_runtime.client.mux_links import MuxLinks

        with self._lock:
            links = self._muxes.get(loop)
            if links is None:
                for closed in [other for other in self._muxes if other.is_closed()]:
                    self._muxes.pop(closed).close()  # asyncio.run ended without closing what it used
                links = self._muxes[loop] = MuxLinks(self, loop, self._held.links)
            self._recent_mux = links  # nearly always the same loop asks: the lock and the look cost 1 us
            return links

    def background(self) -> BackgroundLoop:
        """Return the event loop thread that carries requests nobody waits for yet; started at first use."""
        from dspex_runtime.client.background_loop import BackgroundLoop

        with self._lock:
            if self.connection.closed:
                raise self.connection.unreachable()
            if self._held.background is None:
                self._held.background = BackgroundLoop()
            return self._held.background

    @property
    def tables(self) -> Tables:
        """The parameter tables that this process reads; made at first use."""
        from dspex_runtime.client.tables import Tables

        with self._lock:
            if self._tables is None:
                self._tables = Tables(self.connection, self.codec)
            return self._tables

    def new_id(self, base: str) -> str:
        """Return `base`, then `base-2`, `base-3` ...: a name to try for a child that was given none."""
        with self._lock:
            count = self._aliases[base] = self._aliases.get(base, 0) + 1
        return base if count == 1 else f"{base}-{count}"

    def close(self) -> None:
        """Close everything this process has open to the runtime. Closing twice is fine."""
        if not self.connection.closed:
            self.edits.close()
        self.connection.close()  # first: whoever waits on a pipe then learns that this process closed it
        with self._lock:
            background, self._held.background = self._held.background, None
            muxes = list(self._muxes.values())
            pools = list(self._pools.values())
        for links in muxes:
            links.close_threadsafe()
        if background is not None:
            background.close()
        for pool in pools:
            pool.close()
        if self._tables is not None:
            self._tables.close()
        if self._load is not None:
            self._load.close()
        if _by_path.get(self.socket_path) is self:
            del _by_path[self.socket_path]

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._grouping = threading.Lock()
        self.edits = Edits()
        self._held.background = None
        self._held.links.clear()
        for links in self._muxes.values():
            links.forked()
        self._muxes, self._recent_mux = {}, None
        if self._tables is not None:
            self._tables.forked()
        for pool in self._pools.values():
            pool.forked()


def _weakly(method: weakref.WeakMethod[Callable[P, R]]) -> Callable[P, R]:
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = method()
        if bound is None:
            raise RuntimeUnreachableError("the connection to the runtime was forgotten")
        return bound(*args, **kwargs)

    return call


_alive: weakref.WeakSet[Session] = weakref.WeakSet()
_by_path: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
_connecting = threading.Lock()


def session_at(socket_path: str) -> Session:
    """Return this process's session with the runtime at an address, connecting when there is none yet."""
    from dspex_runtime.client.address import open_session

    with _connecting:
        session = _by_path.get(socket_path)
        if session is None or session.connection.closed:
            session = open_session(socket_path)
        return session


def _forked() -> None:
    global _connecting  # may have been held by a thread that does not exist here
    _connecting = threading.Lock()
    for path in list(_by_path):
        _by_path.pop(path, None)
    for session in list(_alive):
        session._forked()


os.register_at_fork(after_in_child=_forked)
