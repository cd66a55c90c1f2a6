"""A language model that needs no key and no network: it answers with sentences of the passages it is given, or says none fits.

`ExtractiveLM` is a real `dspy.LM`; only its engine, which turns one request into one response, is ours. It therefore goes through
dspy's adapters, history, usage and callbacks as any other. It invents nothing: every sentence of an answer is a quotation.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from dataclasses import dataclass
from math import log
from typing import Any

import dspy
from dspy import lm15

from quickstart.words import sentences, terms

NO_ANSWER = "None of the passages answers this question."
MIN_COVERAGE = 0.34  # share of the question's (weighted) terms that a passage must contain to be quoted at all
MIN_RELATIVE = 0.75  # a further sentence must be this good beside the best one

_FIELD = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*\n?", re.MULTILINE)
_WANTED = re.compile(r"(?:\[\[ ## |`)(\w+)(?: ## \]\]`|`)(?: \(must be formatted as a valid Python ([^)]+)\))?")


@dataclass(frozen=True, slots=True)
class Quotation:
    """What was found: sentences of one passage each, and the passages' names."""

    text: str
    sources: tuple[str, ...]


class ExtractiveEngine:
    """One request in, one response out; no state, so any number of threads may share it."""

    def __init__(self, max_sentences: int = 2) -> None:
        self.max_sentences = max_sentences

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer the last user message from the passages in it."""
        prompt = _text(request.messages[-1])
        inputs, wanted, as_json = parse_prompt(prompt)
        found = quote(inputs.get("question", ""), _passages(inputs), self.max_sentences)
        text = write_fields(found, wanted, as_json=as_json)
        usage = lm15.Usage(input_tokens=len(prompt.split()), output_tokens=len(text.split()))
        message = lm15.Message.assistant(text)
        return lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)

    def dump_state(self) -> dict[str, Any]:
        """Return what `load_state` needs; dspy writes it into saved programs."""
        return {"max_sentences": self.max_sentences}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> ExtractiveEngine:
        """Return an engine like the one that was saved."""
        return cls(**state)


class ExtractiveLM(dspy.LM):  # type: ignore[misc]  # dspy is not typed
    """A dspy.LM over `ExtractiveEngine`. The other arguments are dspy.LM's own and let a saved program rebuild it."""

    def __init__(
        self,
        model: str = "local/extractive",
        *,
        max_sentences: int = 2,
        engine: ExtractiveEngine | None = None,
        cache: bool = False,  # an answer takes less time than dspy's cache
        **kwargs: Any,
    ) -> None:
        super().__init__(model, engine=engine or ExtractiveEngine(max_sentences), cache=cache, **kwargs)


def parse_prompt(prompt: str) -> tuple[dict[str, str], list[tuple[str, str]], bool]:
    """Return the input fields, the (name, type) of each output field that is asked for, and whether JSON is wanted."""
    body, _, instruction = prompt.rpartition("\nRespond with")
    parts = _FIELD.split(body)
    inputs = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    wanted = [(name, kind or "str") for name, kind in _WANTED.findall(instruction) if name != "completed"]
    return inputs, wanted, "JSON object" in instruction.partition("`")[0]


def quote(question: str, passages: list[str], max_sentences: int) -> Quotation | None:
    """Return the sentences that fit the question best, or None when no passage covers enough of it.

    A term counts by how rare it is among the passages; passages come best first, so an earlier one wins a tie.
    """
    asked = set(terms(question))
    bags = [set(terms(passage)) for passage in passages]
    seen_in = Counter(term for bag in bags for term in bag)
    weight = {term: log(1.5 + len(passages) / (1 + seen_in[term])) for term in asked}
    total = sum(weight.values())
    ranked: list[tuple[float, int, int, str]] = []
    for place, (passage, bag) in enumerate(zip(passages, bags, strict=True)):
        covered = sum(weight[term] for term in asked & bag)
        if not total or covered / total < MIN_COVERAGE:
            continue
        for position, sentence in enumerate(_quotable(passage)):
            hit = sum(weight[term] for term in asked.intersection(terms(sentence)))
            lead = 0.25 * total if position == 0 else 0.0  # a docstring's first sentence says what the thing is for
            ranked.append(((hit + lead + covered) / (1 + 0.25 * place), -place, -position, sentence))
    if not ranked:
        return None
    ranked.sort(reverse=True)
    chosen = [item for item in ranked[:max_sentences] if item[0] >= MIN_RELATIVE * ranked[0][0]]
    chosen.sort(key=lambda item: (-item[1], -item[2]))  # as they stand in the passages
    names = [_name(passages[-place]) for _, place, _, _ in chosen]
    text = " ".join(f"{sentence.rstrip('.')} [{name}]." for (_, _, _, sentence), name in zip(chosen, names, strict=True))
    return Quotation(text, tuple(dict.fromkeys(names)))


def write_fields(found: Quotation | None, wanted: list[tuple[str, str]], *, as_json: bool) -> str:
    """Fill the output fields: lists with the sources, `reasoning` with why, any other field with the quotation."""
    values: dict[str, Any] = {}
    for name, kind in wanted:
        if kind.startswith("list"):
            values[name] = list(found.sources) if found else []
        elif name == "reasoning":
            values[name] = (
                f"The terms of the question occur in {', '.join(found.sources)}." if found else "No passage has its terms."
            )
        else:
            values[name] = found.text if found else NO_ANSWER
    if as_json:
        return json.dumps(values)
    parts = [f"[[ ## {name} ## ]]\n{value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def _text(message: lm15.Message) -> str:
    return "\n".join(part.text for part in message.parts if part.type == "text")


def _passages(inputs: dict[str, str]) -> list[str]:
    raw = inputs.get("passages") or inputs.get("context") or ""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(raw)
        except (ValueError, SyntaxError):
            continue
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return [raw] if raw else []


def _name(passage: str) -> str:
    return passage.partition(":")[0].strip()


def _quotable(passage: str) -> list[str]:
    """Return the sentences of a passage without its name; examples and signatures are no sentences."""
    _, _, text = passage.partition(":")
    return [sentence for sentence in sentences(text) if ">>>" not in sentence and len(sentence.split()) > 3]
