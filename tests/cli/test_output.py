"""Formatting: tables, colour rules, plain data, wording."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

from dspex_cli import output, wording
from dspex_cli.events import event_line
from dspex_cli.options import Settings, asks_for_json
from dspex_cli.output import Output, dumps, on_terminal, one_line, paint, plain_table, visible
from dspex_cli.plain import readable, to_plain
from dspex_cli.progress import Progress
from dspex_runtime.wire.ext import Opaque


@pytest.mark.parametrize(
    ("tty", "environ", "colour"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
    ids=["terminal", "pipe", "NO_COLOR", "empty NO_COLOR", "dumb terminal"],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, tty: bool, environ: dict[str, str], colour: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    assert on_terminal() is colour
    assert ("\x1b" in paint("READY", "green")) is colour


def test_columns_are_aligned_and_have_no_trailing_blanks() -> None:
    assert plain_table(("ID", "STATE"), [("a", "READY"), ("longer", "X")]) == ["ID      STATE", "a       READY", "longer  X"]


def test_a_table_without_rows_is_its_header() -> None:
    assert plain_table(("ID", "STATE"), []) == ["ID  STATE"]


def test_a_cell_cannot_break_the_terminal() -> None:
    assert one_line("a\nb\x1b[31mc") == r"a b\x1b[31mc"
    assert one_line(None) == "-"


def test_a_wide_terminal_gets_a_rich_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    Output(Settings()).table(("ID", "STATE"), [("qa", "READY")])
    assert capsys.readouterr().out.split() == ["ID", "STATE", "qa", "READY"]


def test_text_that_the_terminal_cannot_show_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    Output(Settings()).line("└─ qa ✓")
    assert buffer.getvalue() == b"?? qa ?\n"


class Cyclic:
    def toDict(self) -> Any:  # noqa: N802
        return [self]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (float("inf"), float("inf")),
        (b"ab", "YWI="),
        ("\ud800", "\ud800"),
        (ValueError("x"), "x"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_any_value_becomes_json(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain


def test_json_has_what_python_reads_back() -> None:
    assert dumps([float("nan"), float("-inf"), "\udfff\n", "é\x9b\u202e"]) == r'[NaN, -Infinity, "\udfff\n", "é\u009b\u202e"]'


def test_nesting_without_end_is_cut() -> None:
    value: list[Any] = []
    value.append(value)
    assert "…" in str(to_plain(value))
    assert "…" in str(to_plain(Cyclic()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.00042, "0.42 ms"), (0.0131, "13 ms"), (1.5, "1.5 s"), (200, "3m 20s"), (7500, "2h 05m"), (356400, "4d 3h")],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["-o", "json", "ps"], True),
        (["ps", "-ojson"], True),
        (["ps", "--output=json"], True),
        (["ps", "--output", "json", "-o", "table"], False),
        (["call", "qa", "--", "-o", "json"], False),
        (["ps"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_line_that_cannot_be_parsed_may_still_ask_for_json(words: list[str], asked: bool) -> None:
    assert asks_for_json(words) is asked


def test_progress_prints_a_line_for_each_child_that_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Output(Settings())) as progress:
        progress.event({"type": "state", "id": "qa", "state": "STARTING"})
        progress.event({"type": "state", "id": "qa", "state": "READY"})
        progress.event({"type": "zygote_ready", "id": None, "pid": 3})
    progress.event({"type": "state", "id": "late", "state": "READY"})
    assert capsys.readouterr().out.startswith("✓ qa  ready")
    assert progress.seconds > 0


@pytest.mark.parametrize(
    "event",
    [
        {"type": "state_report", "id": None, "message": "state.db is corrupt"},
        {"type": "alarm_set", "id": None, "alarm": "state_store", "description": "state.db is corrupt"},
    ],
    ids=lambda event: str(event["type"]),
)
def test_progress_says_what_is_wrong_with_what_is_kept(capsys: pytest.CaptureFixture[str], event: dict[str, Any]) -> None:
    for settings in (Settings(), Settings(output="json")):
        with Progress(Output(settings)) as progress:
            progress.event(event)
        assert capsys.readouterr().err == "! state.db is corrupt\n"


def test_progress_is_silent_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Output(Settings(output="json"))) as progress:
        progress.event({"type": "state", "id": "qa", "state": "READY"})
    assert capsys.readouterr().out == ""


def test_a_boot_says_at_once_what_ctrl_c_does(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)

    def twice() -> None:
        with Progress(Output(Settings())):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert signal.getsignal(signal.SIGINT) is before
    said = [line for line in capfd.readouterr().err.splitlines() if line]
    assert said == ["stopping …  (Ctrl-C again kills)", "killing …", "interrupted; what was started has been killed"]


def test_a_pickled_object_is_named_not_dumped() -> None:
    assert to_plain([Opaque(b"12345")]) == ["<a Python object, 5 bytes pickled: call from Python to get it>"]


@pytest.mark.parametrize(
    ("fact", "text"),
    [({"again_in_s": 0.0}, "again_in=0 s"), ({"seconds": 0.7766079}, "seconds=777 ms"), ({"pid": 7}, "pid=7")],
    ids=str,
)
def test_facts_of_events_read_well(fact: dict[str, Any], text: str) -> None:
    assert event_line({"type": "x", **fact}).endswith(f"x  {text}")


def test_a_narrow_terminal_cuts_the_last_column_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    Output(Settings()).table(("ID", "STATE", "LAST EXIT"), [("pipeline/source", "READY", "a reason of many words")])
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["ID", "STATE", "LAST", "EXIT"]
    assert row.startswith("pipeline/source  READY  a reason")
    assert row.rstrip().endswith("…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("line\n\ttab é 漢 😀\u00a0.", "line\n\ttab é 漢 😀\u00a0."),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\rb\x7f\x9b5A", r"a\rb\x7f\x9b5A"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
    ],
    ids=["text", "escapes", "others", "direction"],
)
def test_control_characters_of_others_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_our_own_colours_reach_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    Output(Settings()).fields([("state", paint("READY", "green")), ("last exit", "\x1b[2J")])
    assert "\x1b[32mREADY\x1b[0m" in (out := capsys.readouterr().out)
    assert r"\x1b[2J" in out


def test_what_came_pickled_is_named_in_a_cell_and_all_else_is_as_it_is() -> None:
    assert "8 bytes pickled" in readable(Opaque(b"a pickle"))
    assert readable((1, "x")) == (1, "x")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "crash_report", "id": "a", "state": "{'n': 1}"}, ["a", "crash_report", "state={'n':", "1}"]),
        ({"type": "registered", "id": "a", "key": None}, ["a", "registered", "key=None"]),
        ({"type": "registered", "id": "a", "key": "1"}, ["a", "registered", "key='1'"]),
        ({"type": "state", "id": "a", "state": "READY", "reason": None}, ["a", "READY"]),
    ],
    ids=["state of a crash", "None as a key", "text as a key", "state"],
)
def test_no_fact_of_an_event_is_lost(event: dict[str, Any], expected: list[str]) -> None:
    assert event_line(event).split() == expected
