from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex_runtime.config import inspect, normalize, parse, parse_child
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.types import Kind

ENVIRON = {"OPENAI_API_KEY": "sk-secret"}
TEN_MISTAKES = """\
version: 1
name: "my name"
runtime: {spares: true}
tree:
  strategy: one_for_on
  max_restart: 3
  max_seconds: 5min
  children:
    - {id: a, server: "missing.py:Counter"}
    - id: a
      server: pkg.mod:Counter
      limits: {memory: 512M}
      restart: always
    - id: b
      modul: pkg.mod:Name
      env: {TOKEN: "${NOPE}"}
"""
TEN_PROBLEMS = [
    "qa.yaml:2:7: name: found 'my name' (text); allowed: text of letters, digits and _ . - (at most 100; not first: . and -)",
    "qa.yaml:3:19: runtime.spares: found true (true/false); allowed: a whole number from 0 to 1000",
    (
        "qa.yaml:5:13: tree.strategy: found 'one_for_on' (text); allowed: one_for_one, one_for_all, rest_for_one; did "
        "you mean 'one_for_one'?"
    ),
    (
        "qa.yaml:6:3: tree.max_restart: found the unknown key 'max_restart'; allowed: strategy, max_restarts, "
        "max_seconds, auto_shutdown, dynamic, max_children, extra_arguments, "
        "children; did you mean 'max_restarts'?"
    ),
    (
        "qa.yaml:7:16: tree.max_seconds: found '5min' (text); allowed: a duration such as 100ms, 5s, 1m or 2h, or a "
        "number of seconds, above 0; write 5m"
    ),
    "qa.yaml:9:23: tree.children[0].server: found 'missing.py:Counter', but there is no file {folder}/missing.py",
    (
        "qa.yaml:10:11: tree.children[1].id: found 'a', which is taken by line 9 (tree.children[0]); ids are unique "
        "within a supervisor"
    ),
    (
        "qa.yaml:12:24: tree.children[1].limits.memory: found '512M' (text); allowed: a size such as 512MiB, 1GiB or "
        "500MB, or a whole number of bytes, "
        "at least 1MiB, or null; write 512MiB"
    ),
    (
        "qa.yaml:13:16: tree.children[1].restart: found 'always' (text); allowed: permanent, transient, temporary; did "
        "you mean 'permanent'?"
    ),
    (
        "qa.yaml:15:7: tree.children[2].modul: found the unknown key 'modul'; allowed: id, module, load, server, supervisor, "
        "args, restart, backoff, shutdown, "
        "start_timeout, limits, liveness, readiness, trap_exit, env, concurrency, template, lm, dspy, checkpoint, durability, "
        "version, metadata, register, params, depends_on, replicas, parts, significant; did you mean 'module'?"
    ),
    "qa.yaml:16:20: tree.children[2].env.TOKEN: the environment variable NOPE is not set; set it, or write ${NOPE:-default}",
]


def test_all_mistakes_of_a_file_are_reported_at_once_each_with_its_line(check: Any, example: str, folder: Path) -> None:
    assert list(check(TEN_MISTAKES).problems) == [text.replace("{folder}", str(folder)) for text in TEN_PROBLEMS]


def test_the_error_lists_every_problem(folder: Path) -> None:
    (folder / "qa.yaml").write_text(TEN_MISTAKES)
    with pytest.raises(ConfigError) as caught:
        normalize(folder / "qa.yaml", environ={})
    assert len(caught.value.problems) == len(TEN_PROBLEMS)
    assert str(caught.value).startswith(f"{len(TEN_PROBLEMS)} problems in {folder}/qa.yaml:\n  ")


def test_the_example_of_the_interface_has_no_problems(check: Any, example: str) -> None:
    report = check(example, ENVIRON)
    assert report.problems == ()


def test_the_example_normalises_to_plain_data(check: Any, example: str, folder: Path) -> None:
    config = check(example, ENVIRON).config
    assert config["runtime"]["state_dir"] == str(folder / ".dspex/qa")
    assert config["lm"] == {"model": "openai/gpt-4o-mini", "api_key": "sk-secret"}  # what ${LM_API_BASE:-} made empty is absent
    assert config["tree"]["children"][0]["module"] == f"{folder}/retrieval.py:BM25"
    assert config["tree"]["children"][1]["limits"] == {
        "memory": 2**30,
        "mailbox": 1000,
        "call_timeout": 60.0,
        "max_calls": None,
        "nice": 0,
    }
    assert config["tree"]["children"][1]["metadata"] == {"team": "search"}
    assert not any(key.startswith("x-") for key in config)
    assert msgpack.unpackb(msgpack.packb(config)) == config
    assert json.loads(json.dumps(config)) == config


