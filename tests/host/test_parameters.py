"""Parameters of a real module process: made and given their values at a start. The test plays the parent."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from dspex_runtime.errors import ParameterError, ParameterNotFoundError, StartError
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.wire.codec import Codec
from helpers.hosted_parameters import Plain, Thermostat

pytestmark = pytest.mark.process

CODEC = Codec(pickle=True)


def test_a_server_without_parameters_has_no_table(fork: Any) -> None:
    process = fork()
    process.start(Plain)
    assert process.client().call("$call", None) == "plain"
    process.ask("ping")
    assert process.offered == []
    with pytest.raises(ParameterNotFoundError, match="'sup/it' has no parameters"):
        process.client().call("$set", "target", 1.0)


def test_configured_parameters_that_nobody_declared_fail_the_start(fork: Any) -> None:
    with pytest.raises(StartError, match="it has no parameters, and its `params` set 'target'"):
        fork().start(Plain, params={"target": 1.0})
    process = fork()
    with pytest.raises(StartError) as caught:
        process.start(Thermostat, params={"targt": 1.0})
    names = "big, gated, name, odd, quick, safe, target, weights"
    expected = f"'sup/it' has no parameter 'targt', which its `params` set; it has {names}; did you mean 'target'?"
    assert str(caught.value) == expected
    process.wait()
    assert process.text().splitlines() == [f"dspex_runtime.errors.StartError: {expected}"], "no traceback of ours"


def test_a_configured_value_that_is_refused_fails_the_start(fork: Any) -> None:
    process = fork()
    with pytest.raises(StartError) as caught:
        process.start(Thermostat, params={"target": 99.0})
    expected = (
        "target of 'sup/it' must be at most 30.0 (max); got 99.0 (float); this value is configured under `params` of 'sup/it'"
    )
    assert str(caught.value) == expected
    process.wait()
    assert process.text().splitlines() == [f"dspex_runtime.errors.StartError: {expected}"]


def test_the_table_is_there_before_ready_with_configured_and_declared_values(fork: Any, keeper: Any) -> None:
    process = fork()
    process.start(Thermostat, params={"target": 18.0})
    assert [event["type"] for event, _ in process.offered] == ["table"]
    view = keeper(process).view()
    assert (view.get("target"), view.get("name"), view.get("odd")) == (18.0, "hall", 1)
    assert process.client().call("$call", "get")["target"] == 18.0
    view.close()


class Stubborn:
    """A hosted module whose predictor changed, once, and an owner whose disk is full."""

    serial = False
    rehearsal = False
    keeps_user_state = False
    mode = "eval"
    changing = nullcontext()

    def __init__(self) -> None:
        self.has_changed = True
        self.full = True
        self.published = 0

    def changed(self) -> bool:
        changed, self.has_changed = self.has_changed, False
        return changed

    def parameters(self) -> list[Any]:
        return []

    def names(self) -> list[str]:
        return []

    def republish(self) -> None:
        if self.full:
            raise ParameterError("the disk is full")
        self.published += 1

    def facts(self) -> dict[str, Any]:
        return {}

    def set_facts(self, facts: Any) -> None:
        self.mode = facts["mode"]


def test_what_cannot_be_published_is_reported_once_and_tried_again_after_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn: Any = Stubborn()
    parameters = Parameters(stubborn, stubborn, CODEC)
    reports: list[str] = []
    monkeypatch.setattr(parameters, "report", reports.append)
    parameters.owner = parameters._hosted = stubborn
    parameters._mode = "eval"
    for _ in range(3):
        parameters.after_call()
    assert (len(reports), stubborn.published) == (1, 0)
    stubborn.full = False
    for _ in range(3):
        parameters.after_call()
    assert (len(reports), stubborn.published) == (1, 1)
