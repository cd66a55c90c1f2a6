"""dspex param: what it reads and sets, what it prints, how it exits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import click
import pytest

from dspex_cli import completing
from dspex_cli.commands import param
from dspex_cli.options import Settings
from dspex_runtime.types import Change
from helpers.fake_params import FakeParams

Run = Callable[..., Any]


@pytest.fixture
def qa(runtime: Any) -> FakeParams:
    types = {"temperature": "float", "style": "str", "weights": "list"}
    params: FakeParams = FakeParams(types, {"temperature": [0.2, 0.3], "style": ["brief"], "weights": [[1, 2]]})
    runtime.parameters["qa"] = params
    return params


def test_get_prints_the_value_alone(dspex: Run, qa: FakeParams) -> None:
    assert dspex("param", "get", "qa.temperature").out == "0.3\n"
    assert dspex("param", "get", "qa.style").out == "brief\n"
    assert dspex("param", "get", "qa.weights").out == "[1, 2]\n"


def test_get_as_json_has_version_time_and_writer(dspex: Run, qa: FakeParams) -> None:
    assert dspex("param", "get", "qa.temperature", "-o", "json").json == {
        "id": "qa", "name": "temperature", "value": 0.3, "version": 2, "updated_at": 86_400.0, "who": "client#7",
    }  # fmt: skip


@pytest.mark.parametrize("id", ["$shared", ""])
def test_the_runtimes_own_parameters_have_an_id_too(dspex: Run, runtime: Any, id: str) -> None:
    runtime.params.past["style"] = ["brief"]
    assert dspex("param", "get", f"{id}.style", "-o", "json").json["id"] == "$shared"
    assert dspex("param", "set", f"{id}.style", "full").code == 0
    assert runtime.params["style"] == "full"


def test_a_servers_parameters_are_read_as_a_modules(dspex: Run, runtime: Any) -> None:
    runtime.parameters["counter"] = FakeParams(past={"step": [1]})
    assert dspex("param", "get", "counter.step").out == "1\n"


@pytest.mark.parametrize(("text", "value"), [("0.7", 0.7), ("true", True), ("[1, 2]", [1, 2]), ("warm", "warm"), ("null", None)])
def test_set_takes_json_or_text(dspex: Run, qa: FakeParams, text: str, value: Any) -> None:
    outcome = dspex("param", "set", "qa.temperature", text)
    assert (outcome.code, qa["temperature"]) == (0, value)
    assert "(version 3)" in outcome.out


def test_for_a_text_parameter_the_value_is_the_text(dspex: Run, qa: FakeParams) -> None:
    dspex("param", "set", "qa.style", "3")
    assert qa["style"] == "3"
    dspex("param", "set", "qa.style", "--json", '"4"')
    assert qa["style"] == "4"


def test_set_takes_a_version_to_replace(dspex: Run, qa: FakeParams) -> None:
    assert dspex("param", "set", "qa.temperature", "0.7", "--expect", "2", "-o", "json").json["version"] == 3
    assert qa.expected == [2]


def test_set_reads_large_values_from_stdin(dspex: Run, qa: FakeParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2, 3]"))
    assert dspex("param", "set", "qa.weights", "--json", "-").code == 0
    assert qa["weights"] == [1, 2, 3]


def test_a_negative_number_is_a_value_and_no_option(dspex: Run, qa: FakeParams) -> None:
    assert dspex("param", "set", "qa.temperature", "--", "-1").code == 0
    assert qa["temperature"] == -1
    for text, value in (("-5", -5), ("-1e-3", -0.001), ("-Infinity", float("-inf"))):
        assert dspex("param", "set", "qa.temperature", text).code == 0
        assert qa["temperature"] == value
    assert dspex("param", "set", "qa.temperature", "--expect", "6", "-7", "-o", "json").json["value"] == -7.0


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[NaN, -Infinity]"])
def test_what_json_prints_of_numbers_that_are_none_is_taken_back(dspex: Run, qa: FakeParams, text: str) -> None:
    name = "weights" if text.startswith("[") else "temperature"
    for words in ((text,), ("--json", text)):
        assert dspex("param", "set", f"qa.{name}", *words).code == 0
        assert repr(dspex("param", "get", f"qa.{name}", "-o", "json").json["value"]) == repr(json.loads(text))
    assert dspex("param", "set", "qa.style", "NaN").code == 0
    assert qa["style"] == "NaN"


def test_set_tells_what_is_stored_and_not_what_was_typed(dspex: Run, qa: FakeParams) -> None:
    out = dspex("param", "set", "qa.temperature", "3", "-o", "json").out
    assert '"value": 3.0' in out
    assert dspex("param", "set", "qa.temperature", "3").out == "qa.temperature is 3.0  (version 4)\n"


def test_set_tells_its_own_value_when_somebody_writes_behind_it(
    dspex: Run, qa: FakeParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(name: str, value: Any, expect: int | None = None) -> int:
        qa.past[name] += [value, 99.0]
        return 3

    monkeypatch.setattr(qa, "set", overtaken)
    told = dspex("param", "set", "qa.temperature", "0.5", "-o", "json").json
    assert (told["value"], told["version"]) == (0.5, 3)


def test_the_full_id_is_told_whatever_was_typed(dspex: Run, runtime: Any) -> None:
    from dataclasses import replace

    runtime.children["ab"] = replace(runtime.children["qa"], id="grp/ab")
    runtime.parameters["grp/ab"] = FakeParams(past={"target": [1]})
    assert dspex("param", "get", "ab.target", "-o", "json").json["id"] == "grp/ab"
    assert dspex("param", "set", "ab.target", "2", "-o", "json").json["id"] == "grp/ab"
    assert dspex("param", "list", "ab").out.splitlines()[1].split()[0] == "grp/ab"


EVIL = "red \x1b[31m\x9b\u202e\ud800"
SHOWN = r"red \x1b[31m\x9b\u202e\ud800"


def test_text_of_others_is_shown_and_not_obeyed(dspex: Run, runtime: Any, qa: FakeParams, monkeypatch: pytest.MonkeyPatch) -> None:
    qa.past["style"] = ["brief", EVIL]
    runtime.changes = [Change("qa", "style", 1, EVIL, 5.0, EVIL)]
    for words in (["list", "qa"], ["history", "qa.style"], ["watch"], ["set", "qa.style", EVIL], ["rollback", "qa.style", "2"]):
        assert SHOWN in dspex("param", *words).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert dspex("param", "get", "qa.style").out == f"{SHOWN}\n"


def test_half_a_character_is_an_escape_in_json(dspex: Run, qa: FakeParams) -> None:
    qa.past["style"] = ["\ud800x"]
    outcome = dspex("param", "get", "qa.style", "-o", "json")
    assert r'"\ud800x"' in outcome.out
    assert outcome.json["value"] == "\ud800x"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["param", "get", "qa"], "expected ID.NAME, got 'qa'"),
        (["param", "get", "qa."], "expected ID.NAME"),
        (["param", "set", "qa.temperature"], "say the new value"),
        (["param", "set", "qa.temperature", "1", "--json", "2"], "say the new value"),
        (["param", "set", "qa.temperature", "--json", "{"], "--json is not JSON"),
        (["param", "set", "qa.temperature", "-x"], "No such option '-x'"),
        (["param", "set", "qa.temperature", "--expct", "2", "-5"], "No such option '--expct'"),
        (["param", "set", "qa.temperature", "-5", "-6"], "unexpected extra argument"),
        (["param", "rollback", "qa.temperature", "-1"], "-1 is not in the range x>=1"),
        (["param", "gte", "qa.temperature"], "no such command 'gte'; did you mean 'get'?"),
        (["param", "history", "qa.temperature", "-n", "0"], "0 is not in the range"),
    ],
)
def test_wrong_words_are_2(dspex: Run, qa: FakeParams, words: list[str], told: str) -> None:
    outcome = dspex(*words)
    assert outcome.code == 2
    assert told in outcome.err


def test_a_supervisor_has_no_parameters(dspex: Run, runtime: Any) -> None:
    from dataclasses import replace

    runtime.children["group"] = replace(runtime.children["counter"], id="group", kind="supervisor")
    outcome = dspex("param", "list", "group")
    assert outcome.code == 2
    assert "is a supervisor and has no parameters" in outcome.err


def test_what_is_not_there_is_said_with_a_hint(dspex: Run, qa: FakeParams) -> None:
    outcome = dspex("param", "get", "qa.temperatur")
    assert (outcome.code, "did you mean 'temperature'?" in outcome.err) == (1, True)
    assert dspex("param", "get", "nobody.k").code == 3


def test_a_refused_value_is_1_and_says_constraint_limit_and_value(dspex: Run, qa: FakeParams) -> None:
    outcome = dspex("param", "set", "qa.temperature", "refused", "-o", "json")
    error = outcome.json["error"]
    assert outcome.code == 1
    assert (error["code"], error["name"], error["constraint"], error["limit"], error["value"]) == (
        "constraint_violation", "temperature", "max", 2.0, "refused",
    )  # fmt: skip
    assert qa["temperature"] == 0.3


def test_list_shows_type_value_version_and_who(dspex: Run, qa: FakeParams) -> None:
    lines = dspex("param", "list", "qa").out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "TYPE", "VALUE", "VERSION", "UPDATED", "WHO"]
    assert lines[2].split()[:5] == ["qa", "temperature", "float", "0.3", "2"]
    assert lines[2].endswith("client#7")


def test_list_without_an_id_is_of_everybody(dspex: Run, runtime: Any, qa: FakeParams) -> None:
    runtime.params.past["style"] = ["brief"]
    found = dspex("param", "list", "-o", "json").json
    assert [(row["id"], row["name"]) for row in found] == [
        ("$shared", "style"), ("qa", "style"), ("qa", "temperature"), ("qa", "weights"),
    ]  # fmt: skip


def test_a_long_value_leaves_room_in_a_table(dspex: Run, qa: FakeParams) -> None:
    qa.past["style"] = ["x" * 500]
    assert "x" * 59 + "…" in dspex("param", "list", "qa").out
    assert dspex("param", "list", "qa", "-o", "json").json[0]["value"] == "x" * 500


def test_history_is_newest_first_with_old_and_new(dspex: Run, qa: FakeParams) -> None:
    lines = dspex("param", "history", "qa.temperature").out.splitlines()
    assert lines[0].split() == ["VERSION", "WHEN", "WHO", "OLD", "NEW"]
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert lines[1].split()[-2:] == ["0.2", "0.3"]
    assert len(dspex("param", "history", "qa.temperature", "-n", "1", "-o", "json").json) == 1


def test_a_past_value_that_is_not_small_is_told_as_its_size(dspex: Run, qa: FakeParams, monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"version": 3, "when": 86_400.0, "who": "me", "new": None, "old": None}
    monkeypatch.setattr(qa, "history", lambda name, n: [{**change, "bytes": 70_000, "old_bytes": 2048}, change])
    large, null = dspex("param", "history", "qa.style").out.splitlines()[1:]
    assert large.endswith("(2.0 KiB)  (68.4 KiB)")
    assert null.split()[-2:] == ["null", "null"]


def test_rollback_and_reset_say_what_it_is_now(dspex: Run, qa: FakeParams) -> None:
    assert dspex("param", "rollback", "qa.temperature", "1").out == "qa.temperature is 0.2  (version 3)\n"
    qa.set("temperature", 0.9)
    assert dspex("param", "reset", "qa.temperature", "-o", "json").json == {
        "id": "qa", "name": "temperature", "value": 0.2, "version": 5,
    }  # fmt: skip


def test_watch_prints_one_object_a_line(dspex: Run, runtime: Any) -> None:
    runtime.changes = [Change("qa", "k", 1, [1, 2], 5.0, "me"), Change("qa", "k", 7, None, 6.0, "me", 5)]
    lines = dspex("param", "watch", "qa.*", "-o", "json").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "qa", "name": "k", "version": 1, "value": [1, 2], "when": 5.0, "who": "me", "skipped": 0},
        {"id": "qa", "name": "k", "version": 7, "value": None, "when": 6.0, "who": "me", "skipped": 5},
    ]
    assert ("watch", "qa.*") in runtime.asked


def test_watch_is_of_everything_and_ends_after_a_count(dspex: Run, runtime: Any) -> None:
    runtime.changes = [Change("qa", "k", version, version, 5.0, "me") for version in (1, 2, 3)]
    lines = dspex("param", "watch", "-n", "2").out.splitlines()
    assert [line.split()[2:6] for line in lines] == [["qa.k", "1", "version", "1"], ["qa.k", "2", "version", "2"]]
    assert ("watch", "*") in runtime.asked


def test_watch_says_what_was_skipped(dspex: Run, runtime: Any) -> None:
    runtime.changes = [Change("qa", "k", 7, 0.5, 6.0, "me", 5)]
    assert "(5 versions skipped)" in dspex("param", "watch").out


def test_watch_notes_on_stderr_what_the_client_warns_of(dspex: Run, runtime: Any) -> None:
    runtime.watch_warning = "nothing matches 'qa.temperatur' yet; did you mean 'qa.temperature'?"
    outcome = dspex("param", "watch", "qa.temperatur", "-o", "json")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", f"note: {runtime.watch_warning}\n")


def test_parameters_are_completed_behind_the_dot(runtime: Any, qa: FakeParams) -> None:
    context = click.Context(param.get, obj=Settings())
    argument = param.get.params[0]
    assert completing.parameters(context, argument, "q") == ["qa."]
    assert completing.parameters(context, argument, "qa.t") == ["qa.temperature"]
    assert completing.parameters(context, argument, "nobody.t") == []
