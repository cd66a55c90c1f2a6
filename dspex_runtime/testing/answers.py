r"""What a scripted language model answers. Only a list has a state: any number of threads and processes may share the others.

    {"capital of France": {"answer": "Paris"}}      a text that occurs in the last message -> output fields; the first that fits
    {"re:capital of (\w+)": "no such country"}     "re:" and a pattern; the answer may also be the raw text of the LM
    lambda chat: {"answer": chat.inputs["question"].upper()}       anything else: a function of the `Chat`; None: no answer
    [{"answer": "first"}, {"answer": "second"}]     one after the other, each process from the beginning: for one process only

Fields are written as the adapter that asks wants them (markers, JSON, XML).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from dspex_runtime.testing.chat import Chat, render

__all__ = ["Answer", "Answers", "NoAnswerError", "Script"]

Answer: TypeAlias = str | Mapping[str, Any]
Reply: TypeAlias = Answer | Callable[[Chat], Answer | None]
Script: TypeAlias = Mapping[str, Reply] | Sequence[Answer] | Callable[[Chat], Answer | None]

_PATTERN: Final = "re:"


class NoAnswerError(LookupError):
    """Nothing in the script fits what the LM was asked, or a list of answers is used up."""


class Answers:
    """A script that answers.

    Args:
        script: See the module.
        default: The answer where nothing fits. None: that is an error.
    """

    def __init__(self, script: Script, default: Answer | None = None) -> None:
        if not (callable(script) or isinstance(script, Mapping) or (isinstance(script, Sequence) and not isinstance(script, str))):
            raise TypeError(f"answers are a map, a list or a function; got {script!r:.80}")
        self.script = script
        self.default = default
        self._rest = iter(script) if isinstance(script, Sequence) else None  # taking the next one is atomic

    def __call__(self, chat: Chat) -> str:
        """Return the text that the LM answers.

        Raises:
            NoAnswerError: Nothing fits and there is no default.
        """
        found = self._find(chat)
        answer = self.default if found is None else found
        if answer is None:
            raise NoAnswerError(f"no answer is scripted for {chat.last[-200:]!r}")
        return answer if isinstance(answer, str) else render(answer, chat)

    def _find(self, chat: Chat) -> Answer | None:
        if callable(self.script):
            return self.script(chat)
        if isinstance(self.script, Mapping):
            reply = next((reply for key, reply in self.script.items() if _fits(key, chat.last)), None)
            return reply(chat) if callable(reply) else reply
        return None if self._rest is None else next(self._rest, None)


def _fits(key: str, text: str) -> bool:
    if key.startswith(_PATTERN):
        return re.search(key.removeprefix(_PATTERN), text) is not None
    return key in text
