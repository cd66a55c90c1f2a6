from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config.loader import load
from dspex_runtime.config.problems import Broken, EnvText, Mark
from dspex_runtime.errors import ConfigError


def data(text: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    return load(text, source="t.yaml", environ=environ or {})[0]


def problems(text: str) -> tuple[str, ...]:
    return load(text, source="t.yaml", environ={})[1].problems


def test_every_key_and_value_knows_its_place() -> None:
    _, found = load("a: 1\nb:\n  - x\n  - {c: 2}\n", source="t.yaml", environ={})
    assert found.places[("a",)].key == Mark(1, 1)
    assert found.places[("a",)].value == Mark(1, 4)
    assert found.places[("b", 0)].value == Mark(3, 5)
    assert found.places[("b", 1, "c")].key == Mark(4, 6)
    assert found.places[("b", 1, "c")].value == Mark(4, 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x {k: 1}\nb: *x", {"a": {"k": 1}, "b": {"k": 1}}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ("a: &x {k: 1}\nc: &y {k: 2, m: 3}\nb: {<<: [*x, *y]}", {"a": {"k": 1}, "c": {"k": 2, "m": 3}, "b": {"k": 1, "m": 3}}),
        ("a: &x {k: 1}\nc: &y {<<: *x}\nb: {<<: *y}", {"a": {"k": 1}, "c": {"k": 1}, "b": {"k": 1}}),
        ('a: {"<<": 1}', {"a": {"<<": 1}}),
        ("a: {1: x, no: y}", {"a": {1: "x", "no": "y"}}),
    ],
)
def test_anchors_and_merge_keys(text: str, expected: dict[str, Any]) -> None:
    loaded = data(text)
    for merged in loaded.values():
        assert isinstance(merged, dict)
    assert {key: dict(value) for key, value in loaded.items()} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", "t.yaml:2:1: the key 'a' is there twice, first on line 1; keep one"),
        ("a:\n  b: {c: 1, c: 2}", "t.yaml:2:13: a.b: the key 'c' is there twice, first on line 2; keep one"),
        ("a: {<<: 5}", "t.yaml:1:9: a: found a value after `<<`; allowed: `*anchor` of a map, or a list of those"),
        ("a: {? [x] : 1}", "t.yaml:1:7: a: found a list or a map as a key; keys are text"),
        ("a: {true: 1}", "t.yaml:1:5: a: found 'true' as a key; keys are text (in quotes where YAML reads something else)"),
        ("a: {~: 1}", "t.yaml:1:5: a: found '~' as a key"),
    ],
)
def test_wrong_keys_are_problems_with_a_line(text: str, expected: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_the_first_of_two_equal_keys_counts() -> None:
    assert data("a: 1\na: 2") == {"a": 1}


def test_a_value_that_cannot_be_read_is_left_for_the_schema_to_report() -> None:
    loaded = data("a: ${NOPE}\nb: !!python/name:os.system\nc: !!set {x}\nd: 99999999999999999999")
    assert all(isinstance(value, Broken) for value in loaded.values())


def test_variables_are_replaced_in_values_only() -> None:
    loaded = data('"${X}": ${X}\nq: "${X}"\np: $$x', {"X": "7"})
    assert loaded == {"${X}": "7", "q": "7", "p": "$x"}
    assert isinstance(loaded["${X}"], EnvText)
    assert loaded["${X}"].plain
    assert not loaded["q"].plain
    assert type(loaded["p"]) is str


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 10)}]}}\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "aliases expand to more than 100000 values"),
        (MERGES, "aliases expand to more than 100000 values"),
        ("a: &a [*a]", "or an anchor that contains itself"),
        ("a: &a {b: *a}", "or an anchor that contains itself"),
        ("a: &a {<<: *a}", "or an anchor that contains itself"),
        ("a: &a {<<: [*a]}", "or an anchor that contains itself"),
    ],
    ids=["billion laughs", "billion merges", "list", "map", "merge", "merge list"],
)
def test_expansion_is_bounded(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data(text)
