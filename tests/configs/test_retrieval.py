from __future__ import annotations

from typing import Any

import pytest

QUESTIONS = [
    ("How do I group consecutive equal items of an iterable?", ("itertools.groupby",)),
    ("run a command and capture its output", ("subprocess.run", "subprocess.check_output", "subprocess.getoutput")),
    ("temporary file deleted on close", ("tempfile.NamedTemporaryFile", "tempfile.TemporaryFile")),
    ("How can I parse command line options?", ("getopt", "optparse.OptionParser", "argparse")),
    ("merge several sorted inputs into one", ("heapq.merge",)),
    ("How do I compute the median of numbers?", ("statistics.median",)),
    ("count how often each element occurs", ("collections.Counter",)),
    ("walk a directory tree", ("os.walk",)),
    ("cache the results of a function, least recently used", ("functools.lru_cache",)),
    ("copy a whole directory tree", ("shutil.copytree",)),
    ("shuffle a list in place", ("random.Random.shuffle",)),
    ("How do I compare two sequences and show a diff?", ("difflib.diff_bytes", "difflib.context_diff", "difflib.unified_diff")),
]


@pytest.mark.parametrize(("question", "expected"), QUESTIONS, ids=[expected[0] for _, expected in QUESTIONS])
def test_what_answers_the_question_is_among_the_first_three(retriever: Any, question: str, expected: tuple[str, ...]) -> None:
    names = retriever(query=question).names[:3]
    assert set(names) & set(expected), names


def test_passages_begin_with_their_name_and_come_best_first(retriever: Any) -> None:
    found = retriever(query="group consecutive items", k=7)
    assert len(found.passages) == len(found.names) == len(found.scores) == 7
    assert all(passage.startswith(f"{name}: ") for passage, name in zip(found.passages, found.names, strict=True))
    assert found.scores == sorted(found.scores, reverse=True)


@pytest.mark.parametrize(
    "query", ["", "zzzqqq xxyyzz", "how do I", "¿¡ ☃"], ids=["empty", "unknown words", "stop words", "no letters"]
)
def test_a_query_without_known_terms_finds_nothing(retriever: Any, query: str) -> None:
    found = retriever(query=query)
    assert (found.passages, found.names, found.scores) == ([], [], [])


def test_more_is_not_returned_than_there_is(retriever: Any) -> None:
    assert 0 < len(retriever(query="file", k=10**6).names) <= retriever.size()["documents"]
