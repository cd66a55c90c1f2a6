from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config.problems import INVALID, Mark, Place, Problems, show_path, shown
from dspex_runtime.errors import ConfigError


def test_problems_come_in_the_order_of_the_file_with_the_nearest_known_place() -> None:
    places = {(): Place(Mark(1, 1), Mark(1, 1)), ("b",): Place(Mark(3, 1), Mark(3, 4))}
    problems = Problems(source="t.yaml", places=places)
    assert problems.add(("b", "missing", 0), "one") is INVALID
    problems.add(("b",), "two")
    problems.add((), "three")
    assert problems.problems == ("t.yaml:1:1: three", "t.yaml:3:1: b.missing[0]: one", "t.yaml:3:4: b: two")
    assert problems.under(("b",)) == [("b", "missing", 0), ("b",)]


def test_one_problem_is_the_message_itself() -> None:
    problems = Problems()
    problems.raise_if_any()
    problems.add(("a",), "wrong")
    with pytest.raises(ConfigError, match=r"^a: wrong$") as caught:
        problems.raise_if_any(id="x")
    assert (caught.value.problems, caught.value.id) == (["a: wrong"], "x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing (null)"),
        (True, "true (true/false)"),
        (5, "5 (a whole number)"),
        (10**400, "a very large number (a whole number)"),
        (0.5, "0.5 (a number)"),
        ("x", "'x' (text)"),
        ({}, "a map"),
        ((), "a list"),
        (b"", "bytes"),
        (int, "a Python object (type)"),
    ],
)
def test_what_was_found_is_said_in_the_words_of_yaml(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("path", [("lm", "api_key"), ("env", "GITHUB_TOKEN"), ("env", "DB_PASSWORD")])
def test_the_value_of_a_secret_is_never_shown(path: tuple[str, ...]) -> None:
    assert shown("hunter2", path) == "a value (not shown)"


def test_paths_read_as_in_python() -> None:
    assert show_path(("tree", "children", 0, "limits")) == "tree.children[0].limits"
