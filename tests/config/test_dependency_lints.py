"""Warnings about dependencies: what the strategy or a restart type makes of no use, each with its line."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config import inspect


def warnings(*children: dict[str, Any], **tree: Any) -> list[str]:
    report = inspect({"tree": {**tree, "children": list(children)}})
    assert report.problems == ()
    return [warning.removeprefix("tree.") for warning in report.warnings]


def server(id: str, on_down: str | None = None, on: str = "a", **keys: Any) -> dict[str, Any]:
    edge: Any = {"on_down": on_down, **({"fallback": "spare"} if on_down == "degrade" else {})}
    return {"id": id, "server": "p:C", **({} if on_down is None else {"depends_on": {on: edge}}), **keys}


def group(id: str, *children: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"id": id, "restart": "permanent", "supervisor": {**keys, "children": list(children)}}


SPARE = server("spare")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("on_down", ["fail", "degrade", "restart", "stop"])
def test_a_strategy_that_restarts_both_leaves_nothing_to_on_down(strategy: str, on_down: str) -> None:
    (found,) = warnings(SPARE, server("a"), server("b", on_down), strategy=strategy)
    assert found == (
        f"children[2].depends_on.a: 'a' takes this one along when it is restarted (strategy: {strategy}): "
        f"on_down: {on_down} counts only while it is stopped by request"
    )


def test_it_does_so_to_all_below_its_siblings() -> None:
    (found,) = warnings(server("a"), group("g", server("b", "fail")), strategy="one_for_all")
    assert found.startswith("children[1].supervisor.children[0].depends_on.a: 'a' takes this one along")


@pytest.mark.parametrize(
    ("children", "strategy"),
    [
        ((server("a"), server("b", "fail")), "one_for_one"),
        ((server("a"), server("b", "wait")), "one_for_all"),
        ((server("a", restart="temporary"), server("b", "fail")), "one_for_all"),
        ((group("g", server("a")), server("b", "fail", "g/a")), "one_for_all"),
        ((group("g", server("a"), strategy="one_for_all"), server("b", "fail", "g/a")), "one_for_one"),
    ],
)
def test_where_on_down_has_something_to_say_there_is_no_warning(children: tuple[dict[str, Any], ...], strategy: str) -> None:
    assert warnings(*children, strategy=strategy) == []


def test_replicas_are_as_their_group() -> None:
    assert len(warnings(server("a", replicas=2), server("b", "fail"), strategy="one_for_all")) == 1
    assert len(warnings(server("a", replicas=2), server("b", "fail", "a#1"), strategy="one_for_all")) == 1


def test_a_temporary_child_is_not_restarted_for_another() -> None:
    (found,) = warnings(server("a"), server("b", "restart", restart="temporary"))
    assert found == (
        "children[1].depends_on.a: on_down: restart on a temporary child, which nothing restarts: on_down: stop says what happens"
    )


@pytest.mark.parametrize(("restart", "when"), [("temporary", "it has ended"), ("transient", "it has ended normally")])
def test_to_wait_for_what_may_end_for_good_is_to_wait_for_a_deadline(restart: str, when: str) -> None:
    (found,) = warnings(server("a", restart=restart), server("b", "wait"))
    text = f"calls wait for 'a', which is {restart}: once {when} nothing starts it again and they wait for their deadline"
    assert found == f"children[1].depends_on.a: {text}"
    assert warnings(server("a", restart=restart), server("b", "fail")) == []


def test_defaults_count() -> None:
    report = inspect({"defaults": {"restart": "transient"}, "tree": {"children": [server("a"), server("b", "wait")]}})
    assert len(report.warnings) == 1


def test_rest_for_one_goes_by_the_order_of_starts() -> None:
    (found,) = warnings(server("b", "wait"), server("c"), server("a"), strategy="rest_for_one")
    assert found == (
        "children: rest_for_one goes by the order in which they are started, which depends_on makes another one than that of this "
        "list: c, a, b"
    )
    assert warnings(server("a"), server("b", "wait"), strategy="rest_for_one") == []
    assert warnings(server("b", "wait"), server("a"), strategy="one_for_one") == []


def test_so_it_does_deep_down() -> None:
    (found,) = warnings(group("g", server("b", "wait", "g/a"), server("a"), strategy="rest_for_one"))
    assert found.startswith("children[0].supervisor.children: rest_for_one")


def test_a_warning_has_its_line(check: Any) -> None:
    report = check(
        """\
tree:
  strategy: one_for_all
  children:
    - {id: a, server: 'p:C'}
    - id: b
      server: p:C
      depends_on:
        a: fail
"""
    )
    assert report.warnings[0].startswith("qa.yaml:8:9: tree.children[1].depends_on.a: 'a' takes")
