from __future__ import annotations

import pytest
from quickstart.words import sentences, stem, terms


@pytest.mark.parametrize(
    "group",
    [
        ("capture", "captures", "captured", "capturing"),
        ("group", "groups", "grouped", "grouping"),
        ("delete", "deletes", "deleted", "deleting"),
        ("run", "runs", "running"),
        ("copy", "copies", "copied"),
        ("parse", "parsed", "parser", "parsing"),
    ],
    ids=lambda group: group[0],
)
def test_forms_of_one_word_have_one_stem(group: tuple[str, ...]) -> None:
    assert len({stem(word) for word in group}) == 1


@pytest.mark.parametrize("word", ["is", "red", "sing", "ring", "gas", "bus", "yes"])
def test_a_short_word_keeps_enough_of_itself(word: str) -> None:
    assert len(stem(word)) >= 2


def test_names_are_split_at_case_underscore_and_dot() -> None:
    assert terms("tempfile.NamedTemporaryFile") == terms("tempfile named temporary file")
    assert terms("check_output") == terms("check output")
    assert terms("HTTPServer") == terms("http server")


def test_stop_words_carry_no_meaning() -> None:
    assert terms("How do I use this function?") == []


def test_a_sentence_ends_at_a_full_stop_a_paragraph_and_a_list_item() -> None:
    text = "Create a file. Return it.\n\nArguments:\n'prefix' -- a name.\n'delete' -- whether it goes\nkey\n  What it is."
    assert sentences(text) == [
        "Create a file.",
        "Return it.",
        "Arguments:",
        "'prefix' -- a name.",
        "'delete' -- whether it goes",
        "key",
        "What it is.",
    ]


def test_wrapped_lines_are_one_sentence() -> None:
    assert sentences("Make an iterator\nthat returns groups.") == ["Make an iterator that returns groups."]
