from __future__ import annotations

from typing import Any

import pytest


def child(text: str) -> str:
    return f"tree: {{children: [{{id: a, {text}}}]}}"


MISTAKES = {
    "two kinds": (
        child("module: 'p:M', server: 'p:C'"),
        "found module: and server:; allowed: exactly one of module:, server: and supervisor:",
    ),
    "no kind": (child("restart: permanent"), "found no kind; allowed: exactly one of"),
    "busy server": (
        child("server: 'p:C', concurrency: 2"),
        "concurrency: found 2; allowed: 1, as a GenServer handles one request at a time",
    ),
    "lm of a server": (child("server: 'p:C', lm: {model: m}"), "lm: found on a server; allowed: on a module only"),
    "durability of a supervisor": (
        child("supervisor: {}, durability: fsync"),
        "durability: found on a supervisor; allowed: on a module and server only",
    ),
    "saved state of a server": (child("server: 'p:C', load: qa.json"), "load: found on a server; allowed: on a module only"),
    "saved state that is not there": (
        child("module: 'p:M', load: qa.json"),
        "load: found 'qa.json', but there is no file ",
    ),
    "saved state in a pickle": (
        child("module: 'p:M', load: qa.pkl"),
        "load: found 'qa.pkl' (text); allowed: text (a .json that module.save(...) wrote)",
    ),
    "saved state for a program": (
        child("module: qa.json"),
        'a saved state is no program: name the class here, and write load: "qa.json" beside it',
    ),
    "params of a supervisor": (child("supervisor: {}, params: {x: 1}"), "params: found on a supervisor"),
    "checkpoint without a period": (child("server: 'p:C', checkpoint: {every: 0s}"), "checkpoint.every: found '0s'"),
    "unknown durability": (
        child("server: 'p:C', durability: disk"),
        "durability: found 'disk' (text); allowed: memory, journal, fsync",
    ),
    "limits of a supervisor": (
        child("supervisor: {}, limits: {nice: 1}"),
        "limits: found on a supervisor; allowed: on a module and server only",
    ),
    "drain of a supervisor": (child("supervisor: {}, shutdown: {drain: 1s}"), "shutdown.drain: found on a supervisor"),
    "long drain": (
        child("server: 'p:C', shutdown: {drain: 20s, timeout: 10s}"),
        "found 20s, longer than the time-out of 10s; allowed: a drain within",
    ),
    "drain above the default": (
        child("server: 'p:C', shutdown: {drain: 20s}"),
        "shutdown.drain: found 20s, longer than the time-out of 5s",
    ),
    "drain in defaults": ("defaults: {shutdown: {drain: 6s}}", "defaults.shutdown.drain: found 6s, longer than the time-out of 5s"),
    "initial above max": (
        child("server: 'p:C', backoff: {initial: 1m}"),
        "backoff.initial: found initial 60s above max 30s; allowed: initial <= max",
    ),
    "max below initial": (child("server: 'p:C', backoff: {max: 50ms}"), "backoff.max: found initial 100ms above max 50ms"),
    "max never reached": (
        child("server: 'p:C', backoff: {factor: 1, max: 1m}"),
        "backoff.max: found max with factor 1, which never reaches it",
    ),
    "back-off of temporary": (
        child("server: 'p:C', restart: temporary, backoff: {max: 1m}"),
        "backoff: found on a temporary child",
    ),
    "no such file": (child("module: nope.py:M"), "module: found 'nope.py:M', but there is no file "),
    "no such directory": (child("module: nope/"), "module: found 'nope/', but there is no directory "),
    "file without name": (
        child("module: answering.py"),
        ('allowed: text as "file.py:Name" or "pkg.mod:Name", or the directory of a saved program; write "answering.py:ClassName"'),
    ),
    "dot for colon": (
        child("server: pkg.mod.Name"),
        ('server: found \'pkg.mod.Name\' (text); allowed: text as "file.py:Name" or "pkg.mod:Name"; write "pkg.mod:Name"'),
    ),
    "server from a directory": (
        child("server: saved"),
        'server: found \'saved\' (text); allowed: text as "file.py:Name" or "pkg.mod:Name"',
    ),
    "model and class": ("lm: {model: m, class: 'lm.py:L'}", "lm.class: found class: and model; allowed: class: with args: only"),
    "class and extras": ("lm: {class: 'lm.py:L', temperature: 0}", "lm.class: found class: and temperature"),
    "args without class": ("lm: {model: m, args: {}}", "lm.args: found without class:"),
    "no model": ("lm: {temperature: 0}", "lm: found temperature; allowed: model: or class:, with others beside"),
    "typo of model": ("lm: {modle: m}", "lm: found modle; allowed: model: or class:, with others beside; did you mean 'model'?"),
    "no such lm": ("lm: {class: 'nope.py:L'}", "lm.class: found 'nope.py:L', but there is no file "),
    "no such lm, in short": ("lm: nope.py:L", "lm: found 'nope.py:L', but there is no file "),
    "lm of a child": (
        child("module: 'p:M', lm: {temperature: 0}"),
        "tree.children[0].lm: found temperature; allowed: model: or class:",
    ),
    "lm of defaults": ("defaults: {lm: {temperature: 0}}", "defaults.lm: found temperature; allowed: model: or class:"),
    "no such adapter": ("dspy: {adapter: 'nope.py:A'}", "dspy.adapter: found 'nope.py:A', but there is no file "),
    "template of an owner": (
        child("module: 'p:M', template: true, parts: {strategy: one_for_all}"),
        "tree.children[0].template: found with parts; allowed: one of them",
    ),
    "inherited template of an owner": (
        "defaults: {template: true}\n" + child("module: 'p:M', parts: {strategy: one_for_all}"),
        "tree.children[0].parts: found with template; allowed: one of them",
    ),
    "template of a supervisor": (
        child("supervisor: {}, template: true"),
        "template: found on a supervisor; allowed: on a module and",
    ),
    "adapter of a child": (child("module: 'p:M', dspy: {adapter: JSONAdapter}"), "dspy.adapter: found 'JSONAdapter' (text)"),
}