def test_what_is_normalised_normalises_to_itself_and_is_accepted_elsewhere(
    check: Any, example: str, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    config = check(example, ENVIRON).config
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert normalize(config) == config
    assert parse(config) == parse(normalize(config))


def test_dollar_signs_of_normalised_data_are_left_alone(check: Any) -> None:
    config = check("tree: {children: [{id: a, server: 'p:C', args: {price: '$${X}'}}]}").config
    assert config["tree"]["children"][0]["args"] == {"price": "${X}"}
    assert normalize(config) == config


def test_an_unset_variable_in_an_unused_template_is_no_mistake(check: Any) -> None:
    assert check("x-t: {a: '${NOPE}', b: !!python/name:os.system x}\ntree: {}").problems == ()


@pytest.mark.parametrize(("stem", "name"), [("qa", "qa"), ("my tree", "my-tree"), ("qa.prod", "qa.prod")], ids=str)
def test_a_file_names_its_runtime_and_its_state_is_beside_it(tmp_path: Path, stem: str, name: str) -> None:
    path = tmp_path / f"{stem}.yaml"
    path.write_text("tree: {}")
    spec = parse(normalize(path))
    assert (spec.name, spec.state_dir) == (name, str(tmp_path / ".dspex" / name))
    assert (spec.base_dir, spec.file) == (str(tmp_path), str(path))


def test_renaming_normalised_data_moves_its_default_state(tmp_path: Path) -> None:
    (tmp_path / "qa.yaml").write_text("tree: {}")
    spec = parse({**normalize(tmp_path / "qa.yaml"), "name": "other"})
    assert spec.state_dir == str(tmp_path / ".dspex" / "other")


def test_a_dict_has_no_state_directory_and_resolves_against_its_base(folder: Path) -> None:
    spec = parse(normalize({"tree": {"children": [{"id": "c", "server": "counter.py:Counter"}]}}, base_dir=folder))
    assert (spec.name, spec.state_dir, spec.file, spec.spares) == ("runtime", None, None, 4)
    assert spec.tree.children[0].launch is not None
    assert spec.tree.children[0].launch.target == f"{folder}/counter.py:Counter"


def test_problems_of_a_dict_have_a_key_path_and_no_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"tree": {"children": [{"id": "a", "server": "p:C", "restart": "sometimes"}, {"id": "a", "server": "p:C"}]}})
    assert caught.value.problems == [
        "tree.children[0].restart: found 'sometimes' (text); allowed: permanent, transient, temporary",
        "tree.children[1].id: found 'a', which is taken by tree.children[0]; ids are unique within a supervisor",
    ]


@pytest.mark.parametrize("source", [None, 5, [], b"x"], ids=repr)
def test_other_sources_are_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="allowed: the path of a YAML file, or a dict"):
        normalize(source)


def test_keys_of_clients_are_unknown_in_files(check: Any) -> None:
    problems = check("base_dir: /\ntree: {children: [{id: a, server: 'p:C', pickled: x, sys_path: []}]}").problems
    assert [text.split("; ")[0] for text in problems] == [
        "qa.yaml:1:1: base_dir: found the unknown key 'base_dir'",
        "qa.yaml:2:42: tree.children[0].pickled: found the unknown key 'pickled'",
        "qa.yaml:2:54: tree.children[0].sys_path: found the unknown key 'sys_path'",
    ]


def test_a_child_from_a_client_gets_the_defaults_of_the_runtime(folder: Path) -> None:
    spec = parse(
        {
            "base_dir": str(folder),
            "runtime": {"env": {"A": "1", "B": "1"}},
            "lm": {"model": "m", "temperature": 0},
            "defaults": {"limits": {"mailbox": 5}, "env": {"B": "2"}, "shutdown": "1s"},
        }
    )
    child = parse_child(
        {"id": "a", "module": "retrieval.py:BM25", "lm": {"model": "n"}, "limits": {"nice": 1}, "env": {"C": "3"}}, spec=spec
    )
    assert child.kind is Kind.MODULE
    assert child.shutdown.timeout_s == 1.0
    assert child.launch is not None
    assert child.launch.target == f"{folder}/retrieval.py:BM25"
    assert child.launch.lm == {"model": "n", "temperature": 0}
    assert child.launch.env == {"A": "1", "B": "2", "C": "3"}
    assert (child.launch.limits.mailbox, child.launch.limits.nice) == (5, 1)


