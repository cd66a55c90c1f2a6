"""dspex compile: what is asked of the runtime, and how events and result are printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dspex_cli.commands.compile import told
from dspex_runtime.client.compiling import CompileResult
from dspex_runtime.errors import BusyError, CallTimeoutError, CompileError

Run = Callable[..., Any]
EVENTS = [{"type": "started", "optimizer": "COPRO"}, {"type": "evaluated", "number": 1, "score": 62.5, "seconds": 0.1}]
RESULT: dict[str, Any] = {
    "id": "qa", "version": 8, "before": 7, "score": 62.5, "changes": {"answer": 3}, "seconds": 1.5, "optimizer": "COPRO",
    "options": {"depth": 1}, "lm_calls": 40, "evaluations": 1, "errors": 0, "who": "client#1",
}  # fmt: skip


@pytest.fixture
def trainset(tmp_path: Path) -> str:
    path = tmp_path / "train.jsonl"
    path.write_text('{"question": "q", "answer": "a"}\n')
    return str(path)


@pytest.fixture
def compiling(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The compiles that were asked for."""
    asked: list[Any] = []

    def compile(*args: Any, on_progress: Callable[[dict[str, Any]], None], **kwargs: Any) -> CompileResult:
        asked.append((args, kwargs))
        if "compile" in runtime.fails:
            raise runtime.fails["compile"]
        for event in EVENTS:
            on_progress(event)
        if "interrupt" in runtime.fails:
            raise runtime.fails["interrupt"]
        session: Any = None
        return CompileResult(**RESULT, session=session)

    monkeypatch.setattr(runtime, "compile", compile, raising=False)
    return asked


def test_all_that_is_said_is_asked(dspex: Run, compiling: list[Any], trainset: str) -> None:
    words = ("--metric", "m.py:f", "--valset", trainset, "--inputs", "question, context", "--timeout", "5m", "depth=1", "k=x")
    assert dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset, *words).code == 0
    asked = {"trainset": trainset, "metric": "m.py:f", "valset": trainset, "inputs": ["question", "context"], "timeout": 300.0}
    assert compiling == [(("qa", "COPRO"), {**asked, "depth": 1, "k": "x"})]


def test_it_goes_on_line_by_line_and_says_how_to_go_back(dspex: Run, compiling: list[Any], trainset: str) -> None:
    lines = dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset).out.splitlines()
    assert lines[0].endswith("COPRO began")
    assert lines[1].endswith("evaluation 1  score 62.5")
    assert lines[2:] == [
        "qa: COPRO, score 62.5  (1.5 s, 40 LM calls)",
        "PARAMETER  VERSION",
        "answer     3",
        "saved as checkpoint 8; `dspex checkpoint restore qa 7` goes back",
    ]
    assert dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset, "-q").out.splitlines() == lines[2:5]


def test_as_json_each_line_is_an_event_and_the_last_one_the_result(dspex: Run, compiling: list[Any], trainset: str) -> None:
    out = dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset, "-o", "json").out
    assert [json.loads(line) for line in out.splitlines()] == [*EVENTS, {"type": "compiled", **RESULT}]


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (CompileError("COPRO failed on 'qa'", id="qa", remote_traceback="Traceback ..."), 1, "compile"),
        (BusyError("'qa' is being compiled already", id="qa"), 1, "busy"),
        (CallTimeoutError("'qa' is not compiled after 5 s", id="qa"), 8, "timeout"),
    ],
)
def test_errors_have_their_codes(
    dspex: Run, runtime: Any, compiling: list[Any], trainset: str, error: Exception, code: int, word: str
) -> None:
    runtime.fails["compile"] = error
    outcome = dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset, "-o", "json")
    assert (outcome.code, outcome.json["error"]["code"], outcome.json["error"]["id"]) == (code, word, "qa")


TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/dspy/evaluate.py", line 12, in call
    run()
  File "/home/me/metric.py", line 3, in exact
    return example.gold
           ^^^^^^^^^^^^
  File "/venv/lib/python3.11/site-packages/dspy/primitives.py", line 9, in __getattr__
    raise AttributeError(name)
AttributeError: gold
"""


def test_of_a_traceback_the_users_last_frame_is_shown_and_all_of_it_with_v(
    dspex: Run, runtime: Any, compiling: list[Any], trainset: str
) -> None:
    runtime.fails["compile"] = CompileError("COPRO failed", id="qa", remote_traceback=TRACEBACK, hint="look")
    words = ("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset)
    assert dspex(*words).err.splitlines() == [
        "error: COPRO failed",
        '  File "/home/me/metric.py", line 3, in exact',
        "    return example.gold",
        "  hint: -v prints the module's traceback",
        "  hint: look",
    ]
    assert TRACEBACK.rstrip() in dspex("-v", *words).err


def test_what_was_raised_in_the_users_last_frame_is_shown_where_the_message_has_it_not(
    dspex: Run, runtime: Any, compiling: list[Any], trainset: str
) -> None:
    trace = 'Traceback\n  File "/home/me/metric.py", line 3, in exact\n    1 / 0\nZeroDivisionError: division by zero\n'
    for message in ("COPRO failed", "COPRO failed: ZeroDivisionError: division by zero"):
        runtime.fails["compile"] = CompileError(message, id="qa", remote_traceback=trace)
        err = dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset).err
        assert err.count("ZeroDivisionError: division by zero") == 1


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "calls", "lm_calls": 7}, "interrupted; qa serves on as it was"),
        ({"type": "waiting", "state": "STOPPED"}, "interrupted; qa is STOPPED, and has nothing of the result"),
        ({"type": "committing", "before": 3}, "interrupted; qa takes the result all the same"),
    ],
)
def test_an_interrupt_says_what_becomes_of_the_module(
    dspex: Run, runtime: Any, compiling: list[Any], trainset: str, monkeypatch: pytest.MonkeyPatch, event: Any, said: str
) -> None:
    monkeypatch.setitem(globals(), "EVENTS", [event])
    runtime.fails["interrupt"] = KeyboardInterrupt()
    outcome = dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset)
    assert (outcome.code, said in outcome.err) == (130, True)


def test_a_file_that_is_not_there_and_a_word_that_is_no_option_are_usage(dspex: Run, compiling: list[Any], trainset: str) -> None:
    assert dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", "nowhere.jsonl").code == 2
    assert dspex("compile", "qa", "--optimizer", "COPRO", "--trainset", trainset, "depth").code == 2
    assert compiling == []


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"type": "evaluating", "number": 2, "examples": 12}, "evaluation 2  12 examples"),
        ({"type": "evaluated", "number": 2, "score": None, "seconds": 1.0}, "evaluation 2  failed"),
        ({"type": "calls", "lm_calls": 7}, "7 LM calls"),
        ({"type": "error", "message": "Error for x\nTraceback"}, "failed: Error for x"),
        ({"type": "waiting", "state": "BACKOFF"}, "done; the module is BACKOFF, the result waits for it"),
        (
            {"type": "waiting", "state": "STOPPED"},
            "done; the module is STOPPED, the result waits for it: `dspex start qa` brings it back",
        ),
        ({"type": "committing", "before": 3}, "done; the module takes the result"),
        ({"type": "of a later version", "more": 1}, "of a later version"),
    ],
)
def test_every_event_is_a_line(event: dict[str, Any], line: str) -> None:
    assert told(event, "qa") == line
