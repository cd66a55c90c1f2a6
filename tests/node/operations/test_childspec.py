"""A spec as its user could have written it: what is read back makes the same child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.config import RuntimeSpec, parse_child
from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.node.operations.childspec import as_dict
from dspex_runtime.types import ChildId, Kind

WRITTEN: list[dict[str, Any]] = [
    {"id": "a", "server": "pkg.mod:Name"},
    {"id": "a", "module": "pkg.mod:Name", "args": {"k": 3}, "concurrency": 4, "version": "2", "metadata": {"team": "x"}},
    {"id": "a", "server": "pkg.mod:Name", "args": [1, "two"], "restart": "temporary", "trap_exit": False},
    {"id": "a", "server": "pkg.mod:Name", "shutdown": "brutal_kill", "backoff": None, "liveness": None},
    {"id": "a", "server": "pkg.mod:Name", "shutdown": "infinity", "start_timeout": "infinity"},
    {"id": "a", "server": "pkg.mod:Name", "limits": {"memory": 2**30, "max_calls": 9, "nice": 5}, "liveness": {"grace": 3}},
    {"id": "a", "module": "pkg.mod:Name", "readiness": {"call": "check", "timeout": 3}},
    {
        "id": "g",
        "supervisor": {
            "strategy": "rest_for_one",
            "max_restarts": 9,
            "children": [{"id": "a", "server": "pkg.mod:Name"}, {"id": "h", "supervisor": {"children": []}}],
        },
    },
    {"id": "p", "supervisor": {"dynamic": True, "max_children": 3, "extra_arguments": ["x", {"k": 1}]}},
    {"id": "p", "supervisor": {"dynamic": True}},
    {
        "id": "s",
        "restart": "transient",
        "supervisor": {
            "auto_shutdown": "all_significant",
            "children": [{"id": "a", "server": "pkg.mod:Name", "restart": "temporary", "significant": True}],
        },
    },
    {"id": "a", "module": "pkg.mod:Name", "readiness": {"command": "test -f x", "timeout": 3}},
    {"id": "a", "module": "pkg.mod:Name", "readiness": {"command": ["test", "-f", "x"]}},
    {"id": "a", "module": "pkg.mod:Name", "parts": {"max_restarts": 0, "x": {"on_down": "fail", "parts": {"y": {"args": [1]}}}}},
    {
        "id": "g",
        "supervisor": {
            "children": [
                {"id": "b", "module": "pkg.mod:Name", "depends_on": {"a": {"on_down": "degrade", "fallback": "c"}}},
                {"id": "a", "server": "pkg.mod:Name", "replicas": {"count": 2, "params": "own"}},
                {"id": "c", "server": "pkg.mod:Name", "depends_on": ["a"]},
            ]
        },
    },
]


def parse(data: dict[str, Any], folder: Path) -> ChildSpec:
    return parse_child(data, spec=RuntimeSpec(base_dir=str(folder)))


@pytest.mark.parametrize("written", WRITTEN)
def test_what_is_read_back_makes_the_same_child(written: dict[str, Any], tmp_path: Path) -> None:
    spec = parse(written, tmp_path)
    read = {key: value for key, value in as_dict(spec).items() if key != "type"}
    assert parse(read, tmp_path) == spec


def test_every_default_is_filled_in(tmp_path: Path) -> None:
    read = as_dict(parse(WRITTEN[0], tmp_path))
    assert read["type"] == "worker"
    assert read["restart"] == "permanent"
    assert read["shutdown"] == {"drain": 5.0, "timeout": 5.0}
    assert read["limits"] == {"memory": None, "mailbox": 1000, "call_timeout": 60.0, "max_calls": None, "nice": 0}
    assert read["backoff"] == {"initial": 0.1, "factor": 2.0, "max": 30.0, "jitter": 0.25, "stable_after": 10.0}


def test_a_supervisor_shows_its_children(tmp_path: Path) -> None:
    read = as_dict(parse(WRITTEN[7], tmp_path))
    assert (read["type"], read["supervisor"]["strategy"]) == ("supervisor", "rest_for_one")
    assert [child["id"] for child in read["supervisor"]["children"]] == ["a", "h"]


def test_replicas_are_one_child_as_they_were_written(tmp_path: Path) -> None:
    children = as_dict(parse(WRITTEN[-1], tmp_path))["supervisor"]["children"]
    assert [(child["id"], child.get("replicas")) for child in children] == [
        ("a", {"count": 2, "params": "own"}),
        ("b", None),
        ("c", None),
    ]
    assert children[1]["depends_on"] == {"g/a": {"on_down": "degrade", "fallback": "g/c"}}


def test_of_parts_no_secret_is_shown(tmp_path: Path) -> None:
    secret = {"env": {"KEY": "secret"}, "lm": {"model": "m", "api_key": "secret"}}
    keys = {"id": "a", "module": "pkg.mod:Name", "parts": {"x": {**secret, "concurrency": 2, "parts": {"y": secret}}}}
    assert as_dict(parse(keys, tmp_path))["parts"] == {"x": {"concurrency": 2, "parts": {"y": {}}}}


def test_what_is_pickled_or_holds_secrets_stays_out_of_sight() -> None:
    hidden = {"pickled": b"\x80secret", "pickled_args": b"\x80secret", "env": {"KEY": "secret"}, "lm": {"api_key": "secret"}}
    read = as_dict(ChildSpec(ChildId("a"), Kind.MODULE, launch=LaunchSpec(Kind.MODULE, **hidden)))
    assert read["module"] is None
    assert "secret" not in str(read)
