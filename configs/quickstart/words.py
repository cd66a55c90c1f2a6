"""Text to comparable terms, shared by the retriever and the offline LM. Owns the stop list and the stemmer; does no I/O."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# Words of questions and of docstring boilerplate: they say how something is asked or documented, not what it is about.
_STOPPED: Final = """
    a about above after all also an and any are as at be because been before being but by can could did do does doing for from
    get gets give given has have how i if in into is it its itself just let like may me more most my need no not of on once only
    or other our out over own s same should so some such t than that the their them then there these they this those to too
    use used uses using very want was way we were what when where which while who why will with would you your
    python module function class method object return returns returned argument arguments parameter parameters
"""
STOP_WORDS: Final = frozenset(_STOPPED.split())

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(])")
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:['*-]|\S+ --))")  # an empty line, or the next item of a list
_SUFFIXES: Final = ("izations", "ization", "ations", "ation", "ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "s", "ly", "e")
_VOWELS = frozenset("aeiouy")


@lru_cache(maxsize=65536)  # a docstring corpus has some 10 000 distinct words and uses each a hundred times
def stem(word: str) -> str:
    """Return the word without one inflectional ending: "capturing", "captures" and "captured" all become "captur"."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            if len(root) < 3 or _VOWELS.isdisjoint(root):
                continue
            if suffix in ("ies", "ied"):
                return root + "y"
            if suffix in ("ing", "ings", "ed", "er", "ers") and root[-1] == root[-2] and root[-1] not in "aeiousl":
                return root[:-1]  # running, mapped, formatter
            return root
    return word


def terms(text: str) -> list[str]:
    """Return the stems of a text in order; CamelCase and snake_case are split, stop words are dropped."""
    words = (word.lower() for word in _WORD.findall(text))
    return [stem(word) for word in words if len(word) > 1 and word not in STOP_WORDS]


def sentences(text: str) -> list[str]:
    """Split prose into sentences on one line each; paragraphs, list items and indented definitions end one."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        lines = paragraph.splitlines()
        indents = {len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()}
        prose = len(indents) < 2  # the first line's own indent was cut off by the split
        for unit in (" ".join(lines),) if prose else lines:
            found.extend(" ".join(part.split()) for part in _SENTENCE.split(unit) if part.strip())
    return found
