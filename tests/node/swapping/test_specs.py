"""What is said of a new version takes the place of what was; nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.node.swapping.specs import new_spec
from dspex_runtime.types import Kind
from helpers.fake_node import FakeNode, server


def spec(runtime: FakeNode, given: dict[str, Any] | None = None, version: str | None = None) -> tuple[ChildSpec, LaunchSpec]:
    found = new_spec(runtime.node, runtime.node.registry.resolve("a"), given, version)
    assert found.launch is not None
    return found, found.launch


@pytest.fixture
def booted(runtime: FakeNode) -> FakeNode:
    child = server(
        "a", args={"n": 1}, version="1", limits={"mailbox": 5}, restart="transient", metadata={"team": "x"}, shutdown=9.0
    )
    return runtime.boot(child)


def test_nothing_said_is_the_same(booted: FakeNode) -> None:
    assert spec(booted)[0] == booted.node.registry.resolve("a").spec


def test_another_target_keeps_all_but_the_version(booted: FakeNode) -> None:
    old = booted.node.registry.resolve("a").spec
    found, launch = spec(booted, {"server": "pkg.mod:New", "sys_path": ["/there"]})
    assert (launch.target, launch.sys_path[0], launch.kwargs, launch.limits.mailbox) == ("pkg.mod:New", "/there", {"n": 1}, 5)
    assert (found.version, found.restart, found.shutdown, found.metadata) == (None, old.restart, old.shutdown, {"team": "x"})


def test_arguments_of_all_kinds_take_the_place_of_each_other(booted: FakeNode) -> None:
    assert spec(booted, {"args": {"n": 2}})[1].kwargs == {"n": 2}
    launch = spec(booted, {"args": [7]})[1]
    assert (launch.args, launch.kwargs) == ((7,), {})
    launch = spec(booted, {"pickled_args": b"x"})[1]
    assert (launch.args, launch.kwargs, launch.pickled_args, launch.target) == ((), {}, b"x", "pkg.mod:Name")


def test_what_comes_pickled_has_its_name_for_people(booted: FakeNode) -> None:
    found, launch = spec(booted, {"module": "__main__:Odd.<locals>.Name", "pickled": b"x"})
    assert (launch.pickled, launch.target, launch.label, launch.kind) == (b"x", None, "__main__:Odd.<locals>.Name", Kind.MODULE)
    assert found.kind is Kind.MODULE


def test_policies_can_be_said_too(booted: FakeNode) -> None:
    found, launch = spec(booted, {"limits": {"mailbox": 7}, "restart": "permanent", "start_timeout": 3.0, "version": "3"})
    assert (launch.limits.mailbox, found.restart.value, found.start_timeout_s, found.version) == (7, "permanent", 3.0, "3")


def test_a_version_that_is_said_wins(booted: FakeNode) -> None:
    assert spec(booted, {"server": "pkg.mod:New"}, "2")[0].version == "2"
    assert spec(booted, None, "2")[0].version == "2"


def test_what_was_given_for_a_rollback_is_not_what_is_on_the_disk(booted: FakeNode) -> None:
    from dataclasses import replace

    record = booted.node.registry.resolve("a")
    assert record.spec.launch is not None
    record.spec = replace(record.spec, launch=replace(record.spec.launch, sources={"/a.py": b"old"}))
    assert spec(booted)[1].sources == {}


@pytest.mark.parametrize("key", ["supervisor", "register", "depends_on", "replicas"])
def test_what_is_another_child_is_no_swap(booted: FakeNode, key: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot change '{key}'"):
        spec(booted, {key: {}})


def test_what_is_wrong_is_said_as_for_any_child(booted: FakeNode) -> None:
    with pytest.raises(ConfigError, match="mailbox"):
        spec(booted, {"limits": {"mailbox": 0}})


def test_a_supervisors_rules_hold(runtime: FakeNode) -> None:
    runtime.boot(server("a", restart="transient"))
    with pytest.raises(ConfigError, match="significant"):
        new_spec(runtime.node, runtime.node.registry.resolve("a"), {"significant": True, "restart": "permanent"}, None)
