"""The caller's settings as a difference against dspy's defaults, and what the caller keeps of a call. Client side.

`dspy.context` makes a full copy of all settings, so what was set by it is what differs from the configured values. Settings that
nobody changed cost one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

import dspy
from dspy.clients.base_lm import BaseLM

from dspex_runtime.modules.dspy_settings import DEFAULTS, configured, overrides
from dspex_runtime.modules.parts import PLAIN
from dspex_runtime.modules.relay import objects as relay_objects
from dspex_runtime.modules.relay.protocol import HISTORY, OWN_SETTINGS, RELAYED, TRACE, USAGE

_values: Final = itemgetter(*(key for key in DEFAULTS if key not in OWN_SETTINGS))
_AT_DEFAULT: Final = _values(DEFAULTS)
_UNSET: Final = object()


def settings_now() -> dict[str, Any]:
    """Return all settings that hold here and now. Not to be changed."""
    now: dict[str, Any] = overrides.get()
    # Inside a module's call dspy has made a full copy; elsewhere there may be less.
    return now if len(now) >= len(configured) else {**configured, **now}


def kept_of_call(now: Mapping[str, Any]) -> int:
    """Return what the caller keeps of a call: TRACE | HISTORY | USAGE."""
    want = TRACE if now["trace"] is not None and now["max_trace_size"] > 0 else 0
    if not now["disable_history"]:
        want |= HISTORY
    if now["usage_tracker"] is not None:
        want |= USAGE
    return want


class Context:
    """What a host must know of the caller's settings and of the objects in its arguments.

    Attributes:
        kept: The caller's objects in it.
    """

    __slots__ = ("_configured", "_given", "_host", "_set", "_what", "kept")

    def __init__(self, ref: Any) -> None:
        self._host = hash(ref)
        self._set: dict[str, Any] = {}
        self._configured: dict[str, Any] = {}
        self._given: dict[str, str] = {}
        self._what: dict[str, str] = {}
        self.kept: dict[str, relay_objects.Kept] = {}

    def note(self, key: str, value: Any, *, by_context: bool) -> None:
        """Take a setting."""
        told = value
        if not isinstance(value, PLAIN):
            try:
                told = {"$": self._token(value, f"dspy.settings.{key}")}
            except TypeError:  # a list, say, that nothing can tell is gone: it goes with every call
                told = {"=": value}
        (self._set if by_context else self._configured)[key] = told

    def give(self, name: str, value: Any) -> None:
        """Take an argument of the call that is an object kept by token."""
        self._given[name] = self._token(value, name)

    def _token(self, value: Any, what: str) -> str:
        kept = relay_objects.kept(value)
        self.kept[kept.token] = kept
        self._what[kept.token] = what
        return kept.token

    def message(self) -> dict[str, Any]:
        """Return it as it travels.

        Raises:
            UnserialisableError: An object cannot be sent; named after its setting.
        """
        objects = [kept.message(self._host, self._what[token]) for token, kept in self.kept.items()]
        return {"set": self._set, "configured": self._configured, "given": self._given, "objects": objects}

    def forget_sent(self, tokens: list[str]) -> None:
        """The host has them not any more: the next message brings them."""
        for token in tokens:
            if token in self.kept:
                self.kept[token].sent.pop(self._host, None)


def context_of(now: Mapping[str, Any], kwargs: dict[str, Any], ref: Any) -> Context | None:
    """Return the context of a call, None where there is nothing to say; LMs are taken out of `kwargs`."""
    context = None
    if len(now) > len(DEFAULTS) or not (_values(now) == _values(configured) == _AT_DEFAULT):
        context = _difference(now, ref)
    given = [name for name, value in kwargs.items() if not isinstance(value, dspy.Module) and isinstance(value, BaseLM)]
    if given:
        context = context or Context(ref)
        for name in given:
            context.give(name, kwargs.pop(name))
    return context


def _difference(now: Mapping[str, Any], ref: Any) -> Context | None:
    context = Context(ref)
    relayed = now.get(RELAYED)
    relayed_too = relayed.configured if relayed is not None else {}
    said = False
    for key, value in now.items():
        if key in OWN_SETTINGS or key[0] == "_":
            continue
        by_context = value is not configured.get(key, _UNSET) and value is not relayed_too.get(key, _UNSET)
        if by_context or not (value is (default := DEFAULTS.get(key, _UNSET)) or (isinstance(value, PLAIN) and value == default)):
            context.note(key, value, by_context=by_context)
            said = True
    return context if said else None