@pytest.mark.parametrize(("text", "problem"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_work_is_one_problem(check: Any, text: str, problem: str) -> None:
    problems = check(text).problems
    assert len(problems) == 1, problems
    assert problem in problems[0]


def test_a_missing_model_is_reported_beside_what_else_is_wrong(check: Any) -> None:
    first, second = check("lm: {modle: openai/x, api_base: 5}").problems
    assert "lm: found modle, api_base; allowed: model: or class:, with others beside; did you mean 'model'?" in first
    assert "lm.api_base: found 5" in second
    (only,) = check("lm: {model: 5}").problems
    assert "lm.model: found 5" in only


LEGAL = {
    "saved program": child("module: saved"),
    "name within a class": child("module: 'pkg.mod:Outer.Inner'"),
    "absolute drain": child("server: 'p:C', shutdown: {drain: 5s, timeout: infinity}"),
    "drain within the default time-out": "defaults: {shutdown: {timeout: 1m}}\n" + child("server: 'p:C', shutdown: {drain: 20s}"),
    "shorter time-out than an inherited drain": "defaults: {shutdown: {timeout: 1m, drain: 1m}}\n"
    + child("server: 'p:C', shutdown: {timeout: 1s}"),
    "partial lm over a model": "lm: {model: m}\n" + child("module: 'p:M', lm: {temperature: 0}"),
    "partial lm over none": "lm: {model: '${LM:-}', api_key: '${KEY:-}'}\n" + child("module: 'p:M', lm: {temperature: 0}"),
    "same id elsewhere": child("supervisor: {children: [{id: a, server: 'p:C'}]}"),
    "templates of all but an owner": "defaults: {template: true}\n"
    + child("module: 'p:M', template: false, parts: {strategy: one_for_all}"),
    "busy defaults": "defaults: {concurrency: 4}\n" + child("server: 'p:C'"),
    "budget of none": "tree: {max_restarts: 0}",
    "empty": "tree: {}",
    "nothing but a name": "name: x",
}


@pytest.mark.parametrize("text", LEGAL.values(), ids=LEGAL)
def test_these_are_legal(check: Any, text: str) -> None:
    assert check(text).problems == ()


READINESS: list[tuple[str, str | None]] = [
    ("{call: check}", None),
    ("{command: [a, b], timeout: 5s}", None),
    ("{call: check, command: a}", "found call and command; allowed: one of them"),
    ("{timeout: 5s}", "readiness needs call or command"),
    ("{comand: a}", "readiness needs call or command; found 'comand', did you mean 'command'?"),
]


@pytest.mark.parametrize(("text", "problem"), READINESS)
def test_readiness_is_a_call_or_a_command(check: Any, text: str, problem: str | None) -> None:
    (found,) = (check(f"version: 1\ntree: {{children: [{{id: a, module: answering.py:Answerer, readiness: {text}}}]}}").problems,)
    assert (not found) if problem is None else any(problem in each for each in found), found


def test_a_childs_own_readiness_takes_the_place_of_the_inherited() -> None:
    from dspex_runtime.config import parse
    from dspex_runtime.core.child_spec import Readiness

    def launched(own: Any) -> Any:
        child = {"id": "a", "module": "pkg.mod:Name", **({} if own is None else {"readiness": own})}
        defaults = {"readiness": {"call": "check", "timeout": "3s"}}
        (spec,) = parse({"version": 1, "defaults": defaults, "tree": {"children": [child]}}).tree.children
        assert spec.launch is not None
        return spec.launch.readiness

    assert launched(None) == Readiness("check", 3.0)
    assert launched({"command": ["a", "b"]}) == Readiness(None, 3.0, ("a", "b"))
    assert launched({"call": "other"}) == Readiness("other", 3.0)
