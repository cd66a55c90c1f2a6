"""dspex reload: what is asked of the runtime, how plan, steps and result are printed, and what is exited with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import BusyError, ConfigError, ReloadError, SwapError
from dspex_runtime.types import ReloadResult, ReloadStep

Run = Callable[..., Any]
TREE = "version: 1\ntree: {children: []}\n"
CHANGES: tuple[dict[str, Any], ...] = (
    {"field": "args.k", "action": "swap", "old": 3, "new": 5},
    {"field": "lm.api_key", "action": "swap", "old": None, "new": None, "hidden": True},
)
STEPS = (
    ReloadStep("gone", "remove", state="done", seconds=0.01),
    ReloadStep("qa", "swap", CHANGES, state="done", seconds=0.5),
    ReloadStep(
        "old", "live", ({"field": "restart", "action": "live", "old": "permanent", "new": "transient"},), "stays so", "done", 0.0
    ),
)
REFUSED = ReloadStep(
    "runtime", "down/up", ({"field": "name", "action": "down/up", "old": "a", "new": "b"},), "`dspex down`", "refused"
)


def as_events(result: ReloadResult) -> list[dict[str, Any]]:
    """Return what a runtime tells of a reload."""
    from dataclasses import asdict

    steps = [asdict(step) for step in result.steps]
    told = [{"type": "reload", "plan": {"steps": steps, "refused": [], "left": list(result.left)}}]
    for number, step in enumerate(result.steps, 1):
        event = {"type": "reload", "number": number, "of": len(steps), "id": step.id, "action": step.action}
        if step.state != "not_done":
            told += [{**event, "state": "begun"}, {**event, "state": step.state, "seconds": step.seconds, "message": step.message}]
    return told


class FakeReload:
    """What a runtime does when it is reloaded."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.result = ReloadResult(STEPS, left=("mine",))
        self.error: BaseException | None = None
        self.file: str | None = None

    def __call__(self, path: Any = None, plan: bool = False, *, why: str | None = None, on_progress: Any = None) -> ReloadResult:
        self.asked.append((path, plan, why))
        if on_progress is not None and not isinstance(self.error, ConfigError | BusyError):
            for event in as_events(self.result):
                on_progress(event)
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def reloading(runtime: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeReload:
    fake = FakeReload()
    (tmp_path / "tree.yaml").write_text(TREE)
    monkeypatch.chdir(tmp_path)
    fake.file = str(tmp_path / "tree.yaml")
    status = runtime.status()
    monkeypatch.setattr(runtime, "reload", fake, raising=False)
    monkeypatch.setattr(runtime, "status", lambda: {**status, "file": fake.file})
    return fake


PLAN = """\
remove  gone
swap    qa    args.k  3 -> 5
              lm.api_key  changed
live    old   restart  permanent -> transient
              (stays so)
"""
LEFT = "not in the file and left alone, as they were added at run time: mine\n"


def test_the_plan_is_printed_then_each_step_then_what_it_came_to(dspex: Run, reloading: FakeReload) -> None:
    found = dspex("reload", "tree.yaml", "--why", "more passages")
    assert (found.code, found.err) == (0, "")
    steps = "✓ gone  removed  10 ms\n✓ qa  swapped  500 ms\n✓ old  changed  0.00 ms\n"
    assert found.out == PLAN + LEFT + steps + "reloaded: 1 removed, 1 swapped, 1 changed\n"
    assert reloading.asked == [("tree.yaml", False, "more passages")]


def test_the_file_is_the_one_it_was_started_from(dspex: Run, reloading: FakeReload) -> None:
    assert dspex("reload").code == 0
    assert reloading.asked == [(reloading.file, False, None)]
    reloading.file = None
    found = dspex("reload")
    assert (found.code, "was not started from a file" in found.err) == (2, True)


def test_a_plan_is_only_printed(dspex: Run, reloading: FakeReload) -> None:
    found = dspex("reload", "--plan")
    assert (found.code, found.out) == (0, PLAN + LEFT)
    assert reloading.asked == [(reloading.file, True, None)]


@pytest.mark.parametrize("options", [(), ("--plan",)])
def test_there_may_be_nothing_to_do(dspex: Run, reloading: FakeReload, options: tuple[str, ...]) -> None:
    reloading.result = ReloadResult()
    found = dspex("reload", *options)
    assert (found.code, found.out) == (0, f"nothing to do: what runs is what {reloading.file} says\n")


def test_what_it_cannot_do_is_2(dspex: Run, reloading: FakeReload) -> None:
    reloading.result = ReloadResult(STEPS[:1], (REFUSED,))
    found = dspex("reload", "--plan")
    assert found.code == 2
    assert "down/up  runtime  name  a -> b\n                  (`dspex down`)\n" in found.out
    reloading.error = ConfigError("1 change that a reload cannot make", problems=["name a -> b"])
    found = dspex("reload")
    assert (found.code, found.err) == (2, "error: 1 change that a reload cannot make\n  name a -> b\n")


def test_a_file_that_is_wrong_is_2_with_all_its_lines(dspex: Run, reloading: FakeReload, tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("version: 1\ntree: {childre: []}\nnam: x\n")
    found = dspex("reload", "tree.yaml")
    assert (found.code, reloading.asked) == (2, [])
    assert "tree.yaml:2:8: tree.childre" in found.err
    assert "tree.yaml:3:1: nam" in found.err
    assert dspex("reload", "none.yaml").code == 2


FAILED = (
    STEPS[0],
    ReloadStep("qa", "swap", CHANGES, state="failed", seconds=0.2, message="no\nindex"),
    ReloadStep("z", "add", state="not_done"),
)


def failed(reloading: FakeReload) -> None:
    reloading.result = ReloadResult(FAILED)
    error = ReloadError("swap of 'qa' failed: no; 1 of 3 steps done; not done: z", result=reloading.result, id="qa", hint="mend it")
    error.__cause__ = SwapError("no", code="start")
    reloading.error = error


def test_a_step_that_fails_is_1(dspex: Run, reloading: FakeReload) -> None:
    failed(reloading)
    found = dspex("reload")
    assert found.code == 1
    assert found.out.endswith("✓ gone  removed  10 ms\n✗ qa  swap failed  200 ms  no\n")
    assert found.err == "error: swap of 'qa' failed: no; 1 of 3 steps done; not done: z\n  hint: mend it\n"


def test_programs_get_the_steps_with_the_error(dspex: Run, reloading: FakeReload) -> None:
    found = dspex("reload", "-o", "json")
    assert (found.code, [step["state"] for step in found.json["steps"]], found.json["left"]) == (0, ["done"] * 3, ["mine"])
    assert found.json["steps"][1]["changes"][1] == {
        "field": "lm.api_key",
        "action": "swap",
        "old": None,
        "new": None,
        "hidden": True,
    }
    failed(reloading)
    found = dspex("reload", "-o", "json")
    assert (found.code, [step["state"] for step in found.json["steps"]]) == (1, ["done", "failed", "not_done"])
    assert (found.json["error"]["code"], found.json["error"]["id"]) == ("reload", "qa")
    reloading.error = BusyError("the runtime is being reloaded already")
    found = dspex("reload", "-o", "json")
    assert (found.code, found.json["error"]["code"]) == (1, "busy")
    json.dumps(found.json)


def test_an_interrupt_says_what_it_leaves(dspex: Run, reloading: FakeReload) -> None:
    reloading.result = ReloadResult(
        (STEPS[0], ReloadStep("qa", "swap", state="not_done"), ReloadStep("z", "add", state="not_done"))
    )
    reloading.error = KeyboardInterrupt()
    found = dspex("reload")
    assert found.code == 130
    assert "interrupted; 1 of 3 steps done; qa may be done in a moment, not done: z; the next reload does the rest" in found.err
    assert "interrupted" not in dspex("reload", "-q").err


def test_quiet_prints_errors_alone(dspex: Run, reloading: FakeReload) -> None:
    assert dspex("reload", "-q").out == ""
    failed(reloading)
    found = dspex("reload", "-q")
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith("error: ")


def test_warnings_of_the_file_are_shown(dspex: Run, reloading: FakeReload, tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("version: 1\ntree: {auto_shutdown: any_significant, children: []}\n")
    assert "warning: " in dspex("reload", "tree.yaml").out
