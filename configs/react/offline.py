"""Plays the language model of configs/react.yaml: reads the question and what the tools said so far, and takes the next step."""

from __future__ import annotations

import json
import re
from typing import Any

from dspex_runtime.testing import Chat, DummyLM

_COUNTED = re.compile(r"(\d+)?\s*\b(lamp|chair|table)s?\b", re.IGNORECASE)


def think(chat: Chat) -> dict[str, Any]:
    """Return the fields that ReAct asks for: a next step, or at the end the answer."""
    found = _COUNTED.search(chat.inputs.get("question", ""))
    number, item = (found[1] or "1", found[2].lower()) if found else ("1", "")
    seen = [value for name, value in chat.inputs.items() if name.startswith("observation_")]
    in_stock = "stock" in chat.inputs.get("question", "")
    if "next_tool_name" not in chat.wanted:
        return {"reasoning": "The tools said so.", "answer": _answer(number, item, in_stock, seen)}
    if not item:
        return _step("I know lamps, chairs and tables only.", "finish", {})
    if not seen:
        return _step(f"I need to look up the {item}.", "stock" if in_stock else "price", {"item": item})
    if len(seen) == 1 and not in_stock and number != "1":
        return _step("Now the sum.", "calculate", {"expression": f"{number} * {seen[0]}"})
    return _step("That is all I need.", "finish", {})


def _step(thought: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"next_thought": thought, "next_tool_name": tool, "next_tool_args": json.dumps(arguments)}


def _answer(number: str, item: str, in_stock: bool, seen: list[str]) -> str:
    said = [value for value in seen if value != "Completed."]
    if not said:
        return "I know lamps, chairs and tables only."
    if in_stock:
        return f"There are {said[-1]} {item}s in stock."
    return f"{number} {item}{'s' if number != '1' else ''} cost {float(said[-1]):.2f} euros."


lm = DummyLM(think, model="local/clerk")
