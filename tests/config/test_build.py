from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import parse, parse_child
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.core.child_spec import (
    BRUTAL_KILL,
    INFINITY,
    Backoff,
    Checkpoint,
    ChildSpec,
    LaunchSpec,
    Limits,
    Liveness,
    Readiness,
    Shutdown,
    SupervisorSpec,
)
from dspex_runtime.core.launch_map import from_map, to_map
from dspex_runtime.node.operations.childspec import as_dict
from dspex_runtime.types import AutoShutdown, ChildId, Durability, Kind, RestartType, Strategy


def child(under: SupervisorSpec | None = None, **keys: Any) -> ChildSpec:
    kind = {} if "supervisor" in keys or "module" in keys else {"server": "p:C"}
    return parse_child({"id": "a", **kind, **keys}, spec=RuntimeSpec(base_dir="/base"), under=under)


def test_a_bare_child_has_the_defaults_of_its_spec() -> None:
    assert child() == ChildSpec(
        id=ChildId("a"), kind=Kind.SERVER, launch=LaunchSpec(kind=Kind.SERVER, target="p:C", sys_path=("/base",))
    )


def test_an_empty_configuration_has_the_defaults_of_its_spec() -> None:
    assert parse({"base_dir": "/base"}) == RuntimeSpec(base_dir="/base")


@pytest.mark.parametrize(
    ("value", "shutdown"),
    [
        ("brutal_kill", BRUTAL_KILL),
        ("infinity", INFINITY),
        ("10s", Shutdown(10.0)),
        ("2s", Shutdown(2.0, drain_s=2.0)),
        (0, Shutdown(0.0, drain_s=0.0)),
        ({"drain": "1s"}, Shutdown(5.0, drain_s=1.0)),
        ({"timeout": "1s"}, Shutdown(1.0, drain_s=1.0)),
        ({"drain": "1m", "timeout": "infinity"}, Shutdown(None, drain_s=60.0)),
    ],
)
def test_shutdown(value: Any, shutdown: Shutdown) -> None:
    assert child(shutdown=value).shutdown == shutdown


def test_a_supervisor_is_waited_for_without_limit_unless_it_says_otherwise() -> None:
    group = child(
        supervisor={"strategy": "rest_for_one", "max_restarts": 5, "max_seconds": "10s", "children": [{"id": "b", "server": "p:C"}]}
    )
    assert group.kind is Kind.SUPERVISOR
    assert group.launch is None
    assert group.shutdown == Shutdown(None, drain_s=0.0)
    assert group.start_timeout_s is None
    assert group.supervisor is not None
    assert group.supervisor.strategy is Strategy.REST_FOR_ONE
    assert (group.supervisor.max_restarts, group.supervisor.max_seconds, len(group.supervisor.children)) == (5, 10.0, 1)
    assert child(supervisor={}, shutdown="5s").shutdown.timeout_s == 5.0


@pytest.mark.parametrize("limit", [None, "infinity"])
def test_a_dynamic_supervisor_has_no_limit_unless_it_says_so(limit: Any) -> None:
    flags: dict[str, Any] = {"dynamic": True, "extra_arguments": [1, {"k": 2}]}
    assert child(supervisor={**flags, "max_children": 7}).supervisor == SupervisorSpec(
        dynamic=True, max_children=7, extra_arguments=(1, {"k": 2})
    )
    assert child(supervisor={**flags, "max_children": limit}).supervisor == SupervisorSpec(
        dynamic=True, extra_arguments=(1, {"k": 2})
    )


def test_a_significant_child_and_its_supervisors_auto_shutdown_arrive() -> None:
    significant = {"id": "b", "server": "p:C", "restart": "temporary", "significant": True}
    group = child(supervisor={"auto_shutdown": "all_significant", "children": [significant]}).supervisor
    assert group is not None
    assert group.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT
    assert [spec.significant for spec in group.children] == [True]
    assert child(under=group, restart="transient", significant=True).significant


def test_every_key_arrives_in_its_field() -> None:
    spec = child(
        module="p:M",
        restart="transient",
        backoff={"initial": "1s", "factor": 3, "max": "9s", "jitter": 0, "stable_after": "1m"},
        start_timeout="infinity",
        version="2",
        metadata={"team": "x"},
        args=[1, 2],
        concurrency=3,
        trap_exit=False,
        limits={"memory": "1MiB", "mailbox": 2, "call_timeout": "3s", "max_calls": 4, "nice": 5},
        liveness=None,
        readiness={"call": "ok", "timeout": "1s"},
        lm={"model": "m"},
        dspy={"track_usage": True},
        params={"temperature": 0.2, "predictors[0]": {}},
        durability="fsync",
        checkpoint={"every": "30s", "keep": 3},
    )
    assert spec.restart is RestartType.TRANSIENT
    assert spec.backoff == Backoff(1.0, 3.0, 9.0, 0.0, 60.0)
    assert (spec.start_timeout_s, spec.version, spec.metadata) == (None, "2", {"team": "x"})
    assert spec.launch == LaunchSpec(
        kind=Kind.MODULE,
        target="p:M",
        args=(1, 2),
        sys_path=("/base",),
        lm={"model": "m"},
        dspy={"track_usage": True},
        concurrency=3,
        trap_exit=False,
        limits=Limits(2**20, 2, 3.0, 4, 5),
        liveness=None,
        readiness=Readiness("ok", 1.0),
        params={"temperature": 0.2, "predictors[0]": {}},
        durability=Durability.FSYNC,
        checkpoint=Checkpoint(30.0, 3),
    )
    assert from_map(to_map(spec.launch)) == spec.launch


