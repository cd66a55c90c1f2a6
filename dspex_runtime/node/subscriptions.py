"""Who follows which parameters: asks modules to tell of their changes, and passes those on to clients and to modules.

A subscriber that does not read is never waited for: over `MAX_BACKLOG_BYTES` unsent it gets the latest change of each parameter
only, once it reads again. It goes with its connection. Never reads a value: those pass through unopened.

    module -> here    [EVENT, 0, {"type": "changed", "name", "version", "when", "who", "value": bytes | None}]
    here -> client    [EVENT, n, payload]; here -> module [EVENT, 0, payload]. Payloads:
        {"type": "changed", "id", "name", "version", "when", "who", "value", "skipped"}
        {"type": "versions", "id", "versions": {name: [version, when, who]}}   what a module has when it begins to tell
        {"type": "subscribed"}                                                 all changes from here on are told
        {"type": "forgotten", "id"}                                            deleted: the next of this id begins at version 1
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.core.changes import News, Pending
from dspex_runtime.core.keys import show
from dspex_runtime.core.watching import Pattern, Watchers
from dspex_runtime.errors import ConfigError
from dspex_runtime.node.groups import several
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.peer import Peer
from dspex_runtime.node.registry import Record, Registry
from dspex_runtime.node.swapping.holding_back import HeldPeer
from dspex_runtime.state.protocol import SHARED
from dspex_runtime.wire.messages import BYE, EVENT

if TYPE_CHECKING:
    from dspex_runtime.node.session import Asker

MAX_BACKLOG_BYTES: Final = 64 * 2**10
TOLD_WITHIN_S: Final = 2.0  # a module that does not answer is busy in C, and has no changes to tell either


def pattern_of(text: str) -> Pattern:
    """Return what a user wrote of "id.name" as a pattern.

    Raises:
        ConfigError: It is nothing.
    """
    if not text:
        raise ConfigError("subscribe to a parameter, or to a pattern of parameters: 'qa.temperature', 'qa.*', '*.temperature'")
    return Pattern.of(text)


class Subscription:
    """One subscription of one client (its number), or of one module (0)."""

    def __init__(self, peer: Peer | HeldPeer, number: int) -> None:
        self.peer = peer
        self._number = number
        self._pending = Pending(0)

    def tell(self, news: News) -> None:
        """Send a change, or the latest of what comes by then when the subscriber reads again."""
        if not self._pending and self.peer.backlog_bytes <= MAX_BACKLOG_BYTES:
            self.send(news.to_wire())
            return
        if not self._pending:
            self.peer.when_drained(self._flush)
        self._pending.put(news)

    def moved(self, peer: Peer | HeldPeer) -> None:
        """Tell another peer from now on."""
        self.peer = peer
        self._flush()

    def _flush(self) -> None:
        while (news := self._pending.take()) is not None:
            self.send(news.to_wire())

    def send(self, payload: dict[str, Any]) -> None:
        """Send anything else; that is never left out."""
        self.peer.send([EVENT, self._number, payload])

    def end(self, why: str) -> None:
        """Say that nothing more will come."""
        self._flush()
        if self._number:
            self.peer.send([BYE, self._number, why])


class Subscriptions:
    """All subscriptions of one runtime."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._watchers: Watchers[Subscription] = Watchers()
        self._of_peer: dict[int, dict[Hashable, Subscription]] = {}
        self._asked: dict[str, int] = {}  #: incarnations that were asked to tell, by id
        registry.on_change.append(self._look)
        registry.on_forgotten.append(self._forgotten)

    def __len__(self) -> int:
        return len(self._watchers)

    # -- subscribers ------------------------------------------------------------------------------------------------

    def subscribe(self, peer: Peer, number: int, args: dict[str, Any]) -> None:
        """Begin a client's subscription: of one child where `id` is said, else by a pattern of "id.name".

        Raises:
            ConfigError: The arguments are not those of one.
            NoProcessError: There is no such child.
        """
        of, text = args.get("id"), args.get("pattern")
        if not isinstance(of, str | None) or not isinstance(text, str):
            raise ConfigError(f"malformed request 'params': 'pattern' is text, 'id' text or nothing; got {show(args, 200)}")
        meant = self.meant(text)
        if of is not None:
            meant = Pattern(text, of if of == SHARED else self._of_first(of) or self._registry.resolve(of).id)
        self.follow(peer, number, meant)

    def meant(self, text: str) -> Pattern:
        """Return what a user wrote of "id.name" as a pattern; a group's parameters are those of its first replica.

        Raises:
            ConfigError: It is nothing; or the replicas have parameters of their own.
        """
        of, _, name = text.partition(".")
        first = self._of_first(of)
        return pattern_of(text) if first is None else Pattern(name or "*", first)

    def _of_first(self, id: str) -> str | None:
        """Return the replica whose parameters are told as those of its group; None where it is no group's id."""
        group = self._registry.group(id)
        if group is None:
            return None
        if not group.shares or not group.by_number:
            raise several(group, "each has parameters of its own" if group.by_number else "it has no parameters now")
        return group.records[0].id

    def follow(
        self, peer: Peer, number: int, pattern: Pattern, *, key: Hashable = None, ready: Callable[[], None] | None = None
    ) -> None:
        """Tell a subscriber of changes.

        Args:
            peer: Whom.
            number: Of a client's subscription; 0 of a module.
            pattern: Which.
            key: By which it is ended; the number by default. One that is in use already goes on as it is.
            ready: Called once when all changes that happen from then on are told; by default the subscriber is told so.
        """
        of_peer = self._of_peer.setdefault(id(peer), {})
        key = number if key is None else key
        subscription = of_peer.get(key)
        if subscription is not None:
            if ready is not None:
                ready()
            return
        subscription = of_peer[key] = Subscription(peer, number)
        ready = ready or (lambda: subscription.send({"type": "subscribed"}))
        self._watchers.add(subscription, pattern)
        waiting = _Countdown(ready)
        for process in self._serving():
            if pattern.concerns(process.id):
                self._ask(process, [subscription], waiting)
        waiting.start()

    def unfollow(self, peer: Peer | HeldPeer, key: Hashable | None = None) -> bool:
        """End one subscription of a peer, or all of them; returns whether there was one."""
        of_peer = self._of_peer.get(id(peer), {})
        ended = [of_peer.pop(each) for each in ([*of_peer] if key is None else [key]) if each in of_peer]
        if not of_peer:
            self._of_peer.pop(id(peer), None)
        patterns = [self._watchers.remove(subscription) for subscription in ended]
        for process in self._serving() if ended else ():
            if any(pattern is not None and pattern.concerns(process.id) for pattern in patterns):
                self._ask(process, [])
        return bool(ended)

    def follows(self, peer: Peer | HeldPeer, key: Hashable) -> bool:
        """Return whether a peer has a subscription under this key."""
        return key in self._of_peer.get(id(peer), {})

    def move(self, old: Peer | HeldPeer, new: Peer | HeldPeer) -> None:
        """Tell what one peer follows to another one from now on; what waits for the old one to read goes to the new one at once."""
        moved = self._of_peer.pop(id(old), {})
        there = self._of_peer.setdefault(id(new), {}) if moved else {}
        for key, subscription in moved.items():
            if key in there:
                self._watchers.remove(subscription)
            else:
                there[key] = subscription
                subscription.moved(new)

    def swapped(self, id: str) -> None:
        """Another process is this child: what that is to tell it has to be told anew."""
        self._asked.pop(id, None)

    def session_closed(self, asker: Asker) -> None:
        """A client's connection, or a module, ended: it is told nothing more."""
        self.unfollow(asker.peer)

    def end(self) -> None:
        """Tell every subscriber that nothing more will come."""
        for subscription in self._watchers:
            subscription.end("stopped")
            self._watchers.remove(subscription)
        self._of_peer.clear()

    # -- changes ----------------------------------------------------------------------------------------------------

    def changed(self, id: str, facts: dict[str, Any]) -> None:
        """Pass on what a module, or the keeper for one that is stopped, tells; what is no such event is dropped."""
        try:
            news = News.from_wire(facts, id)
        except (KeyError, TypeError, ValueError):
            return
        for subscription in self._watchers.of(id, news.name):
            subscription.tell(news)

    def _versions(self, id: str, versions: dict[str, Any], subscriptions: list[Subscription]) -> None:
        for subscription in subscriptions:
            pattern = self._watchers.pattern(subscription)
            if pattern is not None:
                meant = {name: version for name, version in versions.items() if pattern.matches(id, name)}
                if meant:
                    subscription.send({"type": "versions", "id": id, "versions": meant})

    # -- modules ----------------------------------------------------------------------------------------------------

    def _serving(self) -> list[ModuleProcess]:
        return [record.process for record in self._registry if record.process is not None and record.process.serving]

    def _look(self, record: Record) -> None:
        """A child's state changed: a new incarnation learns what it is to tell, and its subscribers what it came up with."""
        process = record.process
        if process is None or not process.serving or not self._watchers or self._asked.get(record.id) == record.incarnation:
            return
        if self._watchers.wanted(record.id):
            self._ask(process, self._watchers.concerned(record.id))

    def _ask(self, process: ModuleProcess, subscriptions: list[Subscription], waiting: _Countdown | None = None) -> None:
        self._asked[process.id] = process.incarnation
        if waiting is not None:
            waiting.add()

        def answered(versions: Any, _fault: dict[str, Any] | None) -> None:
            if isinstance(versions, dict):
                self._versions(process.id, versions, subscriptions)
            if waiting is not None:
                waiting.done()

        process.request("watched", {"names": self._watchers.wanted(process.id)}, TOLD_WITHIN_S, answered)

    def _forgotten(self, id: str) -> None:
        self._asked.pop(id, None)
        for subscription in self._watchers.concerned(id):
            subscription.send({"type": "forgotten", "id": id})


class _Countdown:
    """Calls `ready` once when all that were added are done, and no more are added."""

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._left = 1

    def add(self) -> None:
        self._left += 1

    def done(self) -> None:
        self._left -= 1
        if not self._left:
            self._ready()

    start = done
