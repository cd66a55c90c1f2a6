"""Plays the language model of configs/compiled.yaml. Without examples it guesses; with examples it goes by the most similar one."""

from __future__ import annotations

import re

from dspex_runtime.testing import Chat, DummyLM

# What anybody knows without examples, which is not much.
GUESSES = {"password": "account", "invoice": "billing", "delivery": "delivery"}
_COMMON_WORDS = "a an and the my i it is was to of for in on at has have not you your me do did can how"
_COMMON = frozenset(_COMMON_WORDS.split())


def sort(chat: Chat) -> dict[str, str]:
    """Return the queue of the demo that shares most words with the ticket, or a guess."""
    ticket = _words(chat.inputs.get("ticket", ""))
    shared = [(len(ticket & _words(demo.get("ticket", ""))), demo.get("queue", "")) for demo in chat.demos]
    best, queue = max(shared, key=lambda pair: pair[0], default=(0, ""))
    return {"queue": queue if best else _guess(ticket)}


def _guess(ticket: set[str]) -> str:
    return next((queue for word, queue in GUESSES.items() if word in ticket), "account")


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"[a-z]+", text.lower())} - _COMMON


lm = DummyLM(sort, model="local/triage")