def test_arguments_are_keywords_or_positions() -> None:
    by_name, by_position = child(args={"start": 1}).launch, child(args=[1]).launch
    assert by_name is not None
    assert by_position is not None
    assert (by_name.args, dict(by_name.kwargs)) == ((), {"start": 1})
    assert (by_position.args, dict(by_position.kwargs)) == ((1,), {})


def test_backoff_none_is_otps() -> None:
    assert child(backoff="none").backoff is None
    assert child(backoff={}).backoff == Backoff()
    assert child(liveness={}).launch.liveness == Liveness()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("children", "preload"),
    [
        ([], ("dspy",)),
        ([{"id": "a", "server": "p:C"}], ()),
        ([{"id": "a", "server": "p:C"}, {"id": "b", "module": "p:M"}], ("dspy",)),
        ([{"id": "a", "supervisor": {"children": [{"id": "b", "module": "p:M"}]}}], ("dspy",)),
        ([{"id": "a", "supervisor": {"children": [{"id": "b", "server": "p:C"}]}}], ()),
        ([{"id": "a", "supervisor": {}}], ("dspy",)),
    ],
)
def test_dspy_is_preloaded_where_modules_are_or_may_come(children: list[Any], preload: tuple[str, ...]) -> None:
    assert parse({"tree": {"children": children}}).preload == preload
    assert parse({"runtime": {"preload": []}, "tree": {"children": children}}).preload == ()


def test_secrets_are_not_in_the_repr() -> None:
    spec = parse({"lm": {"model": "m", "api_key": "sk-1"}, "runtime": {"env": {"T": "sk-2"}}, "defaults": {"env": {"T": "sk-3"}}})
    assert "sk-" not in repr(spec)
    assert isinstance(spec.tree, SupervisorSpec)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"restart": "temporary"},
        {"module": "p:M", "backoff": {"factor": 1}, "shutdown": "infinity", "start_timeout": "infinity", "liveness": None},
        {"args": [1], "shutdown": "brutal_kill", "backoff": "none", "metadata": {"k": 1}, "version": "1"},
        {"supervisor": {"strategy": "one_for_all", "children": [{"id": "b", "server": "p:C", "shutdown": "1s"}]}},
        {"supervisor": {"dynamic": True, "max_children": 7, "extra_arguments": [1]}},
        {"params": {"x": 1}, "durability": "fsync", "checkpoint": {"every": "30s", "keep": 3}},
        {"checkpoint": {"keep": 3}},
        {"supervisor": {"dynamic": True}},
        {
            "supervisor": {
                "auto_shutdown": "any_significant",
                "children": [{"id": "b", "server": "p:C", "restart": "transient", "significant": True}],
            }
        },
    ],
)
def test_what_get_childspec_returns_starts_the_same_child(keys: dict[str, Any]) -> None:
    spec = child(**keys)
    assert parse_child(as_dict(spec), spec=RuntimeSpec(base_dir="/base")) == spec


def test_1_1_defaults_of_flags_and_specs() -> None:
    flags = parse({}).tree
    assert (flags.strategy, flags.auto_shutdown) == (Strategy.ONE_FOR_ONE, AutoShutdown.NEVER)
    assert (flags.max_restarts, flags.max_seconds) == (3, 5.0)  # Elixir's; OTP has 1 and 5
    worker, group = child(), child(supervisor={"dynamic": True})
    assert (worker.restart, worker.significant, worker.shutdown.timeout_s) == (RestartType.PERMANENT, False, 5.0)
    assert (group.restart, group.significant, group.shutdown.timeout_s) == (RestartType.PERMANENT, False, None)
    assert group.supervisor is not None
    assert (group.supervisor.max_restarts, group.supervisor.max_seconds, group.supervisor.max_children) == (3, 5.0, None)
    assert (worker.start_timeout_s, group.start_timeout_s) == (30.0, None)
    assert worker.launch is not None
    assert worker.launch.trap_exit


def test_a_saved_state_is_found_from_the_configurations_folder(tmp_path: Path) -> None:
    (tmp_path / "qa.json").write_text("{}")
    spec = parse_child({"id": "a", "module": "p:M", "load": "qa.json"}, spec=RuntimeSpec(base_dir=str(tmp_path)))
    assert spec.launch is not None
    assert spec.launch.load == as_dict(spec)["load"] == from_map(to_map(spec.launch)).load == f"{tmp_path}/qa.json"
    assert "load" not in as_dict(child())
