from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from dspex_runtime.config import json_schema, parse
from dspex_runtime.errors import ConfigError


@pytest.mark.parametrize("child", ["depends_on: {}", "depends_on: []", "significant: false", "restart: permanent"])
def test_values_that_change_nothing_are_accepted(check: Any, child: str) -> None:
    assert check(f"tree: {{auto_shutdown: never, dynamic: false, children: [{{id: a, server: 'p:C', {child}}}]}}").problems == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tree: {children: [{id: a, server: 'p:C', memory: 1GiB}]}", "did you mean 'limits.memory'?"),
        ("tree: {children: [{id: a, server: 'p:C', call_timeout: 1s}]}", "did you mean 'limits.call_timeout'?"),
        ("tree: {children: [{id: a, server: 'p:C', limits: {concurrency: 2}}]}", "'concurrency' belongs to a child"),
        ("tree: {children: [{id: a, server: 'p:C', spares: 2}]}", "'spares' belongs to runtime"),
        ("children: []", "did you mean 'tree.children'?"),
        ("strategy: one_for_one", "did you mean 'tree.strategy'?"),
        ("preload: [dspy]", "did you mean 'runtime.preload'?"),
        ("tree: {intensity: 3}", "did you mean 'max_restarts'?"),
        ("tree: {children: [{name: a, server: 'p:C'}]}", "did you mean 'id'?"),
    ],
)
def test_keys_at_the_wrong_level_are_pointed_home(check: Any, text: str, hint: str) -> None:
    assert any(problem.endswith(hint) for problem in check(text).problems)


def test_the_schema_describes_every_key_and_is_json() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    child = schema["$defs"]["child"]["properties"]
    assert {"module", "server", "supervisor", "limits", "lm", "params", "checkpoint", "durability"} <= child.keys()
    assert {"depends_on", "replicas", "parts"} <= child.keys()
    assert "pickled" not in child
    part = schema["$defs"]["part"]["properties"]
    assert {"module", "args", "on_down", "fallback", "parts"} <= part.keys()
    assert not {"id", "supervisor", "replicas", "depends_on", "significant", "pickled"} & part.keys()
    for section in (schema, *schema["$defs"].values()):
        assert all(key["description"] for key in section["properties"].values())


# jsonschema is not a dependency; these run where it happens to be installed.


def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_accepts_the_example_of_the_interface(example: str) -> None:
    assert [error.message for error in validator().iter_errors(yaml.safe_load(example))] == []


@pytest.mark.parametrize(
    "text",
    [
        "tree: {dynamic: true, max_children: 0, extra_arguments: [1, two], children: []}",
        "tree: {dynamic: '${DYNAMIC}', max_children: 3}",
        "tree: {max_children: null}",
        "tree: {children: [{id: a, module: 'p:C', readiness: {command: [sh, -c, x]}}]}",
        "tree: {auto_shutdown: all_significant, children: [{id: a, server: 'p:C', restart: transient, significant: true}]}",
        "tree: {children: [{id: a, server: 'p:C', depends_on: [b, s/c]}]}",
        "tree: {children: [{id: a, server: 'p:C', depends_on: {b: , c: stop, d: {on_down: degrade, fallback: e}}}]}",
        "tree: {children: [{id: a, server: 'p:C', replicas: '${N}'}]}",
        "tree: {children: [{id: a, server: 'p:C', replicas: {count: 2, params: own}}]}",
        "tree: {children: [{id: a, module: 'p:C', parts: {strategy: rest_for_one, b: {restart: transient, on_down: fail}}}]}",
    ],
)
def test_the_schema_accepts_what_may_be_meant(text: str) -> None:
    assert [error.message for error in validator().iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "tree: {strategie: x}",
        "tree: {strategy: one_for_two}",
        "version: 2",
        "tree: {children: [{id: a}]}",
        "tree: {children: [{id: 'a b', server: 'p:C'}]}",
        "tree: {children: [{id: a, server: 'p:C', module: 'p:D'}]}",
        "tree: {children: [{id: a, server: 'p:C', start_timeout: soon}]}",
        "tree: {children: [{id: a, server: 'p:C', limits: {memory: 5XB}}]}",
        "runtime: {spares: true}",
        "tree: {children: [{id: a, server: 'p:C', depends_on: a}]}",
        "tree: {children: [{id: a, server: 'p:C', depends_on: {b: degrad}}]}",
        "tree: {children: [{id: a, server: 'p:C', depends_on: {b: {on_down: fail, fall_back: c}}}]}",
        "tree: {children: [{id: a, server: 'p:C', replicas: 0}]}",
        "tree: {children: [{id: a, server: 'p:C', replicas: {params: own}}]}",
        "tree: {children: [{id: a, module: 'p:C', parts: {strategy: one_for_two}}]}",
        "tree: {children: [{id: a, module: 'p:C', parts: {b: 3}}]}",
        "tree: {children: [{id: a, module: 'p:C', parts: {b: {id: c}}}]}",
        "tree: {children: [{id: a, server: 'p:C', durability: disk}]}",
        "tree: {children: [{id: a, module: 'p:C', readiness: {call: a, command: b}}]}",
        "tree: {children: [{id: a, module: 'p:C', readiness: {timeout: 1s}}]}",
        "tree: {children: [{id: a, module: 'p:C', readiness: {command: []}}]}",
        "tree: {children: [{id: a, server: 'p:C', checkpoint: {keep: 0}}]}",
        "shared: {style: {type: text}}",
        "shared: {style: null}",
        "tree: {dynamic: true, strategy: one_for_all}",
        "tree: {dynamic: true, children: [{id: a, server: 'p:C'}]}",
        "tree: {dynamic: true, auto_shutdown: any_significant}",
        "tree: {max_children: 3}",
        "tree: {dynamic: true, max_children: -1}",
        "tree: {extra_arguments: [1]}",
        "tree: {auto_shutdown: any_significant, children: [{id: a, server: 'p:C', restart: permanent, significant: true}]}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    data = yaml.safe_load(text)
    assert not validator().is_valid(data)
    with pytest.raises(ConfigError):
        parse(data)
