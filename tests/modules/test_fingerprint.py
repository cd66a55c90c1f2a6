"""Which changes are seen by identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest

from dspex_runtime.modules.fingerprint import Fingerprint


def predictor() -> dspy.Predict:
    made = dspy.Predict("question -> answer")
    made.demos = [dspy.Example(question="q", answer="a"), {"question": "r", "answer": "b"}]
    return made


def swap(demos: list[Any]) -> None:
    demos[0], demos[1] = demos[1], demos[0]


CHANGES: dict[str, Callable[[Any], Any]] = {
    "demos assigned": lambda p: setattr(p, "demos", list(p.demos)),
    "a demo appended": lambda p: p.demos.append({}),
    "a demo removed": lambda p: p.demos.pop(),
    "a demo replaced": lambda p: p.demos.__setitem__(0, dspy.Example(question="q", answer="a")),
    "demos in another order": lambda p: swap(p.demos),
    "a field of an Example": lambda p: setattr(p.demos[0], "answer", "other"),
    "a field of a dict": lambda p: p.demos[1].update(answer="other"),
    "a field more": lambda p: p.demos[1].update(hint="h"),
    "a field less": lambda p: p.demos[1].pop("answer"),
    "signature assigned": lambda p: setattr(p, "signature", p.signature.with_instructions("Other.")),
    "instructions in place": lambda p: setattr(p.signature, "instructions", "Other."),
    "lm": lambda p: setattr(p, "lm", object()),
    "config": lambda p: p.update_config(n=2),
    "a trace": lambda p: p.traces.append(1),
    "a field of decisions": lambda p: p.fields.update(answer={}),
    "reset": lambda p: p.reset(),
    "an attribute more": lambda p: setattr(p, "mark", 1),
    "load_state": lambda p: p.load_state(p.dump_state()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_once(change: Callable[[Any], Any]) -> None:
    made = predictor()
    fingerprint = Fingerprint(made)
    assert not fingerprint.differs()
    change(made)
    assert fingerprint.differs()
    fingerprint.take()
    assert not fingerprint.differs()


UNCHANGED: dict[str, Callable[[Any], Any]] = {
    "history": lambda p: p.history.append({}),
    "reading": lambda p: (p.demos, p.signature.instructions, p.dump_state(), repr(p)),
    "a copy": lambda p: p.deepcopy().demos.append({}),
    "the same assigned": lambda p: setattr(p, "demos", p.demos),
}


@pytest.mark.parametrize("use", UNCHANGED.values(), ids=UNCHANGED)
def test_use_is_no_change(use: Callable[[Any], Any]) -> None:
    made = predictor()
    fingerprint = Fingerprint(made)
    use(made)
    assert not fingerprint.differs()


def test_what_is_compared_is_held() -> None:
    made = predictor()
    fingerprint = Fingerprint(made)
    for _ in range(100):  # a list that was freed could have its address again
        made.demos = list(made.demos)
    assert fingerprint.differs()


def test_any_object_with_attributes_can_be_watched() -> None:
    retrieve = dspy.Retrieve(k=3)
    fingerprint = Fingerprint(retrieve)
    assert not fingerprint.differs()
    retrieve.k = 4
    assert fingerprint.differs()