def test_a_pickled_child_is_not_looked_up(tmp_path: Path) -> None:
    given = {"id": "a", "server": "__main__:f.<locals>.C", "pickled": b"x", "pickled_args": b"y", "sys_path": ["/p", ""]}
    launch = parse_child(given, spec=RuntimeSpec(base_dir=str(tmp_path))).launch
    assert launch is not None
    assert (launch.kind, launch.target, launch.pickled, launch.pickled_args) == (Kind.SERVER, None, b"x", b"y")
    assert launch.initial_call == "__main__:f.<locals>.C"
    assert launch.sys_path == ("/p", "", str(tmp_path))


def test_a_file_of_a_client_is_searched_on_its_path_first(folder: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("client")
    (other / "counter.py").write_text("")
    spec = RuntimeSpec(base_dir=str(folder))
    for name, where in (("counter.py", other), ("lm.py", folder)):
        launch = parse_child({"id": "a", "server": f"{name}:C", "sys_path": [str(other)]}, spec=spec).launch
        assert launch is not None
        assert launch.target == f"{where}/{name}:C"
    with pytest.raises(ConfigError, match=r"there is no file .*nope.py \(nor in 1 other folder of sys_path\)"):
        parse_child({"id": "a", "server": "nope.py:C", "sys_path": [str(other)]}, spec=spec)


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        ({}, 'a child needs id: (text of letters, digits, _ and - (at most 100; not first: -; not "root"))'),
        ({"id": "a"}, "found no kind; allowed: exactly one of module:, server: and supervisor: in a child"),
        ([], "found a list; allowed: a map with id, module,"),
        ({"id": "a", "module": int}, "module: found a Python object (type); allowed: text as"),
        ({"id": "a", "pickled": b"x"}, "found no kind"),
    ],
)
def test_a_wrong_child_is_refused_with_its_id(child: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_child(child, spec=RuntimeSpec())
    assert any(text.startswith(problem) for text in caught.value.problems)
    assert caught.value.id == (child.get("id") if isinstance(child, dict) else None)


def test_dicts_that_contain_themselves_end() -> None:
    supervisor: dict[str, Any] = {}
    supervisor["children"] = [{"id": "a", "supervisor": supervisor}]
    args: dict[str, Any] = {}
    args["self"] = args
    for config in ({"tree": supervisor}, {"tree": {"children": [{"id": "a", "server": "p:C", "args": args}]}}):
        with pytest.raises(ConfigError, match="nested deeper than"):
            parse(config)


NAMES = st.sampled_from(
    [
        "version",
        "name",
        "runtime",
        "lm",
        "dspy",
        "defaults",
        "tree",
        "children",
        "id",
        "module",
        "server",
        "supervisor",
        "args",
        "restart",
        "backoff",
        "shutdown",
        "limits",
        "liveness",
        "readiness",
        "env",
        "model",
        "class",
        "adapter",
        "initial",
        "max",
        "drain",
        "timeout",
        "memory",
        "nice",
        "call",
        "preload",
        "spares",
        "state_dir",
        "strategy",
        "max_restarts",
        "max_seconds",
        "concurrency",
        "replicas",
        "depends_on",
        "on_down",
        "fallback",
        "parts",
        "count",
        "pickled",
        "sys_path",
        "base_dir",
        "x-a",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from(["p:C", "5s", "1GiB", "none", "infinity", "permanent", "brutal_kill", "one_for_all", "a", "b", "\0:x", "/"]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(NAMES, st.integers()), inner, max_size=5)),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=6))
def test_any_dict_is_a_configuration_or_a_config_error(config: dict[str, Any]) -> None:
    report = inspect(config)
    if not report.problems:
        parse(report.config)
    with contextlib.suppress(ConfigError):
        parse_child(config, spec=RuntimeSpec())


def test_paths_in_a_file_start_from_its_folder_wherever_it_is_looked_for(
    folder: Path, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    (folder / "qa.yaml").write_text("tree: {children: [{id: a, server: 'counter.py:C'}]}")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for config in (
        normalize(folder / "qa.yaml"),
        normalize("qa.yaml", base_dir=folder),
        normalize(folder / "qa.yaml", base_dir="/"),
    ):
        assert config["tree"]["children"][0]["server"] == f"{folder}/counter.py:C"
        assert config["base_dir"] == str(folder)
