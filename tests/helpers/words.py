"""Fake modules that a test answers for, call by call: what they were asked, and what was given up."""

from __future__ import annotations

import threading
from typing import Any

from dspex_runtime.wire.messages import CALL, CANCEL, REPLY

__all__ = ["Words"]


class Words:
    """Modules that answer when they are told to: each call has a word, and so has its answer."""

    def __init__(self, runtime: Any, module: Any, *ids: str) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.deadlines: list[Any] = []
        self.chains: list[Any] = []
        self._open: dict[str, tuple[Any, int]] = {}
        self._changed = threading.Condition()
        for id in ids:
            runtime.start(id, module(self._serve))

    def _serve(self, pipe: Any) -> None:
        words: dict[int, str] = {}
        while (message := pipe.next()) is not None:
            with self._changed:
                if message[0] == CALL:
                    words[message[1]] = word = message[3][0] if message[3] else message[4]["word"]
                    self._open[word] = pipe, message[1]
                    if word == "now":
                        pipe.say(REPLY, message[1], "NOW")
                    self.begun.append(word)
                    self.deadlines.append(message[5])
                    self.chains.append(message[8])
                elif message[0] == CANCEL:
                    self.cancelled.append(words[message[1]])
                self._changed.notify_all()

    def wait(self, *words: str, what: str = "begun") -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: set(words) <= set(getattr(self, what)), 20), (words, getattr(self, what))

    def answer(self, word: str) -> None:
        self.wait(word)
        pipe, number = self._open[word]
        pipe.say(REPLY, number, word.upper())
