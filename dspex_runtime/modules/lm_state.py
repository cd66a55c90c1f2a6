"""An LM in a predictor's state: what is written of it, and how it comes back. Never writes a secret, never calls an LM.

dspy drops `api_key` from a state; a key in headers or under another name it does not. What was dropped comes back from an LM that
is at hand: the one the predictor has, or the configured one, when it is of the same class, model and endpoint.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import dspy
from dspy.clients.base_lm import LM_CLASS_STATE_KEY, BaseLM

log = logging.getLogger("dspex_runtime.module")

# The last alternative: "azure_ad_token", not "max_tokens".
_SECRET: Final = re.compile(
    r"api[_-]?key|access[_-]?key|private[_-]?key|secret|passw(or)?d|credential|authorization|bearer|cookie|(^|[_-])token$",
    re.IGNORECASE,
)
# The endpoint too: a key must not go where somebody's state says.
_IDENTITY: Final = (LM_CLASS_STATE_KEY, "model", "model_type", "api_base", "base_url", "model_list")
_URL_USER: Final = re.compile(r"(?<=://)[^/@\s]*@")
_NOT_PLAIN: Final = object()


def dump(lm: Any) -> dict[str, Any] | None:
    """Return an LM's state as dspy's `dump_state` gives it, plain and without secrets.

    An option that is no plain data (a client, a function) is left out; an LM that gives no state leaves its class and model.
    """
    if lm is None:
        return None
    try:
        state = lm.dump_state()
    except Exception as exc:  # an engine of the user's own: dspy cannot save such a program at all
        log.debug("%s gives no state: %s", type(lm).__qualname__, exc)
        state = {LM_CLASS_STATE_KEY: f"{type(lm).__module__}.{type(lm).__qualname__}", "model": str(getattr(lm, "model", ""))}
    return plain(state) if isinstance(state, Mapping) else {}


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a mapping is plain data, without the entries that are called like a credential, and users in URLs."""
    cleaned = {key: _clean(value) for key, value in state.items() if isinstance(key, str) and not _SECRET.search(key)}
    return {key: value for key, value in cleaned.items() if value is not _NOT_PLAIN}


def is_secret(name: str) -> bool:
    """Return whether something of that name is a credential."""
    return _SECRET.search(name) is not None


def without_secrets(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an object; those that are called like a credential are None, and users in URLs are gone."""
    return {
        name: None if _SECRET.search(name) else _URL_USER.sub("", value) if isinstance(value, str) else value
        for name, value in attributes.items()
    }


def _clean(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, str):
        return _URL_USER.sub("", value)
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        items = [_clean(item) for item in value]
        return items if not any(item is _NOT_PLAIN for item in items) else _NOT_PLAIN
    return _NOT_PLAIN


def restore(state: Mapping[str, Any] | None, present: Any) -> Any:
    """Return the LM of a state: `present` when it is the one, else one built from it.

    Args:
        state: What `dump` or dspy wrote.
        present: The LM that the predictor has.

    Raises:
        Exception: It cannot be built from its state (a class of the user's own, say), and none like it is at hand.
    """
    if state is None:
        return None
    wanted = plain(state)
    if present is not None and dump(present) == wanted:
        return present
    configured = dspy.settings.lm
    for donor in (present, configured):
        if donor is not None and _is_like(dump(donor) or {}, wanted):
            return _adapted(donor, wanted)
    # The state is this user's own: it was written by the module, or by somebody who may call any of its methods.
    return BaseLM.load_state(dict(wanted), allow_custom_lm_class=True)


def _is_like(mine: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(mine.get(key) == wanted.get(key) for key in _IDENTITY)


def _adapted(donor: Any, wanted: Mapping[str, Any]) -> Any:
    """Return a copy of an LM with the options of a state; what no state holds (keys, engine) stays."""
    mine = dump(donor) or {}
    changed = {key: value for key, value in wanted.items() if mine.get(key, ...) != value}
    dropped = {key: None for key in mine if key not in wanted and key in donor.kwargs}
    return donor.copy(**changed, **dropped) if changed or dropped else donor
