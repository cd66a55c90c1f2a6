"""What an LM is asked, taken apart as dspy's adapters put it together: inputs, demos, the output fields that are wanted. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

__all__ = ["Chat", "Style", "fields_of", "render"]

_MARKER: Final = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*\n?", re.MULTILINE)
_TAGGED: Final = re.compile(r"<(\w+)>\n?(.*?)\n?</\1>", re.DOTALL)
_WANTED: Final = {
    "markers": re.compile(r"`\[\[ ## (\w+) ## \]\]`"),
    "json": re.compile(r"`(\w+)`"),
    "xml": re.compile(r"`<(\w+)>`"),
}
_COMPLETED: Final = "completed"
_REASONING: Final = "reasoning"


class Style(StrEnum):
    """How an adapter wants its answer: ChatAdapter, JSONAdapter, XMLAdapter."""

    MARKERS = "markers"
    JSON = "json"
    XML = "xml"


@dataclass(frozen=True, slots=True)
class Chat:
    """One request to an LM.

    Attributes:
        messages: (role, text) of each, the system's first.
        model: The model that was asked for.
    """

    messages: tuple[tuple[str, str], ...]
    model: str = ""

    @classmethod
    def of(cls, messages: Iterable[Mapping[str, Any]], model: str = "") -> Chat:
        """Return the chat of OpenAI-style messages; what is not text in them is left out."""
        return cls(tuple((str(message.get("role", "")), _text(message.get("content"))) for message in messages), model)

    @property
    def last(self) -> str:
        """The text of the last message: the inputs and what is wanted."""
        return self.messages[-1][1] if self.messages else ""

    @property
    def inputs(self) -> dict[str, str]:
        """The input fields, by name."""
        return fields_of(self.last.rpartition("\nRespond with")[0] or self.last)

    @property
    def demos(self) -> list[dict[str, str]]:
        """The examples before the last message, inputs and outputs together."""
        turns = [message for message in self.messages if message[0] != "system"]
        pairs = zip(turns[:-1:2], turns[1::2], strict=False)
        return [{**fields_of(asked), **fields_of(answered)} for (_, asked), (_, answered) in pairs]

    @property
    def style(self) -> Style:
        """How the answer is to be written."""
        instruction = self.last.rpartition("\nRespond with")[2]
        if "JSON object" in instruction.partition("`")[0]:
            return Style.JSON
        return Style.XML if "XML tags" in instruction.partition("`")[0] else Style.MARKERS

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names of the output fields, in order; () for a prompt that no adapter of dspy's wrote."""
        instruction = self.last.rpartition("\nRespond with")[2] if "\nRespond with" in self.last else ""
        return tuple(dict.fromkeys(name for name in _WANTED[self.style].findall(instruction) if name != _COMPLETED))


def fields_of(text: str) -> dict[str, str]:
    """Return the fields of a message in any of the styles; the values are text."""
    parts = _MARKER.split(text)
    if len(parts) > 1:
        found = {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}
        return {name: value for name, value in found.items() if name != _COMPLETED}
    if text.lstrip().startswith("{"):
        try:
            return {str(name): _written(value) for name, value in json.loads(text).items()}
        except ValueError:
            return {}
    return {name: value.strip() for name, value in _TAGGED.findall(text)}


def render(fields: Mapping[str, Any], chat: Chat) -> str:
    """Write output fields as the chat wants them. A `reasoning` that is wanted and not given is made up."""
    if _REASONING in chat.wanted and _REASONING not in fields:
        fields = {_REASONING: "It follows from the inputs.", **fields}
    match chat.style:
        case Style.JSON:
            return json.dumps(dict(fields))
        case Style.XML:
            return "\n\n".join(f"<{name}>\n{_written(value)}\n</{name}>" for name, value in fields.items())
        case Style.MARKERS:
            parts = [f"[[ ## {name} ## ]]\n{_written(value)}" for name, value in fields.items()]
            return "\n\n".join([*parts, f"[[ ## {_COMPLETED} ## ]]"])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text(content: Any) -> str:
    if isinstance(content, list | tuple):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    return str(content or "")
