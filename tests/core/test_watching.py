"""Patterns of parameters, and who watches what."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core.watching import Pattern, Watchers

FITS = [
    # text, id, name, whether it is meant
    ("qa.temperature", "qa", "temperature", True),
    ("qa.temperature", "qa", "temperature2", False),
    ("qa.temperature", "qb", "temperature", False),
    ("qa.*", "qa", "retriever.k", True),
    ("qa.*", "qa2", "k", False),
    ("qa", "qa", "anything", True),
    ("qa", "qa2", "anything", False),
    ("*.temperature", "qa", "temperature", True),
    ("*.temperature", "qa", "sub.temperature", True),
    ("q?.t*", "qa", "temperature", True),
    ("[qr]a.t", "ra", "t", True),
    ("[qr]a.t", "sa", "t", False),
    ("*", "qa", "temperature", True),
    ("*", "$shared", "style", True),
    ("$shared.style", "$shared", "style", True),
    ("qa.temperature", "search/qa", "temperature", True),  # by the last part of its id
    ("search/qa.temperature", "search/qa", "temperature", True),
    ("search/qa.temperature", "other/qa", "temperature", False),
    ("search/*", "search/qa", "temperature", True),
    ("qa#0.k", "qa#0", "k", True),
    ("qa.predictors[0]", "qa", "predictors[0]", True),  # a name as dspy spells it, before it is a pattern
    ("qa.predictors[0]", "qa", "predictors0", True),
    ("QA.temperature", "qa", "temperature", False),
]


@pytest.mark.parametrize(("text", "id", "name", "meant"), FITS)
def test_a_pattern_is_of_the_id_and_the_name(text: str, id: str, name: str, meant: bool) -> None:
    pattern = Pattern.of(text)
    assert pattern.matches(id, name) is meant
    assert pattern.concerns(id) or not meant


@pytest.mark.parametrize(
    ("text", "name", "meant"), [("k", "k", True), ("*", "a.b", True), ("a.*", "b", False), ("predictors[0]", "predictors[0]", True)]
)
def test_a_pattern_of_one_module_is_of_the_name_alone(text: str, name: str, meant: bool) -> None:
    pattern = Pattern(text, "qa")
    assert pattern.matches("qa", name) is meant
    assert not pattern.matches("qb", name)
    assert pattern.concerns("qa")
    assert not pattern.concerns("qb")


@pytest.mark.parametrize(
    ("text", "id", "may"),
    [("qa.x", "qb", False), ("q*.x", "qb", True), ("q*.x", "rb", False), ("qa.*", "qa2", False), ("s/q*", "s/qa", True)],
)
def test_modules_that_cannot_be_meant_are_not_asked(text: str, id: str, may: bool) -> None:
    assert Pattern.of(text).concerns(id) is may


PARTS = st.text("ab", min_size=1, max_size=3)
IDS = st.one_of(PARTS, st.builds("{}/{}".format, PARTS, PARTS))
NAMES = st.one_of(PARTS, st.builds("{}.{}".format, PARTS, PARTS), st.builds("{}[0]".format, PARTS))
TEXTS = st.one_of(
    st.builds("{}.{}".format, IDS, NAMES),
    st.lists(st.sampled_from(["a", "b", "*", "?", ".", "/", "[ab]", "[.]"]), min_size=1, max_size=6).map("".join),
)


@given(TEXTS, IDS, NAMES)
def test_whoever_is_meant_is_concerned_and_tells(text: str, id: str, name: str) -> None:
    pattern = Pattern.of(text)
    if pattern.matches(id, name):
        assert pattern.concerns(id)
        assert any(fnmatchcase(name, told) for told in pattern.names())


@given(TEXTS, IDS, NAMES)
def test_a_pattern_of_one_module_asks_it_for_all_that_is_meant(text: str, id: str, name: str) -> None:
    pattern = Pattern(text, id)
    if pattern.matches(id, name):
        assert any(fnmatchcase(name, told) for told in pattern.names())


# -- who watches


def test_those_who_watch_are_found_in_the_order_in_which_they_came() -> None:
    watchers: Watchers[str] = Watchers()
    watchers.add("wide", Pattern.of("*.k"))
    watchers.add("own", Pattern("k", "qa"))
    watchers.add("other", Pattern("k", "qb"))
    watchers.add("module", Pattern("*", "qa"))
    assert watchers.of("qa", "k") == ["own", "module", "wide"]
    assert watchers.of("qb", "k") == ["other", "wide"]
    assert watchers.of("qa", "x") == ["module"]
    assert watchers.concerned("qa") == ["own", "module", "wide"]
    assert len(watchers) == 4


def test_a_module_is_asked_for_what_anybody_watches_once() -> None:
    watchers: Watchers[str] = Watchers()
    assert watchers.wanted("qa") == []
    watchers.add("a", Pattern("k", "qa"))
    watchers.add("b", Pattern.of("qa.k"))
    watchers.add("c", Pattern.of("qb.x"))
    watchers.add("d", Pattern.of("q*.y"))
    assert watchers.wanted("qa") == ["k", "y", "*.y"]
    assert watchers.wanted("qb") == ["x", "y", "*.y"]


def test_one_that_is_removed_is_told_nothing_and_leaves_nothing() -> None:
    watchers: Watchers[str] = Watchers()
    watchers.add("a", Pattern("k", "qa"))
    watchers.add("b", Pattern.of("*"))
    assert watchers.remove("a") == Pattern("k", "qa")
    assert watchers.remove("a") is None
    assert watchers.of("qa", "k") == ["b"]
    watchers.remove("b")
    assert watchers.wanted("qa") == []
    assert list(watchers) == []
    assert watchers.pattern("a") is None


def test_adding_again_replaces_the_pattern() -> None:
    watchers: Watchers[str] = Watchers()
    watchers.add("a", Pattern("k", "qa"))
    watchers.add("a", Pattern("k", "qb"))
    assert "a" in watchers
    assert watchers.of("qa", "k") == []
    assert watchers.of("qb", "k") == ["a"]
