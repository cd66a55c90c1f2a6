"""Events of the runtime as lines for people."""

from __future__ import annotations

from typing import Any

from dspex_cli import wording
from dspex_cli.output import STATE_STYLES, one_line, paint

_HIDDEN = frozenset({"seq", "time", "type", "id", "due"})  # shown in a place of their own, or of use to programs only


def event_line(event: dict[str, Any]) -> str:
    """Return time, id, what happened and its facts on one line."""
    import datetime

    stamp = event.get("time")
    clock = (
        datetime.datetime.fromtimestamp(stamp).astimezone().strftime("%H:%M:%S.%f")[:-3] if stamp is not None else "            "
    )
    is_state = event.get("type") == "state"
    state = str(event.get("state") or "") if is_state else ""
    kind = state if is_state else str(event.get("type"))
    told = [(key, value) for key, value in event.items() if _is_told(event, key, value)]
    facts = "  ".join(f"{key.removesuffix('_s')}={_fact(key, value)}" for key, value in told)
    who = paint(one_line(event["id"]), "bold") + "  " if event.get("id") else ""
    return f"{paint(clock, 'dim')}  {who}{paint(kind, STATE_STYLES.get(state, ''))}  {facts}".rstrip()


def _is_told(event: dict[str, Any], key: str, value: Any) -> bool:
    if key == "state":  # in its own place; a crash report's is what the server's state was
        return event.get("type") != "state" and value is not None
    return key not in _HIDDEN and (value is not None or key == "key")  # None is a key as any other


def _fact(key: str, value: Any) -> str:
    if key == "key":
        return one_line(repr(value))  # 1 and "1" are two keys
    if key in ("reason", "last_exit"):
        return one_line(wording.reason(value))
    if (key.endswith("_s") or key == "seconds") and isinstance(value, int | float):
        return wording.duration(value) if value else "0 s"
    return one_line(value)
