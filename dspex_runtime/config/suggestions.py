"""Did-you-mean texts for words and keys. Pure; also used by the CLI for ids."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["suggest"]

# What people know from supervisord, circus, pm2, systemd, compose and Kubernetes, and our word for it.
_SYNONYMS: Final[dict[str, str]] = {
    "always": "permanent",
    "unless_stopped": "permanent",
    "on_failure": "transient",
    "never": "temporary",
    "no": "temporary",
    "kill": "brutal_kill",
    "forever": "infinity",
    "inf": "infinity",
    "one_by_one": "one_for_one",
    "all_for_one": "one_for_all",
    "intensity": "max_restarts",
    "max_retries": "max_restarts",
    "startretries": "max_restarts",
    "period": "max_seconds",
    "within": "max_seconds",
    "window": "max_seconds",
    "max_workers": "max_children",
    "any": "any_significant",
    "all": "all_significant",
    "environment": "env",
    "name": "id",
    "class": "module",
    "autorestart": "restart",
    "respawn": "restart",
    "threads": "concurrency",
    "arguments": "args",
    "kwargs": "args",
    "graceful_timeout": "shutdown",
    "stop_grace_period": "shutdown",
    "healthcheck": "readiness",
    "watchdog": "liveness",
    "labels": "metadata",
    "llm": "lm",
    "restart_delay": "backoff",
    "processes": "children",
    "services": "children",
    "requires": "depends_on",
    "needs": "depends_on",
    "wants": "depends_on",
    "after": "depends_on",
    "dependencies": "depends_on",
    "instances": "replicas",
    "numprocs": "replicas",
    "scale": "replicas",
    "sub_modules": "parts",
}


def suggest(word: str, allowed: Iterable[str], *, nested: Iterable[str] = (), similar: bool = True) -> str:
    """Return "did you mean 'x'?" for the closest allowed word, or "" when none is close.

    Args:
        word: What was written.
        allowed: What could have been.
        nested: Dotted paths whose last part may be the word: `memory` -> `limits.memory`. Before a word that only looks alike.
        similar: Also suggest words that only look alike.
    """
    candidates = list(allowed)
    folded = {_fold(candidate): candidate for candidate in reversed(candidates)}
    plain = _fold(word)[:80]  # cut: the comparison is quadratic
    synonym = _SYNONYMS.get(plain)
    best = folded.get(plain) or (synonym if synonym in candidates else None)
    best = best or next((path for path in nested if path.rpartition(".")[2] == word), None)
    if best is None and similar:
        close = difflib.get_close_matches(plain, folded, n=1, cutoff=0.6)
        best = folded[close[0]] if close else None
    return f"did you mean {str(best)!r}?" if best else ""


def _fold(word: str) -> str:
    return str.__str__(word).strip().lower().replace("-", "_").replace(" ", "_")
