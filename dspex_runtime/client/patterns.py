"""Patterns of parameters as users write them to watch: refused where they cannot mean anything, warned of where they mean nothing.

Only looks; who watches what is the runtime's, and what a pattern fits is in `core.watching`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from dspex_runtime.client import param_ops
from dspex_runtime.client.asking import QUICK_S, ask
from dspex_runtime.client.steps import Steps
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError, DspexError
from dspex_runtime.state.protocol import SHARED

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session

__all__ = ["awaited", "checked", "known"]

logger = logging.getLogger(__name__)

_WILD: Final = frozenset("*?[")


def known(self: param_ops.Parameters, pattern: str) -> Steps[None]:
    """Make sure that a name is one of the module's; a pattern may wait for what comes."""
    if _WILD.isdisjoint(checked(pattern, self.id)):
        yield from param_ops.version(self, pattern)


def checked(pattern: str, id: str | None = None) -> str:
    """Return what may be a pattern.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"expected a pattern as text, got {show(pattern)}", id=id)
    if not pattern:
        raise ConfigError("expected a pattern, got an empty text", id=id)
    return pattern


def awaited(session: Session, pattern: str) -> Steps[None]:
    """Warn of a pattern without wildcards, of the whole runtime, that nothing matches now: it may come, or be a slip of the pen."""
    if not _WILD.isdisjoint(checked(pattern)):
        return
    of, dot, name = pattern.partition(".")
    infos = yield from ask(session, "modules", {"metadata": {}}, QUICK_S)
    there = [info for info in infos if info["kind"] != "supervisor"]
    ids = [SHARED, *(info["id"] for info in there), *dict.fromkeys(info["group"] for info in there if info.get("group"))]
    meant = [id for id in ids if of in (id, id.rpartition("/")[2])]
    known = [called for id in ids for called in dict.fromkeys((id, id.rpartition("/")[2]))]
    if meant:
        names: list[str] = []
        for id in meant:
            names += yield from _names(session, id)
        if name in names or (names and not dot):
            return
        known = [f"{of}.{each}" for each in names]
    from difflib import get_close_matches  # 2 ms to import, for a warning

    near = get_close_matches(pattern if meant else of, known, n=1)
    hint = f"; did you mean {(near[0] if meant else near[0] + dot + name)!r}?" if near else ""
    logger.warning("nothing matches %r yet%s", pattern, hint)


def _names(session: Session, id: str) -> Steps[list[str]]:
    try:
        return (yield from session.tables.reading(id, lambda view: view.names()))
    except DspexError:
        return []  # none yet, or none any more
