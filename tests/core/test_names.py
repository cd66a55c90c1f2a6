import pytest

from dspex_runtime.core.names import NameIndex, check_id, full_id
from dspex_runtime.errors import ConfigError, NoProcessError
from dspex_runtime.types import FullId


@pytest.mark.parametrize("text", ["a", "qa-2", "_x", "9lives", "x" * 100])
def test_letters_digits_underscore_and_dash_make_an_id(text: str) -> None:
    assert check_id(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "letters"),
        ("-a", "not starting with -"),
        ("a b", "letters"),
        ("a/b", "separates the parts"),
        ("qa#0", "marks replicas"),
        ("qa.k", "parameter"),
        ("ä", "letters"),
        ("a\n", "letters"),
        ("x" * 101, "at most 100"),
        ("root", "reserved"),
    ],
)
def test_anything_else_is_refused_and_the_error_says_why(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_id(text)


def test_a_full_id_is_the_path_from_the_root() -> None:
    assert full_id("", "qa") == "qa"
    assert full_id("sup/sub", "qa#0") == "sup/sub/qa#0"


def index() -> NameIndex:
    return NameIndex(FullId(id) for id in ["a", "group/a", "group/b", "other/b", "other/deep/c", "retriever"])


@pytest.mark.parametrize(
    ("text", "found"),
    [("a", "a"), ("group/a", "group/a"), ("c", "other/deep/c"), ("deep/c", "other/deep/c"), ("group/b", "group/b")],
)
def test_the_full_id_wins_then_a_tail_that_only_one_has(text: str, found: str) -> None:
    assert index().resolve(text) == found


def test_an_ambiguous_id_lists_the_candidates() -> None:
    with pytest.raises(ConfigError, match="'b' is ambiguous: group/b, other/b"):
        index().resolve("b")


@pytest.mark.parametrize(("text", "hint"), [("retreiver", "retriever"), ("goup/a", "group/a"), ("zzz", "known ids: a, group/a")])
def test_an_unknown_id_names_near_misses_or_what_there_is(text: str, hint: str) -> None:
    with pytest.raises(NoProcessError) as caught:
        index().resolve(text)
    assert hint in (caught.value.hint or "")


def test_an_unknown_id_in_an_empty_runtime_says_so() -> None:
    with pytest.raises(NoProcessError) as caught:
        NameIndex().resolve("a")
    assert caught.value.hint == "known ids: none"


def test_a_discarded_id_is_unknown_and_makes_its_namesake_unique() -> None:
    names = index()
    names.discard(FullId("other/b"))
    names.discard(FullId("other/b"))
    assert names.resolve("b") == "group/b"
    assert FullId("other/b") not in names
    assert len(names) == 5
