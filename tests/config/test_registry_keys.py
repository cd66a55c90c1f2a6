"""`register:` in YAML and in specs from programs: a key of the registry, lists standing for tuples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import inspect, parse
from dspex_runtime.config.child_schema import child_section

FILE = """
version: 1
tree:
  children:
    - {{id: a, server: "pkg.mod:Name", register: {key}}}
"""


def registered(source: Any, **options: Any) -> Any:
    report = inspect(source, **options)
    assert report.problems == (), report.problems
    return parse(report.config).tree.children[0].register


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("search", "search"),
        ("1", 1),
        ("1.0", 1.0),
        ("true", True),
        ('"1"', "1"),
        ("[worker, 1, [x, true]]", ("worker", 1, ("x", True))),
        ("[]", ()),
        ("null", None),
        ('"${KEY}"', "from the environment"),
        ('["${KEY}"]', ("from the environment",)),
    ],
)
def test_a_key_is_any_plain_value_and_a_list_is_a_tuple(tmp_path: Path, text: str, key: Any) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(FILE.format(key=text))
    found = registered(path, environ={"KEY": "from the environment"})
    assert repr(found) == repr(key)


@pytest.mark.parametrize("key", [b"k", ("a", 1), ["a", ("b",)], None])
def test_a_program_may_give_tuples_and_bytes(key: Any) -> None:
    child = {"id": "a", "server": "pkg.mod:Name", "register": key}
    found = registered({"version": 1, "tree": {"children": [child]}})
    assert found == (("a", ("b",)) if isinstance(key, list) else key)


@pytest.mark.parametrize("text", ["{a: 1}", "[a, {b: 1}]", ".nan", "[null, .nan]"])
def test_what_is_no_key_is_refused_with_what_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(FILE.format(key=text))
    (problem,) = inspect(path).problems
    assert ":5:" in problem
    assert "register: found" in problem
    assert "allowed: text, a number, true or false, or a list of these (a tuple)" in problem


def test_the_schema_for_editors_says_so_too() -> None:
    described = child_section().json()["properties"]["register"]
    assert described["type"] == ["string", "number", "boolean", "array", "null"]


TREE = """\
version: 1
tree:
  children:
    - {id: a, server: "pkg.mod:Name", register: [w, 1]}
    - id: g
      supervisor:
        children:
          - {id: b, server: "pkg.mod:Name", register: %s}
          - {id: c, server: "pkg.mod:Name"}
          - {id: d, server: "pkg.mod:Name", register: null}
"""


def test_a_key_of_two_children_is_a_problem_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE % "[w, 1]")
    (problem,) = inspect(path).problems
    assert "('w', 1), which is taken by line 4" in problem
    assert ":8:" in problem


@pytest.mark.parametrize("other", ["[w, 1.0]", "[w, true]", '[w, "1"]', "[[w, 1]]"])
def test_keys_that_only_look_alike_are_two(tmp_path: Path, other: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(TREE % other)
    assert inspect(path).problems == ()
