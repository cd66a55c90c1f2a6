"""What of a server may be shown: always through its own format_status, and never more than that (otp-semantics §2.10).

Also: any value as one that every peer can read, of bounded size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.wire.codec import Codec

NOTE: Final = "format_status"  # the key that says why nothing is shown
MAX_VALUE_BYTES: Final = 4096  # of one value in a report, packed
MAX_TEXT_CHARS: Final = 2000  # of what is shown as text

_plain: Final = Codec()
_SCALARS: Final = frozenset((type(None), bool, int, float, str, bytes))
_COLLECTIONS: Final = frozenset((list, tuple, set, frozenset))


def formatted(server: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `server.format_status` makes of the facts; where it fails, only a note that it did.

    The text of what it raised is left out: it may well hold what was to be hidden.
    """
    name = f"{type(server).__qualname__}.format_status"
    try:
        shown = server.format_status(dict(facts))
    except BaseException as exc:  # also one that calls exit(): to look at a server must not end it
        return {NOTE: f"{name} raised {type(exc).__name__}"}
    if not isinstance(shown, Mapping):
        return {NOTE: f"{name} returned {with_article(type(shown).__name__)}, expected a dict"}
    unknown = [f"{key!r:.100}" for key in shown if key not in facts]
    if unknown:
        what = "an unknown key" if len(unknown) == 1 else "unknown keys"
        return {NOTE: f"{name} returned a dict with {what}: {', '.join(unknown)}; known are {', '.join(sorted(facts))}"}
    return dict(shown)


def readable(value: Any) -> Any:
    """Return a value that any peer can read, a CLI without numpy too: itself where it is small and plain, else its text."""
    try:
        if _is_plain(value) and len(_plain.pack([value])) <= MAX_VALUE_BYTES:
            return value
    except (RecursionError, RuntimeError, UnserialisableError):
        pass  # it contains itself, or another thread changes it
    return text_of(value)


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return kind in _COLLECTIONS and all(map(_is_plain, value))


def with_article(noun: str) -> str:
    """Return a noun as a sentence has it: "an int", "a str"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def text_of(value: Any) -> str:
    """Return a value's repr, bounded, whatever its own __repr__ does."""
    try:
        text = repr(value)
    except Exception as exc:
        return f"<{type(value).__name__}: its __repr__ raised {type(exc).__name__}>"
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}... ({len(text)} characters)"
