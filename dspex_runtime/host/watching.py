"""`dx.subscribe` and `dx.unsubscribe`: a module process is told of changes of others' parameters, as messages to `handle_info`.

Owns nothing: the parent keeps who watches what, and forgets it with the process.
"""

from __future__ import annotations

from dspex_runtime.core.keys import show
from dspex_runtime.core.watching import Pattern
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.context import Process
from dspex_runtime.host.parent import ask
from dspex_runtime.types import Change

__all__ = ["subscribe", "unsubscribe"]


def subscribe(pattern: str) -> None:
    """Have every change of a parameter from now on delivered to handle_info as `dx.Change`, in version order; in `init`, too.

    A process that is slow gets the latest value and a count of those it missed, and slows nobody down. It goes on over restarts
    of those it watches, and ends with this process. Subscribing twice is subscribing once.

    Args:
        pattern: "qa.temperature", "qa" for everything of a module, "qa.*", "*.temperature"; the runtime's own are "$shared.name".
    """
    ask("param_subscribe", {"pattern": _text(pattern)})


def unsubscribe(pattern: str, flush: bool = False) -> bool:
    """End what `subscribe` with the same text began; returns whether there was such a subscription.

    With `flush` changes that fit it and were not handled yet are removed, too.
    """
    ended = bool(ask("param_unsubscribe", {"pattern": _text(pattern)}))
    meant = Pattern.of(pattern)
    if Process.changes is not None:
        Process.changes.unsubscribed(meant.matches)
    if flush:
        if Process.changes is not None:
            Process.changes.drop(lambda news: meant.matches(news.id, news.name))
        if Process.loop is not None:
            Process.loop.drop_messages(lambda message: type(message) is Change and meant.matches(message.id, message.name))
    return ended


def _text(pattern: str) -> str:
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"subscribe takes 'ID.NAME', or a pattern of it; got {show(pattern)}")
    return pattern
