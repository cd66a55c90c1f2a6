from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from compiled.metric import right
from compiled.offline import lm
from compiled.program import Triage


def examples(configs: Path, name: str) -> list[Any]:
    lines = (configs / "compiled" / name).read_text().splitlines()
    return [dspy.Example(**json.loads(line)).with_inputs("ticket") for line in lines]


def score(program: Any, devset: list[Any]) -> float:
    return float(dspy.Evaluate(devset=devset, metric=right, num_threads=1, display_progress=False)(program).score)


@pytest.mark.parametrize(
    "optimizer", [dspy.LabeledFewShot(), dspy.BootstrapFewShot(metric=right)], ids=lambda optimizer: type(optimizer).__name__
)
def test_compiled_it_does_better_on_tickets_it_has_not_seen(configs: Path, optimizer: Any) -> None:
    trainset, heldout = examples(configs, "tickets.jsonl"), examples(configs, "heldout.jsonl")
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        before, after = score(Triage(), heldout), score(optimizer.compile(Triage(), trainset=trainset), heldout)
    assert before < 60
    assert after == 100


def test_the_ticket_of_the_example_is_a_wrong_guess_at_first() -> None:
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        assert Triage()(ticket="My parcel has not arrived yet").queue == "account"
