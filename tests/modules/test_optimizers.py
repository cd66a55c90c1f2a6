"""dspy's optimizers and composites, run in the client's process on a proxy, give what they give on a program of this process.

The LM answers by the whole prompt: one demo or one word of an instruction more, and everything after it is another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy import teleprompt

import dspex_runtime as dx
from helpers.mirrored_programs import TRAINSET, PromptedLM, TwoHops, learned, metric
from helpers.runtimes import Standing

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    return standing("optimizers", runtime={"spares": 1}, tree={"children": []})


@pytest.fixture
def proxy(shared_runtime: dx.Runtime) -> Iterator[Any]:
    yield shared_runtime.start(TwoHops, id="program")
    shared_runtime.stop("program")
    shared_runtime.delete("program")


def feedback(gold: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    return dspy.Prediction(score=float(metric(gold, prediction)), feedback=f"expected {gold.answer}, not {prediction.answer}")


def mipro(student: Any) -> Any:
    pytest.importorskip("optuna")
    optimizer = teleprompt.MIPROv2(
        metric=metric, auto=None, num_candidates=2, max_bootstrapped_demos=2, max_labeled_demos=2, num_threads=1, seed=1
    )
    return optimizer.compile(student, trainset=TRAINSET, valset=TRAINSET, num_trials=3, minibatch=False)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "LabeledFewShot": lambda s: teleprompt.LabeledFewShot(k=3).compile(s, trainset=TRAINSET),
    "BootstrapFewShot": lambda s: teleprompt.BootstrapFewShot(metric=metric, max_bootstrapped_demos=3).compile(
        s, trainset=TRAINSET
    ),
    "BootstrapFewShotWithRandomSearch": lambda s: teleprompt.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=2, max_labeled_demos=2, num_candidate_programs=2, num_threads=2
    ).compile(s, trainset=TRAINSET),
    "COPRO": lambda s: teleprompt.COPRO(metric=metric, breadth=2, depth=1).compile(
        s, trainset=TRAINSET, eval_kwargs={"num_threads": 1, "display_progress": False}
    ),
    "MIPROv2": mipro,
    "SIMBA": lambda s: teleprompt.SIMBA(metric=metric, bsize=4, num_candidates=2, max_steps=1, max_demos=2, num_threads=1).compile(
        s, trainset=TRAINSET, seed=1
    ),
    "GEPA": lambda s: teleprompt.GEPA(
        metric=feedback, max_metric_calls=20, reflection_lm=PromptedLM(), num_threads=1, seed=1
    ).compile(s, trainset=TRAINSET, valset=TRAINSET),
    "InferRules": lambda s: teleprompt.InferRules(
        metric=metric, num_candidates=1, num_rules=1, num_threads=1, max_bootstrapped_demos=2
    ).compile(s, trainset=TRAINSET[:4], valset=TRAINSET[4:]),
}


def optimised(name: str, student: Any) -> Any:
    random.seed(0)
    import numpy as np

    np.random.seed(0)
    model = PromptedLM()
    with dspy.context(lm=model):
        found = OPTIMIZERS[name](student)
        after = dict(found(question="what is 11?"))
    return learned(found), learned(student), after, len(model.history)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_finds_the_same(name: str, proxy: Any) -> None:
    here, there = optimised(name, TwoHops()), optimised(name, proxy)
    assert there == here
    if "FewShot" in name:
        assert any(demos for _, _, demos, _ in here[0][:-1])


def test_a_student_that_was_optimised_is_the_program_once_its_state_is_loaded(proxy: Any) -> None:
    with dspy.context(lm=PromptedLM()):
        found = OPTIMIZERS["BootstrapFewShot"](proxy)
        before = dict(proxy(question="what is 11?"))
        proxy.load_state(found.dump_state())
        assert dict(proxy(question="what is 11?")) == dict(found(question="what is 11?")) != before


def reward(args: dict[str, Any], prediction: Any) -> float:
    return 1.0 if str(prediction.answer).endswith("7") else float(str(prediction.answer)[-1]) / 10


def embedded(texts: list[str]) -> Any:
    import numpy as np

    return np.array([[len(text), sum(map(ord, text)) % 7, 1.0] for text in texts], dtype=np.float32)


def knn(program: Any) -> Any:
    random.seed(0)
    found = teleprompt.KNNFewShot(k=3, trainset=TRAINSET, vectorizer=dspy.Embedder(embedded, caching=False), metric=metric)
    return found.compile(program)


COMPOSITES: dict[str, Callable[[Any], Any]] = {
    "BestOfN": lambda p: dspy.BestOfN(module=p, N=3, reward_fn=reward, threshold=1.0),
    "Refine": lambda p: dspy.Refine(module=p, N=3, reward_fn=reward, threshold=1.0),
    "Ensemble": lambda p: teleprompt.Ensemble(reduce_fn=dspy.majority).compile([p, p.deepcopy(), p.reset_copy()]),
    "KNNFewShot": knn,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_answers_the_same(name: str, proxy: Any) -> None:
    answers = []
    for program in (TwoHops(), proxy):
        model = PromptedLM()
        with dspy.context(lm=model, trace=[]):
            composite = COMPOSITES[name](program)
            found = [dict(composite(question=f"what is {n}?")) for n in range(3)]
            names = [each for each, _ in composite.named_predictors()]
            trace = [(step[1], dict(step[2])) for step in dspy.settings.trace]
        answers.append((found, names, trace))
    assert answers[0] == answers[1]
