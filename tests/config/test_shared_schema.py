"""`shared:`: what may be declared of the runtime's own parameters, and what is said of each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config import json_schema, normalize, parse
from dspex_runtime.config.schema import RUNTIME


def shared(check: Any, text: str) -> Any:
    report = check(f"shared: {{{text}}}\ntree: {{}}")
    assert report.problems == ()
    return report.config["shared"]


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("style: brief", {"type": "str", "default": "brief"}),
        ("k: 3", {"type": "int", "default": 3}),
        ("t: 0.5", {"type": "float", "default": 0.5}),
        ("on: true", {"type": "bool", "default": True}),
        ("names: [a, b]", {"type": "list", "default": ["a", "b"]}),
        ("style: {default: brief}", {"type": "str", "default": "brief"}),
        ("map: {type: dict, default: {a: 1}}", {"type": "dict", "default": {"a": 1}}),
        ("any: {type: any, default: null}", {"type": "any", "default": None}),
        ("t: {type: float, default: 1, min: 0, max: 2}", {"type": "float", "default": 1, "min": 0.0, "max": 2.0}),
        ("s: {default: brief, choices: [brief, full]}", {"type": "str", "default": "brief", "choices": ["brief", "full"]}),
        (
            "s: {default: ab, pattern: '[a-z]+', max_length: 5}",
            {"type": "str", "default": "ab", "pattern": "[a-z]+", "max_length": 5},
        ),
        (
            "s: {default: x, durability: fsync, metadata: {a: 1}}",
            {"type": "str", "default": "x", "durability": "fsync", "metadata": {"a": 1}},
        ),
    ],
)
def test_a_value_or_a_declaration_comes_out_as_a_declaration(check: Any, text: str, declared: dict[str, Any]) -> None:
    (found,) = shared(check, text).values()
    assert found == declared


MISTAKES = {
    "null": ("style: null", "shared.style: found nothing (null); allowed: a value that is not null, or a map with a default"),
    "no default": ("k: {type: int}", "allowed: a value that is not null, or a map with a default"),
    "unknown type": ("k: {type: text, default: a}", "shared.k.type: found 'text' (text); allowed: int, float, bool, str"),
    "typo": ("k: {type: int, default: 1, maxx: 2}", "shared.k.maxx: found the unknown key 'maxx'; allowed: type, default"),
    "typo's hint": ("k: {type: int, default: 1, maxx: 2}", "did you mean 'max'?"),
    "limit of another type": ("k: {default: a, min: 1}", "shared.k.min: found on type str; allowed: with array, float, int"),
    "no pattern": ("k: {default: a, pattern: '('}", "shared.k.pattern: found '(' (text); allowed: a regular expression"),
    "default too large": ("k: {type: int, default: 9, max: 5}", "shared.k.default: its default: "),
    "default not a choice": ("k: {default: a, choices: [b]}", "shared.k.default: its default: "),
    "default of another type": ("k: {type: int, default: a}", "shared.k.default: its default: "),
    "crossed limits": ("k: {type: int, default: 1, min: 5, max: 1}", "shared.k"),
    "no duration": (
        "k: {default: 1, durability: disk}",
        "shared.k.durability: found 'disk' (text); allowed: memory, journal, fsync",
    ),
    "no map": ("[1]", "shared: found"),
}


@pytest.mark.parametrize(("text", "problem"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_named_once_with_its_place(check: Any, text: str, problem: str) -> None:
    written = f"shared: {text}" if text.startswith("[") else f"shared: {{{text}}}"
    problems = check(f"{written}\ntree: {{}}").problems
    assert len(problems) == 1, problems
    assert problem in problems[0]
    assert problems[0].startswith("qa.yaml:1:")


def test_all_mistakes_are_named_at_once(check: Any) -> None:
    assert len(check("shared: {a: null, b: {type: x}, c: {default: 1, min: 5}}").problems) == 3


def test_what_is_normalised_normalises_to_itself_and_is_what_the_runtime_gets(check: Any) -> None:
    config = check("shared: {style: brief, k: {type: int, default: 3, max: 5}}\ntree: {children: [{id: a, server: 'p:C'}]}").config
    assert normalize(config) == config
    spec = parse(config)
    assert spec.shared == {"style": {"type": "str", "default": "brief"}, "k": {"type": "int", "default": 3, "max": 5.0}}
    launch = spec.tree.children[0].launch
    assert launch is not None
    assert launch.shared


def test_without_it_no_child_has_to_do_with_it(check: Any) -> None:
    launch = parse(check("tree: {children: [{id: a, server: 'p:C'}]}").config).tree.children[0].launch
    assert launch is not None
    assert not launch.shared


def test_a_dict_declares_as_a_file_does() -> None:
    assert parse({"shared": {"k": 3}}).shared == {"k": {"type": "int", "default": 3}}


def test_editors_are_told_every_key() -> None:
    declared, plain = json_schema()["properties"]["shared"]["additionalProperties"]["anyOf"]
    assert {"type", "default", "min", "max", "choices"} <= declared["properties"].keys()
    assert plain == {"not": {"type": ["object", "null"]}}
    assert "shared" in [key.name for key in RUNTIME.public]
