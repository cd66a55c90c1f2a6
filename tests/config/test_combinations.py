"""otp-semantics §1.1 and §1.11: the bad combinations of significant, auto_shutdown and dynamic, each with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import RuntimeSpec, parse_child
from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import AutoShutdown

SIGNIFICANT = "{id: a, server: 'p:C', restart: transient, significant: true}"

NEVER_ENDS = "found true on a permanent child; allowed: with transient and temporary, as a permanent child never ends for good"
NOBODY_LOOKS = "with auto_shutdown: never; allowed: under auto_shutdown: any_significant or all_significant"

BAD: dict[str, tuple[str, list[str]]] = {
    "significant and permanent": (
        "tree:\n  auto_shutdown: any_significant\n  children:\n    - {id: a, server: 'p:C', restart: permanent, significant: true}",
        ["qa.yaml:4:63: tree.children[0].significant: " + NEVER_ENDS],
    ),
    "significant and permanent by default": (
        "tree: {auto_shutdown: any_significant, children: [{id: a, server: 'p:C', significant: true}]}",
        ["qa.yaml:1:87: tree.children[0].significant: " + NEVER_ENDS + "; write restart: transient here"],
    ),
    "significant under auto_shutdown never": (
        f"tree:\n  children:\n    - {SIGNIFICANT}",
        ["qa.yaml:3:63: tree.children[0].significant: found true under a supervisor (line 1 (tree)) " + NOBODY_LOOKS],
    ),
    "the supervisor above does not count": (
        f"tree: {{auto_shutdown: all_significant, children: [{{id: g, supervisor: {{children: [{SIGNIFICANT}]}}}}]}}",
        ["tree.children[0].supervisor.children[0].significant: found true under a supervisor"],
    ),
    "both at once": (
        "tree: {children: [{id: a, server: 'p:C', significant: true}]}",
        ["found true on a permanent child", "found true under a supervisor"],
    ),
    "any_significant and dynamic": (
        "tree: {dynamic: true, auto_shutdown: any_significant}",
        ["qa.yaml:1:38: tree.auto_shutdown: found any_significant with dynamic: true; allowed: never, as a dynamic supervisor"],
    ),
    "all_significant and dynamic": (
        "tree: {dynamic: true, auto_shutdown: all_significant}",
        ["found all_significant with dynamic: true"],
    ),
    "one_for_all and dynamic": (
        "tree: {dynamic: true, strategy: one_for_all}",
        ["qa.yaml:1:33: tree.strategy: found one_for_all with dynamic: true; allowed: one_for_one"],
    ),
    "rest_for_one and dynamic": ("tree: {dynamic: true, strategy: rest_for_one}", ["found rest_for_one with dynamic: true"]),
    "children and dynamic": (
        "tree:\n  dynamic: true\n  children: [{id: a, server: 'p:C'}]",
        ["qa.yaml:3:3: tree.children: found children with dynamic: true; allowed: none here, they are added at run time"],
    ),
    "a significant child of a dynamic supervisor": (
        f"tree: {{dynamic: true, children: [{SIGNIFICANT}]}}",
        ["found children with dynamic: true", "found true under a dynamic supervisor; allowed: false"],
    ),
    "max_children of a static supervisor": (
        "tree: {max_children: 3}",
        ["qa.yaml:1:8: tree.max_children: found without dynamic: true; allowed: on a dynamic supervisor only"],
    ),
    "extra_arguments of a static supervisor": (
        "tree: {extra_arguments: [1]}",
        ["tree.extra_arguments: found without dynamic: true"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), BAD.values(), ids=BAD)
def test_a_bad_combination_is_refused_with_its_place(check: Any, text: str, problems: list[str]) -> None:
    found = check(text).problems
    assert len(found) == len(problems), found
    for expected in problems:
        assert any(expected in problem for problem in found), found


WORDS = {
    "auto_shutdown": ("{auto_shutdown: any}", "allowed: never, any_significant, all_significant; did you mean 'any_significant'?"),
    "simple_one_for_one": ("{strategy: simple_one_for_one}", "rest_for_one; write dynamic: true"),
    "dynamic": ("{dynamic: yes}", "found 'yes' (text); allowed: true or false; write true"),
    "max_children": ("{dynamic: true, max_children: -1}", "tree.max_children: found -1 (a whole number); allowed: a whole number"),
    "max_childs": ("{dynamic: true, max_childs: 3}", "did you mean 'max_children'?"),
    "extra_arguments": ("{dynamic: true, extra_arguments: 3}", "found 3 (a whole number); allowed: a list of positional arguments"),
    "significant": (
        "{auto_shutdown: any_significant, children: [{id: a, server: 'p:C', restart: transient, significant: 1}]}",
        "tree.children[0].significant: found 1 (a whole number); allowed: true or false",
    ),
    "restart of a significant child": (
        "{auto_shutdown: any_significant, children: [{id: a, server: 'p:C', restart: transiant, significant: true}]}",
        "did you mean 'transient'?",
    ),
    "auto_shutdown of a significant child": (
        f"{{auto_shutdown: any_significnt, children: [{SIGNIFICANT}]}}",
        "did you mean 'any_significant'?",
    ),
}


@pytest.mark.parametrize(("tree", "problem"), WORDS.values(), ids=WORDS)
def test_a_wrong_word_is_one_problem_and_is_corrected(check: Any, tree: str, problem: str) -> None:
    found = check(f"tree: {tree}").problems
    assert len(found) == 1, found
    assert problem in found[0]


GOOD = {
    "a dynamic supervisor with everything it may have": (
        "{strategy: one_for_one, dynamic: true, auto_shutdown: never, max_children: 0, extra_arguments: [1, {k: 2}], children: []}"
    ),
    "a dynamic supervisor without a limit": "{dynamic: true, max_children: infinity}",
    "what a static one may say of it": "{max_children: null, extra_arguments: []}",
    "a significant transient child": f"{{auto_shutdown: any_significant, children: [{SIGNIFICANT}]}}",
    "a significant temporary child": (
        "{auto_shutdown: all_significant, children: [{id: a, server: 'p:C', restart: temporary, significant: true}]}"
    ),
    "a significant supervisor": (
        "{auto_shutdown: all_significant, children: [{id: g, restart: transient, significant: true, supervisor: {}}]}"
    ),
    "an insignificant permanent child": "{auto_shutdown: all_significant, children: [{id: a, server: 'p:C', significant: false}]}",
}


@pytest.mark.parametrize("tree", GOOD.values(), ids=GOOD)
def test_these_are_legal(check: Any, tree: str) -> None:
    assert check(f"tree: {tree}").problems == ()


@pytest.mark.parametrize(
    ("under", "restart", "problem"),
    [
        (SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT), "transient", None),
        (SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT), "permanent", "found true on a permanent child"),
        (SupervisorSpec(), "transient", "found true under a supervisor with auto_shutdown: never"),
        (SupervisorSpec(dynamic=True), "transient", "found true under a dynamic supervisor"),
        (None, "transient", "found true under a supervisor with auto_shutdown: never"),
    ],
)
def test_a_child_that_is_added_later_is_judged_by_the_supervisor_it_comes_under(
    tmp_path: Path, under: SupervisorSpec | None, restart: str, problem: str | None
) -> None:
    child = {"id": "a", "server": "p:C", "restart": restart, "significant": True}
    spec = RuntimeSpec(base_dir=str(tmp_path))
    if problem is None:
        assert parse_child(child, spec=spec, under=under).significant
        return
    with pytest.raises(ConfigError, match=problem):
        parse_child(child, spec=spec, under=under)
