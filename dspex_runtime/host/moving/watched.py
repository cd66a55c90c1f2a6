"""What OTP's sys has switched on for a server (trace, log, statistics, hooks), on its way to the process that takes its place.

A value that cannot be sent goes as its text, a hook that cannot be sent or rebuilt is switched off: nobody's debugging is to be
what a swap fails for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dspex_runtime.host.debug import Debug
from dspex_runtime.host.status import readable

if TYPE_CHECKING:
    from dspex_runtime.host.genserver import ServerHost
    from dspex_runtime.wire.codec import Codec

__all__ = ["pack_debug", "unpack_debug"]

log = logging.getLogger("dspex_runtime.host")


def pack_debug(server: ServerHost | None, codec: Codec) -> dict[str, Any] | None:
    """Return what is switched on as plain data; None: nothing is."""
    if server is None or server.debug is None:
        return None
    contents = server.debug.contents()
    if contents["log"] is not None:
        kept, events = contents["log"]
        contents["log"] = [kept, [_packed(codec, event) or codec.pack([tuple(map(readable, event))]) for event in events]]
    hooks = [_packed(codec, hook) for hook in contents["hooks"]]
    _tell_of_lost(contents["hooks"], hooks)
    contents["hooks"] = [hook for hook in hooks if hook is not None]
    return contents


def unpack_debug(contents: dict[str, Any] | None, server: ServerHost | None, codec: Codec, id: str) -> None:
    """Switch on in this process what `pack_debug` found in the other one."""
    if contents is None or server is None:
        return
    if contents["log"] is not None:
        kept, events = contents["log"]
        contents["log"] = [kept, [found[0] for event in events if (found := _unpacked(codec, event)) is not None]]
    hooks = [_unpacked(codec, hook) for hook in contents["hooks"]]
    _tell_of_lost(contents["hooks"], hooks)
    contents["hooks"] = [hook[0] for hook in hooks if hook is not None]
    debug = Debug(id)
    debug.adopt(contents)
    server.debug = debug or None


def _packed(codec: Codec, value: Any) -> bytes | None:
    try:
        return codec.pack([value])
    except Exception:  # whatever a __reduce__ of the user's raises
        return None


def _unpacked(codec: Codec, data: bytes) -> list[Any] | None:
    try:
        return codec.unpack(data)
    except Exception:
        return None


def _tell_of_lost(hooks: list[Any], kept: list[Any]) -> None:
    for hook, found in zip(hooks, kept, strict=True):
        if found is None:
            name = hook[0] if isinstance(hook, list) else "which came from the old one"
            log.warning("a debug hook (%s) cannot move to the new process: it is switched off", name)
