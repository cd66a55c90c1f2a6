"""The LM of a predictor between host and mirror. To a mirror it goes without secrets, call history and callbacks.

What a mirror has of an LM of the host, and every copy that a client makes of that, is marked: when it comes back it becomes the
host's own LM again, or a copy of that with the options that were changed, secrets and connections included. An LM of the client's
goes by the token that relayed calls know it by: it is one LM in the host, and the very same one when it is shown. Calls no LM.
"""

from __future__ import annotations

import copy
import itertools
import os
from typing import Any, Final
from weakref import WeakValueDictionary

import dspy
from dspy.clients.base_lm import BaseLM

from dspex_runtime.errors import CallError
from dspex_runtime.modules import lm_state
from dspex_runtime.modules.parts import OF_CALLS
from dspex_runtime.modules.relay import objects as relay_objects
from dspex_runtime.modules.relay import pickles as relay_pickles
from dspex_runtime.modules.relay.pickles import STAND_IN
from dspex_runtime.modules.relayed.objects import guests

_SHOWN_AS: Final = "_dspex_shown_as"  # of the host's own LM: what its stand-ins are marked with
_MADE_FOR: Final = "_dspex_made_for"  # of an LM that was made for a stand-in: which one
_OWN: Final = frozenset({*OF_CALLS, "kwargs", STAND_IN, _SHOWN_AS, _MADE_FOR})
_numbers: Final = itertools.count(1)
_own: Final[WeakValueDictionary[str, Any]] = WeakValueDictionary()  # LMs of this process that others have stand-ins of
_made: Final[WeakValueDictionary[tuple[str, int], Any]] = WeakValueDictionary()  # for stand-ins that others changed
_stand_ins: Final[WeakValueDictionary[str, Any]] = WeakValueDictionary()  # here, for LMs of others


class HostedLM(BaseLM):  # type: ignore[misc] # dspy has no types
    """Stands for an LM whose class cannot be had in this process: it can be copied, assigned and compared, not called."""

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raise: the LM is in the module's process."""
        raise CallError(f"the LM {self.model!r} is one of the module's process and cannot be called here")


def show(lm: Any, *, whole: bool = False) -> dict[str, Any]:
    """Return what a mirror may have of an LM of this process; `whole` is for a client that has none of the user's files."""
    token = lm.__dict__.get(_SHOWN_AS)
    if token is None or _own.get(token) is not lm:
        token = lm.__dict__[_SHOWN_AS] = f"{os.getpid()}-{next(_numbers)}"
        _own[token] = lm
    options = lm_state.plain(getattr(lm, "kwargs", None) or {})
    facts = {"token": token, "guest": guests.token_of(lm) or _guest(lm), "model": str(getattr(lm, "model", "")), "kwargs": options}
    try:
        twin = copy.copy(lm)
        twin.__dict__.update(lm_state.without_secrets(twin.__dict__) | {"kwargs": dict(options)})
        twin.__dict__.pop(_SHOWN_AS, None)
        return {**facts, "pickled": relay_pickles.dumps(twin, whole=whole)}
    except Exception:  # clients, locks: all that is left of it is what it is called
        return facts


def pack(lm: Any) -> dict[str, Any]:
    """Return an LM of the client for the host; a stand-in as which one it stands for, with its options.

    Raises:
        Exception: It cannot be pickled.
    """
    kept = relay_objects.kept(lm)
    kept.refresh()
    token = lm.__dict__.get(STAND_IN)
    if token is None:
        return {"kept": [kept.token, kept.version, relay_pickles.dumps(lm), kept.left()]}
    changed = {name: value for name, value in lm.__dict__.items() if type(value) in (bool, int, float, str) and name not in _OWN}
    options = lm_state.plain(lm.kwargs)
    return {"token": token, "kwargs": options, "attributes": changed, "as": kept.token, "version": kept.version}


def unpack(parcel: dict[str, Any]) -> Any:
    """Return the LM of a parcel: at a client that of `show`, in the host that of `pack`.

    Raises:
        Exception: It cannot be unpickled in the host.
        ValueError: It stands for an LM that is gone.
    """
    if "kept" in parcel:
        guests.take([parcel["kept"]])
        return guests.get(parcel["kept"][0])
    if "attributes" in parcel:
        return _returned(parcel)
    kept = relay_objects.by_token(parcel["guest"]) if parcel["guest"] is not None else None
    lm = kept.object if kept is not None else _stand_ins.get(parcel["token"])
    if lm is None or (kept is None and lm_state.plain(lm.kwargs) != parcel["kwargs"]):
        lm = _stand_ins[parcel["token"]] = _stand_in(parcel)
    return lm


def _stand_in(parcel: dict[str, Any]) -> Any:
    try:
        lm = relay_pickles.loads(parcel["pickled"])
    except Exception:
        lm = HostedLM(parcel["model"])
        lm.kwargs = dict(parcel["kwargs"])
    lm.__dict__[STAND_IN] = parcel["token"]
    return lm


def _returned(parcel: dict[str, Any]) -> Any:
    """Return the LM that a stand-in stands for, or a copy of it with what was changed: one for each stand-in."""
    made = _made.get((parcel["as"], parcel["version"]))
    if made is not None:
        return made
    own = _own.get(parcel["token"]) or _like(parcel)
    known = lm_state.plain(own.kwargs)
    dropped = {key: None for key in known if key not in parcel["kwargs"]}
    changed = {key: value for key, value in parcel["kwargs"].items() if known.get(key, ...) != value}
    attributes = {name: value for name, value in parcel["attributes"].items() if own.__dict__.get(name, value) != value}
    if not dropped and not changed and not attributes:
        return own
    lm = own.copy(**dropped, **changed)
    lm.__dict__.update({**attributes, _MADE_FOR: parcel["as"]})
    _made[parcel["as"], parcel["version"]] = lm
    return lm


def _guest(lm: Any) -> str | None:
    """Return what a client knows the stand-in by that an LM was made for."""
    token: str | None = lm.__dict__.get(_MADE_FOR)
    return token if token is not None and any(made is lm for made in _made.values()) else None


def _like(parcel: dict[str, Any]) -> Any:
    """Return the configured LM when it is the one: the process was restarted since the stand-in was made."""
    configured = dspy.settings.lm
    if configured is not None and str(getattr(configured, "model", "")) == parcel["attributes"].get("model"):
        return configured
    raise ValueError(f"the LM {parcel['attributes'].get('model')!r} belonged to an earlier process of the module: set it again")
