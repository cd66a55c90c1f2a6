from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from dspex_runtime.config.child_schema import child_section, supervisor_section
from dspex_runtime.config.problems import INVALID, Broken, EnvText, Problems
from dspex_runtime.config.schema import RUNTIME_SECTION
from dspex_runtime.config.section import Section


class Restart(StrEnum):
    TRANSIENT = "transient"


SECTIONS: dict[str, Section] = {"child": child_section(), "supervisor": supervisor_section(), "runtime": RUNTIME_SECTION}

VALUES = [
    # section, key, given, plain value; INVALID: refused
    ("child", "restart", "transient", "transient"),
    ("child", "restart", Restart.TRANSIENT, "transient"),
    ("child", "restart", True, INVALID),
    ("child", "restart", None, INVALID),
    ("child", "shutdown", "brutal_kill", "brutal_kill"),
    ("child", "shutdown", "infinity", "infinity"),
    ("child", "shutdown", "5s", 5.0),
    ("child", "shutdown", 5, 5.0),
    ("child", "shutdown", 0, 0.0),
    ("child", "shutdown", {"drain": "1s"}, {"drain": 1.0}),
    ("child", "shutdown", {"timeout": "infinity"}, {"timeout": "infinity"}),
    ("child", "shutdown", True, INVALID),
    ("child", "shutdown", "brutal", INVALID),
    ("child", "shutdown", None, INVALID),
    ("child", "shutdown", [], INVALID),
    ("child", "backoff", "none", None),
    ("child", "backoff", None, None),
    ("child", "backoff", {}, {}),
    ("child", "backoff", {"max": 1}, {"max": 1.0}),
    ("child", "backoff", "no", INVALID),
    ("child", "backoff", False, INVALID),
    ("child", "backoff", 5, INVALID),
    ("child", "liveness", None, None),
    ("child", "liveness", {"grace": "1m"}, {"grace": 60.0}),
    ("child", "liveness", "10s", INVALID),
    ("child", "start_timeout", "infinity", "infinity"),
    ("child", "start_timeout", None, None),
    ("child", "start_timeout", 0, INVALID),
    ("child", "concurrency", 4, 4),
    ("child", "concurrency", True, INVALID),
    ("child", "concurrency", 0, INVALID),
    ("child", "concurrency", 4.0, INVALID),
    ("child", "concurrency", "4", INVALID),
    ("child", "concurrency", EnvText("4", plain=False), 4),
    ("child", "concurrency", EnvText("x", plain=True), INVALID),
    ("child", "trap_exit", False, False),
    ("child", "trap_exit", EnvText("true", plain=False), True),
    ("child", "trap_exit", "true", INVALID),
    ("child", "trap_exit", 1, INVALID),
    ("child", "version", "2.1.0", "2.1.0"),
    ("child", "version", 2.1, INVALID),
    ("child", "version", EnvText("2.1", plain=True), "2.1"),
    ("child", "args", {"k": 1}, {"k": 1}),
    ("child", "args", (1, 2), [1, 2]),
    ("child", "args", "k=1", INVALID),
    ("child", "args", {"k": EnvText("3", plain=True)}, {"k": 3}),
    ("child", "args", {"k": EnvText("3", plain=False)}, {"k": "3"}),
    ("child", "args", {1: 2}, {}),
    ("child", "args", {"k": Broken("not set")}, {}),
    ("child", "metadata", {"x-k": {"x-l": 1}}, {"x-k": {"x-l": 1}}),
    ("child", "metadata", [], INVALID),
    ("child", "env", {"A": "1"}, {"A": "1"}),
    ("child", "env", {"A": ""}, {"A": ""}),
    ("child", "env", {"A": 1}, {}),
    ("child", "env", {"A=B": "1"}, {}),
    ("child", "env", {"A": "\0"}, {}),
    ("child", "env", ["A=1"], INVALID),
    ("child", "limits", {"nice": -20}, {"nice": -20}),
    ("child", "limits", {"nice": 20}, {}),
    ("child", "limits", {"max_calls": 0}, {}),
    ("child", "limits", {"memory": 1e9}, {"memory": 10**9}),
    ("child", "limits", {"memory": None}, {"memory": None}),
    ("child", "limits", {"memory": 5}, {}),
    ("child", "readiness", {"call": "selftest"}, {"call": "selftest"}),
    ("child", "readiness", {}, {}),
    ("child", "readiness", {"command": "test -f x"}, {"command": "test -f x"}),
    ("child", "readiness", {"command": ["test", "-f", ""]}, {"command": ["test", "-f", ""]}),
    ("child", "readiness", {"command": []}, {}),
    ("child", "readiness", {"command": ""}, {}),
    ("supervisor", "max_restarts", 0, 0),
    ("supervisor", "max_restarts", -1, INVALID),
    ("supervisor", "max_restarts", float("inf"), INVALID),
    ("supervisor", "max_restarts", 10**400, INVALID),
    ("supervisor", "max_seconds", "1m", 60.0),
    ("supervisor", "max_seconds", 0, INVALID),
    ("supervisor", "children", None, INVALID),
    ("supervisor", "children", {}, INVALID),
    ("supervisor", "children", (), []),
    ("runtime", "preload", ["dspy", "a.b"], ["dspy", "a.b"]),
    ("runtime", "preload", ["a b"], [INVALID]),
    ("runtime", "preload", "dspy", INVALID),
    ("runtime", "state_dir", None, None),
    ("runtime", "state_dir", "", INVALID),
    ("runtime", "spares", 0, 0),
    ("runtime", "spares", -1, INVALID),
]


@pytest.mark.parametrize(("section", "key", "given", "plain"), VALUES, ids=[f"{key}={given!r:.30}" for _, key, given, _ in VALUES])
def test_values_become_plain_or_are_reported(section: str, key: str, given: Any, plain: Any) -> None:
    problems = Problems()
    result = SECTIONS[section].check({key: given}, (), problems).get(key, INVALID)
    assert result == plain
    assert type(result) is type(plain)
    reported = [text for text in problems.problems if text.startswith(key)]
    refused = result is INVALID or (
        isinstance(given, dict | list | tuple) and (len(given) != len(result) or INVALID in _items(result))
    )
    assert bool(reported) == (refused or (given == {} and key == "readiness"))


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def test_secrets_are_not_shown() -> None:
    problems = Problems()
    SECTIONS["child"].check({"id": "a", "module": "p:M", "lm": {"model": "m", "api_key": 12345}}, (), problems)
    assert problems.problems == ("lm.api_key: found a value (not shown); allowed: text; put it in quotes",)


def test_long_values_are_cut() -> None:
    problems = Problems()
    SECTIONS["child"].check({"id": "a", "restart": "x" * 1000}, (), problems)
    assert len(problems.problems[0]) < 150
