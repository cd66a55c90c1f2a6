"""An optimizer is run over a copy: the program itself is as it was, and what came out are states, a score and facts."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.errors import CompileError
from dspex_runtime.host.checkpoint_image import give_back
from dspex_runtime.modules.compiling.driver import Compiled, compile_program
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.params.image import Image
from dspex_runtime.wire.codec import Codec

TRAINSET = [{"question": f"{n}?", "answer": "4"} for n in range(4)]


class Program(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.answer(question=question)


class FakeOwner:
    """Writes to the one holder, and nowhere else."""

    holder: Any
    changing = nullcontext()

    def image(self) -> dict[str, Any]:
        return {}

    def facts(self) -> dict[str, Any]:
        return {}

    def set_facts(self, facts: Any) -> None: ...

    def restore(self, parameters: Any, *, who: str, facts: Any) -> list[Any]:
        self.holder.store(parameters["answer"])
        return []


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


def compiled(optimizer: Any, root: Any = None, told: list[Any] | None = None, **job: Any) -> Compiled:
    full = {
        "optimizer": optimizer,
        "options": {},
        "metric": None,
        "inputs": None,
        "trainset": TRAINSET,
        "valset": None,
        "settings": {},
    }
    data = pickle.dumps(([], pickle.dumps({**full, **job})))
    tell = (told if told is not None else []).append
    with dspy.context(lm=DummyLM({"": {"answer": "4"}})):
        return compile_program(root or Program(), ["answer"], data, tell, id="qa")


def test_the_result_is_states_and_facts_and_the_program_is_as_it_was() -> None:
    root, told = Program(), list[Any]()
    found = compiled("BootstrapFewShot", root, told, metric=exact, options={"max_bootstrapped_demos": 2, "max_labeled_demos": 0})
    assert [demo["question"] for demo in found.states["answer"]["demos"]] == ["0?", "1?"]
    assert found.rest == {"compiled": [""]}
    assert (root.answer.demos, root._compiled) == ([], False)
    shown = {"optimizer": "BootstrapFewShot", "options": {"max_bootstrapped_demos": 2, "max_labeled_demos": 0}, "score": None}
    assert found.facts | shown | {"lm_calls": 2, "trainset": 4, "valset": None, "errors": 0} == found.facts
    assert told[0] == {"type": "started", "optimizer": "BootstrapFewShot"}


def test_what_was_compiled_before_can_be_compiled_again() -> None:
    root = Program()
    root._compiled = True
    assert compiled("BootstrapFewShot", root, metric=exact).states.keys() == {"answer"}
    assert root._compiled is True


def test_a_valset_judges_the_result_of_who_takes_none() -> None:
    found = compiled("LabeledFewShot", metric=exact, valset=TRAINSET[:2])
    assert (found.facts["score"], found.facts["evaluations"]) == (100.0, 1)
    assert compiled("LabeledFewShot", metric=exact).facts["score"] is None
    assert compiled("LabeledFewShot", valset=TRAINSET).facts["score"] is None


def raises(*args: Any) -> bool:
    raise LookupError("no gold answer")


def leaves(*args: Any) -> bool:
    raise SystemExit(3)


@pytest.mark.parametrize(("metric", "text"), [(raises, "LookupError: no gold answer"), (leaves, "SystemExit: 3")])
def test_whatever_is_raised_comes_with_its_traceback(metric: Any, text: str) -> None:
    with pytest.raises(CompileError, match=f"BootstrapFewShot failed on 'qa': {text}") as caught:
        compiled("BootstrapFewShot", metric=metric, options={"max_errors": 1})
    assert f"in {metric.__name__}" in (caught.value.remote_traceback or "")


def test_a_job_that_cannot_be_read_is_said() -> None:
    with pytest.raises(CompileError, match="what 'qa' is to be compiled with cannot be read: ModuleNotFoundError"):
        compile_program(Program(), [], pickle.dumps(([], b"cnowhere\nf\n.")), lambda _: None, id="qa")


def test_its_patch_is_given_back_a_thousand_times() -> None:
    """dspy's own `load_state` recurses to death at the 141st."""
    found = compiled("BootstrapFewShot", metric=exact)
    codec, hosted, owner = Codec(pickle=True), ModuleHost(Program), FakeOwner()
    hosted.build((), {})
    owner.holder = hosted.parameters()[0].holder
    before = {"answer": owner.holder.load()}
    instructions = {"instructions": "Be brief.", "fields": before["answer"]["signature"]["fields"]}
    after = {"answer": {**found.states["answer"], "signature": instructions}}
    for number in range(1000):
        states, rest = ((after, found.rest), (before, {"compiled": []}))[number % 2]
        image = Image("qa", "compile", 1.0, None, 0, parameters=states, rest=rest)
        owner_: Any = owner
        give_back(image, hosted, owner_, codec, who="me")
        program, _ = hosted.program
        assert (len(program.answer.demos), program._compiled) == ((4, True), (0, False))[number % 2]
    assert program.answer.signature.instructions == before["answer"]["signature"]["instructions"]
