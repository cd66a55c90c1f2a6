from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.config.merging import Inherited, effective, merge_dspy, merge_lm, merge_shutdown

LMS = [
    # inherited, own, result
    (None, {"model": "a"}, {"model": "a"}),
    ({"model": "a", "api_base": "u"}, {"model": "b"}, {"model": "b", "api_base": "u"}),
    ({"model": "a"}, {"temperature": 0}, {"model": "a", "temperature": 0}),
    ({"model": "a"}, None, None),
    ({"model": "a"}, {"class": "p:L"}, {"class": "p:L"}),
    ({"class": "p:L", "args": {"k": 1}}, {"model": "a"}, {"model": "a"}),
    ({"class": "p:L", "args": {"k": 1}}, {"args": {"k": 2}}, {"class": "p:L", "args": {"k": 2}}),
    ({"class": "p:L", "args": {"k": 1}}, {"class": "p:M"}, {"class": "p:M"}),
    ({}, {"temperature": 0}, None),
    ({}, {"model": "a"}, {"model": "a"}),
]


@pytest.mark.parametrize(("inherited", "own", "result"), LMS)
def test_a_childs_lm_adds_to_the_runtimes_or_replaces_it(inherited: Any, own: Any, result: Any) -> None:
    assert merge_lm(inherited, own) == result


@pytest.mark.parametrize(
    ("inherited", "own", "result"),
    [
        ({"drain": 1.0, "timeout": 2.0}, {"timeout": 3.0}, {"drain": 1.0, "timeout": 3.0}),
        (10.0, {"drain": 2.0}, {"timeout": 10.0, "drain": 2.0}),
        ("infinity", {"drain": 2.0}, {"timeout": "infinity", "drain": 2.0}),
        ("brutal_kill", {"drain": 2.0}, {"drain": 2.0}),
        ({"drain": 1.0}, 5.0, 5.0),
        (None, {"drain": 2.0}, {"drain": 2.0}),
    ],
)
def test_shutdown_merges_as_a_map(inherited: Any, own: Any, result: Any) -> None:
    assert merge_shutdown(inherited, own) == result


@pytest.mark.parametrize(
    ("inherited", "own", "result"),
    [
        ({}, {"num_threads": 1}, {"num_threads": 1}),
        ({"num_threads": 1, "max_errors": 2}, {"num_threads": 3}, {"num_threads": 3, "max_errors": 2}),
        ({"callbacks": ["p:A"]}, {"callbacks": ["p:B"]}, {"callbacks": ["p:B"]}),
        ({"cache": {"dir": "/c", "memory": False}}, {"cache": {"memory": True}}, {"cache": {"dir": "/c", "memory": True}}),
        ({"cache": {"dir": "/c"}}, {"cache": False}, {"cache": False}),
        ({"cache": False}, {"cache": {"dir": "/c"}}, {"cache": {"dir": "/c"}}),
    ],
)
def test_settings_of_dspy_merge_key_by_key(inherited: Any, own: Any, result: Any) -> None:
    assert merge_dspy(inherited, own) == result
    assert effective({"dspy": own}, "module", Inherited(dspy=inherited))["dspy"] == result
    assert effective({"dspy": own}, "module", Inherited(defaults={"dspy": inherited}))["dspy"] == result


def test_defaults_reach_each_kind_as_far_as_they_concern_it() -> None:
    defaults = {
        "restart": "transient",
        "backoff": None,
        "shutdown": 1.0,
        "start_timeout": 2.0,
        "concurrency": 4,
        "limits": {"nice": 1},
        "env": {"A": "2"},
        "durability": "fsync",
        "checkpoint": {"every": 30.0, "keep": 3},
    }
    inherited = Inherited({"model": "m"}, {"track_usage": True}, {"A": "1", "B": "1"}, defaults)
    module = effective({"id": "a"}, "module", inherited)
    assert module["lm"] == {"model": "m"}
    assert module["dspy"] == {"track_usage": True}
    assert module["env"] == {"A": "2", "B": "1"}
    assert module["concurrency"] == 4
    server = effective({"id": "a", "limits": {"mailbox": 5}, "checkpoint": {"keep": 9}}, "server", inherited)
    assert (server["durability"], server["checkpoint"]) == ("fsync", {"every": 30.0, "keep": 9})
    assert not {"lm", "dspy", "concurrency"} & server.keys()
    assert server["limits"] == {"nice": 1, "mailbox": 5}
    assert effective({"id": "a"}, "supervisor", inherited) == {"id": "a", "restart": "transient", "backoff": None}


def test_a_child_can_switch_off_what_defaults_switch_on() -> None:
    inherited = Inherited(defaults={"liveness": {"grace": 1.0}, "backoff": {"max": 1.0}, "lm": {"model": "m"}})
    child = effective({"liveness": None, "backoff": None, "lm": None}, "module", inherited)
    assert (child["liveness"], child["backoff"], child["lm"]) == (None, None, None)
