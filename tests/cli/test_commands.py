"""Each command against the fake runtime: what it asks for, what it prints, how it exits."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dspex_cli.commands import lookup
from dspex_cli.commands.call import _readable as readable_result
from dspex_cli.commands.logs import coloured
from dspex_runtime.core.alarms import Alarm
from dspex_runtime.errors import CallTimeoutError, RemoteError, SupervisorError
from dspex_runtime.types import ModuleInfo
from dspex_runtime.wire.ext import Opaque

Run = Callable[..., Any]


def test_ps_prints_aligned_columns_without_colour(dspex: Run, runtime: Any) -> None:
    lines = dspex("ps").out.splitlines()
    assert lines[0].split()[:4] == ["ID", "KIND", "STATE", "PID"]
    assert lines[1].split() == ["qa", "module", "READY", "4711", "1m", "15s", "1", "12", "killed", "(SIGKILL)"]
    assert lines[3].endswith("ValueError: bad value"), "a reason of several lines stays on one"
    assert lines[1].index("READY") == lines[2].index("READY") == lines[0].index("STATE")
    assert "\x1b" not in "".join(lines)


def test_ps_verbose_has_more_columns(dspex: Run, runtime: Any) -> None:
    out = dspex("ps", "-v").out
    assert "VERSION" in out
    assert "team=search" in out


def test_ps_json_has_the_keys_of_module_info(dspex: Run, runtime: Any) -> None:
    first = dspex("ps", "-o", "json").json[0]
    assert list(first) == [
        "id", "kind", "state", "pid", "incarnation", "restarts", "started_at", "uptime_s", "version", "metadata", "metrics",
        "last_exit", "supervisor", "checkpoint", "swap", "group", "replicas", "params", "depends_on", "waiting_for", "needed_by",
    ]  # fmt: skip


def test_yaml_is_the_same_data(dspex: Run, runtime: Any) -> None:
    import yaml

    assert yaml.safe_load(dspex("ps", "-o", "yaml").out) == dspex("ps", "-o", "json").json


def test_tree_draws_nesting(dspex: Run, runtime: Any) -> None:
    leaf = {"id": "group/a", "kind": "server", "state": "READY", "pid": 7}
    group = {"id": "group", "kind": "supervisor", "state": "READY", "strategy": "rest_for_one", "children": [leaf]}
    failed = {"id": "b", "kind": "module", "state": "FAILED", "restarts": 3, "last_exit": "killed"}
    runtime.tree_map = {
        "id": "root",
        "kind": "supervisor",
        "state": "READY",
        "strategy": "one_for_one",
        "children": [group, failed],
    }
    assert dspex("tree").out.splitlines() == [
        "root  one_for_one  READY",
        "├─ group  rest_for_one  READY",
        "│  └─ a  server  READY  pid 7",
        "└─ b  module  FAILED  3 restarts  (killed (SIGKILL))",
    ]
    assert dspex("tree", "-o", "json").json == runtime.tree_map


USUAL = {
    "strategy": "one_for_one", "max_restarts": 3, "max_seconds": 5.0, "restarts_used": 0, "auto_shutdown": "never",
    "dynamic": False, "children": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("supervisor", "line"),
    [
        ({}, "g  one_for_one  READY"),
        ({"restarts_used": 2}, "g  one_for_one  READY  2 of 3 restarts in 5 s"),
        ({"restarts_used": 1, "max_restarts": 1, "max_seconds": 90.0}, "g  one_for_one  READY  1 of 1 restart in 1m 30s"),
        ({"auto_shutdown": "any_significant"}, "g  one_for_one  READY  ends with any_significant"),
        ({"dynamic": True, "max_children": None}, "g  dynamic  READY  1 child"),
        ({"dynamic": True, "max_children": 100, "children": 0}, "g  dynamic  READY  0 of 100 children"),
    ],
)
def test_tree_shows_what_is_not_as_usual_with_a_supervisor(dspex: Run, runtime: Any, supervisor: dict[str, Any], line: str) -> None:
    facts = {"id": "g", "kind": "supervisor", "state": "READY", "strategy": "one_for_one", "supervisor": USUAL | supervisor}
    runtime.tree_map = facts
    assert dspex("tree").out.splitlines() == [line]
    runtime.tree_map = facts | {"state": "STOPPED"}
    assert dspex("tree").out.splitlines() == [" ".join(line.split("  ")[:2]).replace(" ", "  ") + "  STOPPED"]


def test_tree_shows_what_a_child_needs_and_what_it_waits_for(dspex: Run, runtime: Any) -> None:
    def needing(on_down: str, state: str | None, *down: str) -> dict[str, Any]:
        edges = {"y": {"on_down": on_down, "fallback": None, "state": state}}
        shown = "DEGRADED" if down else "READY"
        return {"id": "x", "kind": "server", "state": shown, "depends_on": edges, "waiting_for": list(down)}

    for node, line in (
        (needing("wait", "READY"), "x  server  READY  needs y (wait)"),
        (needing("restart", "BACKOFF", "y"), "x  server  DEGRADED  waits for y, which is BACKOFF"),
        (needing("fail", "STOPPED", "y"), "x  server  DEGRADED  takes no calls without y, which is STOPPED"),
        (needing("degrade", None, "y"), "x  server  DEGRADED  does without y, which is not there"),
    ):
        runtime.tree_map = node
        assert dspex("tree").out.splitlines() == [line]


def test_info_shows_what_a_child_needs_and_who_needs_it(dspex: Run, runtime: Any) -> None:
    edges = {"y": {"on_down": "degrade", "fallback": "spare", "state": "FAILED"}}
    runtime.children["x"] = ModuleInfo("x", "module", "DEGRADED", depends_on=edges, waiting_for=["y"], needed_by=["z"])
    lines = [line.split(maxsplit=1) for line in dspex("info", "x").out.splitlines()]
    assert ["needs", "y, degrade (spare): FAILED"] in lines
    assert ["needed", "by    z"] in lines


def test_analyze_shows_the_chain_and_with_all_everybody(dspex: Run, runtime: Any) -> None:
    def child(
        id: str, started: float, ready: float | None, waited_for: str | None = None, why: str | None = None
    ) -> dict[str, Any]:
        seconds = None if ready is None else ready - started
        return {"id": id, "started": started, "ready": ready, "seconds": seconds, "waited_for": waited_for, "why": why}

    chain = [child("y", 0.0, 2.0), child("x", 2.0, 3.5, "y", "dependency")]
    runtime.analysis = {"seconds": 3.5, "chain": chain, "children": [*chain, child("z", 2.0, None)]}
    assert dspex("analyze").out.splitlines() == [
        "started in 3.5 s",
        "ID  BEGAN AT  TOOK   READY AT  WAITED FOR",
        "y   0.00 ms   2.0 s  2.0 s     -",
        "x   2.0 s     1.5 s  3.5 s     y (dependency)",
    ]
    assert dspex("analyze", "--all").out.splitlines()[-1].split() == ["z", "2.0", "s", "-", "-", "-"]
    assert dspex("analyze", "-o", "json").json == runtime.analysis
    runtime.analysis = {"seconds": None, "chain": [], "children": []}
    assert dspex("analyze").out.splitlines() == ["nothing has started yet"]


def test_info_of_a_supervisor_shows_how_it_supervises(dspex: Run, runtime: Any) -> None:
    pool = USUAL | {"dynamic": True, "max_children": 9, "restarts_used": 2}
    runtime.children["pool"] = ModuleInfo("pool", "supervisor", "READY", supervisor=pool)
    lines = [line.split(maxsplit=1) for line in dspex("info", "pool").out.splitlines()]
    assert ["strategy", "one_for_one, dynamic"] in lines
    assert ["budget", "2 of 3 restarts in 5 s"] in lines
    assert ["children", "1 of 9 children"] in lines
    assert dspex("info", "pool", "-o", "json").json["supervisor"] == pool


@pytest.mark.parametrize(
    ("ids", "code"), [((), 3), (("qa",), 0), (("qa", "counter"), 0), (("qa", "old"), 3), (("nobody",), 3)], ids=lambda v: str(v)
)
def test_status_is_3_when_something_asked_about_is_not_running(dspex: Run, runtime: Any, ids: tuple[str, ...], code: int) -> None:
    assert dspex("status", *ids).code == code


def test_status_says_why_something_is_not_running(dspex: Run, runtime: Any) -> None:
    assert "last exit: ValueError" in dspex("status", "old").out
    assert dspex("status", "-o", "json").json["children"][2]["state"] == "STOPPED"


def test_status_shows_the_alarms_that_are_set(dspex: Run, runtime: Any) -> None:
    assert "alarm" not in dspex("status").out
    runtime.set_alarms = [Alarm("disk", "90 % full", 0.0, "qa")]
    assert "alarm 'disk'  90 % full" in dspex("status").out
    assert dspex("status", "-o", "json").json["alarms"] == [
        {"id": "disk", "description": "90 % full", "since": 0.0, "set_by": "qa"},
    ]


def test_info_shows_every_fact(dspex: Run, runtime: Any) -> None:
    out = dspex("info", "qa").out
    for text in ("4711", "2.1.0", "team = search", "killed (SIGKILL)", "1m 15s"):
        assert text in out
    assert dspex("info", "qa", "-o", "json").json["last_exit"] == "killed"


def test_info_shows_the_newest_checkpoint_of_what_has_failed_too(dspex: Run, runtime: Any) -> None:
    newest = {"number": 7, "created_at": time.time() - 7500, "kind": "periodic"}
    runtime.children["old"] = replace(runtime.children["old"], state="FAILED", checkpoint=newest)
    assert "checkpoint   7, 2h 05m old, periodic" in dspex("info", "old").out
    assert dspex("info", "old", "-o", "json").json["checkpoint"] == newest
    assert "checkpoint" not in dspex("info", "qa").out


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--where", "team=search"), (None, {"team": "search"})),
        (("--where", "team=search", "--where", "tier=1"), (None, {"team": "search", "tier": 1})),
        (("--version", "2.1.0"), ("2.1.0", {})),
        (("--where", "a-b=x=y", "--version", "2"), ("2", {"a-b": "x=y"})),
    ],
)
def test_ps_selects_by_metadata_and_version(dspex: Run, runtime: Any, words: tuple[str, ...], asked: Any) -> None:
    shown = [child["version"] for child in dspex("ps", *words, "-o", "json").json]
    assert runtime.asked == [("select", *asked)]
    assert shown == [child.version for child in runtime.children.values() if asked[0] in (None, child.version)]


@pytest.mark.parametrize("word", ["team", "=x"])
def test_ps_refuses_a_condition_that_is_none(dspex: Run, runtime: Any, word: str) -> None:
    outcome = dspex("ps", "--where", word)
    assert (outcome.code, runtime.asked) == (2, [])
    assert f"expected KEY=VALUE, got '{word}'" in outcome.err


def entry(key: Any, id: str, value: Any = None, *, unique: bool = True) -> dict[str, Any]:
    return {"key": key, "id": id, "incarnation": 2, "kind": "module", "value": value, "unique": unique, "revision": 0}


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("team", "team"),
        ("1", 1),
        ("1.0", 1.0),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ('["worker", [1, 2]]', ("worker", (1, 2))),
    ],
)
def test_lookup_parses_a_key_as_json_when_it_is_json(dspex: Run, runtime: Any, word: str, key: Any) -> None:
    runtime.entries = [entry(key, "qa", {"k": 1})]
    assert [found["id"] for found in dspex("lookup", word, "-o", "json").json] == ["qa"]
    assert repr(runtime.asked) == repr([("registered", key)])


def test_lookup_shows_key_holder_and_value(dspex: Run, runtime: Any) -> None:
    runtime.entries = [entry(("w", 1), "qa"), entry("k", "counter", 5, unique=False)]
    header, first, second = dspex("lookup").out.splitlines()
    assert header.split() == ["KEY", "ID", "INCARNATION", "KIND", "UNIQUE", "VALUE"]
    assert (first.split(), second.split()) == (
        ["('w',", "1)", "qa", "2", "module", "yes", "-"],
        ["'k'", "counter", "2", "module", "no", "5"],
    )
    assert list(dspex("lookup", "-o", "json").json[0]) == ["key", "id", "incarnation", "kind", "unique", "value"]


def test_lookup_of_a_key_that_nobody_holds_exits_3(dspex: Run, runtime: Any) -> None:
    outcome = dspex("lookup", "nobody", "-o", "json")
    assert (outcome.code, outcome.json["error"]["code"]) == (3, "noproc")
    assert "nobody is registered under key 'nobody'" in outcome.json["error"]["message"]
    assert (dspex("lookup").code, dspex("lookup", "-o", "json").json) == (0, [])


def test_info_shows_the_keys_it_is_registered_under(dspex: Run, runtime: Any) -> None:
    runtime.entries = [entry("k", "qa"), entry(1, "qa"), entry("other", "counter")]
    assert "'k', 1" in dspex("info", "qa").out
    assert dspex("info", "qa", "-o", "json").json["keys"] == ["k", 1]


def test_an_unknown_id_is_answered_with_what_is_near(dspex: Run, runtime: Any) -> None:
    outcome = dspex("info", "qaa")
    assert outcome.code == 3
    assert "did you mean 'qa'" in outcome.err


CALLS = [
    (("question=What is it?",), ("__call__",), {"question": "What is it?"}),
    (("question=12", "k=3", "deep=true", 'names=["a"]'), ("__call__",), {"question": 12, "k": 3, "deep": True, "names": ["a"]}),
    (("query=a=b",), ("__call__",), {"query": "a=b"}),
    (("empty=",), ("__call__",), {"empty": ""}),
    (("x=NaN",), ("__call__",), {"x": "NaN"}),
    (("size",), ("size",), {}),
    (("size", "k=1"), ("size",), {"k": 1}),
    (("--json", '{"k": 1}', "q=2"), ("__call__",), {"k": 1, "q": 2}),
    (("--json", "[1, 2]"), ("__call__", 1, 2), {}),
]


@pytest.mark.parametrize(("words", "args", "kwargs"), CALLS, ids=[" ".join(words) for words, _, _ in CALLS])
def test_call_turns_words_into_arguments(
    dspex: Run, runtime: Any, words: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert dspex("call", "qa", *words).code == 0
    assert runtime.asked == [("call", "qa", args, {"timeout": None, **kwargs})]


REQUESTS = [
    (("next",), "next"),
    (("12",), 12),
    (("-5",), -5),
    (('{"op": "add"}',), {"op": "add"}),
    (("op=add", "n=2"), {"op": "add", "n": 2}),
    (("--json", '["add", 2]'), ["add", 2]),
    ((), None),
]


@pytest.mark.parametrize(("words", "request_"), REQUESTS, ids=[" ".join(words) or "nothing" for words, _ in REQUESTS])
def test_call_of_a_server_sends_one_request(dspex: Run, runtime: Any, words: tuple[str, ...], request_: Any) -> None:
    assert dspex("call", "counter", *words).code == 0
    assert runtime.asked == [("call", "counter", (request_,), {})]


@pytest.mark.parametrize(
    "words",
    [
        ("qa", "a=1", "a=2"),
        ("qa", "size", "more"),
        ("qa", "not a method"),
        ("qa", "--json", "{"),
        ("qa", "--json", "3"),
        ("qa", "--json", '{"a": 1}', "a=2"),
        ("counter", "x", "--json", "1"),
        ("counter", "x", "y"),
        ("counter", "--stream"),
        ("counter", "-x"),
        ("group", "a=1"),
    ],
    ids=" ".join,
)
def test_call_refuses_what_it_does_not_understand(dspex: Run, runtime: Any, words: tuple[str, ...]) -> None:
    runtime.children["group"] = ModuleInfo(id="group", kind="supervisor", state="READY")
    assert dspex("call", *words).code == 2
    assert not runtime.asked


def test_call_reads_json_from_stdin(dspex: Run, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"question": "Why?"}'))
    assert dspex("call", "qa", "--json", "-").code == 0
    assert runtime.asked == [("call", "qa", ("__call__",), {"timeout": None, "question": "Why?"})]


def test_call_passes_the_timeout_in_seconds(dspex: Run, runtime: Any) -> None:
    dspex("call", "qa", "--timeout", "1500ms")
    dspex("call", "counter", "get", "--timeout", "2m")
    assert [asked[3]["timeout"] for asked in runtime.asked] == [1.5, 120.0]


def test_a_prediction_is_printed_as_its_fields(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = {"answer": "Use groupby.\nReally.", "citations": ["itertools.groupby"]}
    assert dspex("call", "qa").out == 'answer     Use groupby.\n           Really.\ncitations  ["itertools.groupby"]\n'
    assert dspex("call", "qa", "-o", "json").json == runtime.results["qa"]


def test_results_that_are_no_json_are_made_json(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = {"t": (1, 2), "s": {3}, "inf": float("inf"), "b": b"\xff", 5: None}
    assert dspex("call", "qa", "-o", "json").json == {"t": [1, 2], "s": [3], "inf": float("inf"), "b": "/w==", "5": None}


def test_a_stream_is_printed_item_by_item(dspex: Run, runtime: Any) -> None:
    runtime.results["qa"] = iter(["one", {"n": 2}])
    assert dspex("call", "qa", "--stream", "-o", "json").out == '"one"\n{"n": 2}\n'
    assert runtime.asked == [("stream", "qa", (None,), {"timeout": None})]


def test_start_of_a_class_passes_constructor_arguments(
    dspex: Run, runtime: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    outcome = dspex("start", "mod.py:Echo", "k=3", "--id", "echo", "--restart", "transient", "-o", "json")
    assert outcome.json["state"] == "READY"
    assert runtime.asked == [("start", f"{tmp_path}/mod.py:Echo", {"id": "echo", "restart": "transient", "kwargs": {"k": 3}})]


def test_start_with_a_saved_state_names_its_file(dspex: Run, runtime: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "qa.json").write_text("{}")
    assert dspex("start", "pkg:Echo", "--load", "qa.json").code == 0
    assert runtime.asked == [("start", "pkg:Echo", {"load": "qa.json"})]
    assert dspex("start", "pkg:Echo", "--load", "absent.json").code == 2


def test_start_of_an_id_brings_it_back(dspex: Run, runtime: Any) -> None:
    assert dspex("start", "old").out == "old is READY, pid 322\n"
    assert runtime.asked == [("start", "old", {})]
    assert dspex("start", "old", "k=1").code == 2


@pytest.mark.parametrize(
    ("command", "asked", "said"),
    [
        (("stop", "qa"), ("stop", "qa", {"timeout": None}), "stopped qa"),
        (("stop", "qa", "--timeout", "2s"), ("stop", "qa", {"timeout": 2.0}), "stopped qa"),
        (("restart", "qa"), ("restart", "qa", {}), "restarted qa"),
        (("kill", "qa"), ("kill", "qa", {"signal": "KILL"}), "sent KILL to qa"),
        (("kill", "qa", "--signal", "sigterm"), ("kill", "qa", {"signal": "TERM"}), "sent TERM to qa"),
        (("kill", "qa", "-s", "9"), ("kill", "qa", {"signal": 9}), "sent 9 to qa"),
        (("rm", "qa"), ("delete", "qa", {}), "removed qa"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and isinstance(value[-1], str) else "",
)
def test_actions_ask_once_and_say_so(dspex: Run, runtime: Any, command: tuple[str, ...], asked: tuple[Any, ...], said: str) -> None:
    outcome = dspex(*command)
    assert (outcome.code, outcome.out) == (0, said + "\n")
    assert runtime.asked == [asked]
    assert dspex(*command, "-q").out == ""


def test_of_several_ids_all_are_tried_and_the_first_failure_counts(dspex: Run, runtime: Any) -> None:
    outcome = dspex("stop", "nobody", "qa", "qa")
    assert outcome.code == 3
    assert outcome.out == "stopped qa\n"
    assert "nobody" in outcome.err
    results = dspex("stop", "nobody", "qa", "-o", "json").json
    assert [result["id"] for result in results] == ["nobody", "qa"]
    assert results[0]["error"]["code"] == "noproc"


def test_a_refusal_of_a_supervisor_keeps_its_atom(dspex: Run, runtime: Any) -> None:
    runtime.fails["restart"] = SupervisorError("restarting", "'qa' is restarting", id="qa")
    assert dspex("restart", "qa", "-o", "json").json["error"]["code"] == "restarting"


def test_a_stop_that_takes_too_long_is_8(dspex: Run, runtime: Any) -> None:
    runtime.fails["stop"] = CallTimeoutError("still stopping", id="qa")
    assert dspex("stop", "qa", "--timeout", "10ms").code == 8


def test_wait_is_0_when_all_are_there_and_8_otherwise(dspex: Run, runtime: Any) -> None:
    assert dspex("wait", "qa", "counter").out == "qa, counter: READY\n"
    assert dspex("wait", "old", "--for", "stopped", "--timeout", "1m").code == 0
    assert dspex("wait", "old", "--timeout", "50ms").code == 8
    assert [asked[2:] for asked in runtime.asked] == [("ready", 30.0), ("stopped", 60.0), ("ready", 0.05)]


def test_logs_of_several_carry_their_id(dspex: Run, runtime: Any) -> None:
    runtime.log_lines = {"qa": ["one\n", "two\n"], "counter": ["three"]}
    assert dspex("logs").out.splitlines() == ["qa      | one", "qa      | two", "counter | three"]
    assert dspex("logs", "qa", "-n", "1").out == "two\n"
    assert dspex("logs", "counter", "-o", "json").json == {"id": "counter", "line": "three"}


def test_logs_of_a_supervisor_are_refused(dspex: Run, runtime: Any) -> None:
    runtime.children["group"] = ModuleInfo(id="group", kind="supervisor", state="READY")
    outcome = dspex("logs", "group")
    assert outcome.code == 2
    assert "its children do" in outcome.err


def test_followed_logs_of_several_end_with_the_runtime(dspex: Run, runtime: Any) -> None:
    runtime.log_lines = {"qa": ["one"], "counter": ["two"]}
    assert sorted(dspex("logs", "-f", "qa", "counter").out.splitlines()) == ["counter | two", "qa      | one"]


def test_events_print_what_is_kept_and_end(dspex: Run, runtime: Any) -> None:
    runtime.happened = [
        {"seq": 1, "time": 0.0, "type": "started", "id": "qa", "pid": 5},
        {"seq": 2, "time": 1.5, "type": "exited", "id": "qa", "reason": ("signal", "SEGV")},
    ]
    lines = dspex("events").out.splitlines()
    assert [line.split()[1:3] for line in lines] == [["qa", "started"], ["qa", "exited"]]
    assert "reason=signal SIGSEGV" in lines[1]
    assert len(dspex("events", "--since", "1").out.splitlines()) == 1
    assert len(dspex("events", "-o", "json").out.splitlines()) == 3


def test_past_events_are_those_that_are_stored(dspex: Run, runtime: Any) -> None:
    runtime.happened = [{"seq": seq, "time": float(seq), "type": "stopping"} for seq in (7, 1, 2)]
    assert len(dspex("events", "--past", "2").out.splitlines()) == 2
    assert [json.loads(line)["seq"] for line in dspex("events", "--past", "9", "-o", "json").out.splitlines()] == [7, 1, 2]
    assert dspex("events", "--past", "2", "-f").code == dspex("events", "--past", "2", "--since", "1").code == 2


def test_events_of_a_runtime_where_nothing_happened_end_at_once(dspex: Run, runtime: Any) -> None:
    assert (dspex("events").out, dspex("events", "--since", "9").out) == ("", "")


def test_down_waits_for_the_tree(dspex: Run, runtime: Any) -> None:
    assert dspex("down").out == "demo is stopped\n"
    assert runtime.asked == [("shutdown",)]


EVIL = "\x1b]0;owned\x07\x1b[2J"


def test_what_a_module_raised_is_not_obeyed_by_the_terminal(dspex: Run, runtime: Any) -> None:
    error = RemoteError(f"bad {EVIL}", type_name="ValueError", remote_traceback=f"Traceback\n\tfile {EVIL}", id="qa")
    runtime.results["qa"] = error
    outcome = dspex("-v", "call", "qa", "crash")
    assert "\x1b" not in outcome.err + outcome.out
    assert r"\x1b[2J" in outcome.err
    assert "\n\tfile " in outcome.err


def test_a_last_exit_is_not_obeyed_by_the_terminal(dspex: Run, runtime: Any) -> None:
    runtime.children["qa"] = replace(runtime.children["qa"], last_exit=("error", "ValueError", EVIL, f"Traceback\n  {EVIL}"))
    outcome = dspex("info", "qa")
    assert "\x1b" not in outcome.out
    assert r"\x1b[2J" in outcome.out


def test_a_result_with_control_characters_is_shown_on_a_terminal_and_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert readable_result(EVIL) == r"\x1b]0;owned\x07\x1b[2J"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert readable_result(EVIL) == EVIL


def test_a_log_keeps_its_colours_on_a_terminal_and_nothing_else() -> None:
    assert coloured(f"\x1b[31mred\x1b[0m {EVIL}") == "\x1b[31mred\x1b[0m " + r"\x1b]0;owned\x07\x1b[2J"


def test_lookup_cuts_a_long_key_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"key": "k" * 500, "id": "qa", "incarnation": 1, "kind": "module", "unique": True, "value": Opaque(b"pickle")}
    monkeypatch.setattr(lookup, "on_terminal", lambda: True)
    key, *_, value = lookup._row(entry)
    assert (len(key), key[-1]) == (lookup.KEY_CHARS, "…")
    assert "bytes pickled" in value
    monkeypatch.setattr(lookup, "on_terminal", lambda: False)
    assert len(lookup._row(entry)[0]) == 502
