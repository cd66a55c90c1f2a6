"""An optimizer by its name or as it is, and each option where it belongs; a word that belongs nowhere is refused."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from dspex_runtime.errors import CompileError
from dspex_runtime.modules.compiling.optimizers import metric_of, named, optimizers, prepared


class Own(Teleprompter):  # type: ignore[misc]
    def __init__(self, k: int = 1, **more: Any) -> None:
        self.k, self.more, self.metric = k, more, None

    def compile(self, student: Any, *, trainset: Any, valset: Any = None, rounds: int = 1) -> Any:
        return student, trainset, valset, rounds


class Broken(Teleprompter):  # type: ignore[misc]
    def __init__(self) -> None:
        raise OSError("no disk")

    def compile(self, student: Any, *, trainset: Any) -> Any: ...


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return True


def prepare(wanted: Any, metric: Any = None, valset: Any = None, **options: Any) -> Any:
    return prepared(wanted, options, metric, trainset=["t"], valset=valset)


def test_all_of_dspys_optimizers_are_known_by_name() -> None:
    assert {"BootstrapFewShot", "COPRO", "MIPROv2", "GEPA", "SIMBA", "Ensemble", "InferRules"} <= optimizers().keys()
    assert named("LabeledFewShot") is dspy.LabeledFewShot


def test_one_of_ones_own_is_found_in_its_file() -> None:
    assert named(f"{__file__}:Own").__name__ == "Own"
    with pytest.raises(CompileError, match="exact is no optimizer"):
        named(f"{__file__}:exact")


def test_options_of_a_class_go_to_its_constructor_else_to_its_compile() -> None:
    run = prepare("BootstrapFewShotWithRandomSearch", exact, ["v"], num_candidate_programs=2, labeled_sample=False)
    assert (run.label, run.optimizer.num_candidate_sets, run.optimizer.metric) == ("BootstrapFewShotWithRandomSearch", 2, exact)
    assert run.arguments == {"labeled_sample": False, "trainset": ["t"], "valset": ["v"]}
    assert run.shown == {"num_candidate_programs": 2, "labeled_sample": False}
    # InferRules passes what it does not know on to BootstrapFewShot.
    assert prepare("InferRules", exact, max_bootstrapped_demos=7).optimizer.max_bootstrapped_demos == 7


def test_options_of_an_instance_are_its_compiles() -> None:
    run = prepare(Own(), exact, ["v"], rounds=3)
    assert run.compile("s") == ("s", ["t"], ["v"], 3)
    assert run.optimizer.metric is exact  # it had none
    with pytest.raises(CompileError, match=r"Own\.compile has no option 'k'"):
        prepare(Own(), k=3)
    assert prepare({"class": Own, "arguments": {"k": 5}}).optimizer.k == 5


class Passing(Own):
    def compile(self, student: Any, **options: Any) -> Any:
        return super().compile(student, **options)


def test_a_valset_is_not_given_to_who_takes_none() -> None:
    assert prepare("LabeledFewShot", None, ["v"]).arguments == {"trainset": ["t"]}
    assert prepare(Passing(), None, ["v"], rounds=2).arguments == {"trainset": ["t"], "valset": ["v"], "rounds": 2}


@pytest.mark.parametrize("options", [{"student": 2, "foo": 1}, {"foo": 1, "student": 2}], ids=["first", "last"])
def test_what_is_ours_is_no_option_wherever_it_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(CompileError, match=r"Passing\.compile has no option 'student'"):
        prepare(Passing(), **options)


def test_what_takes_any_option_takes_any_that_is_no_typo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dspy.teleprompt, "COPRO", Own)
    assert prepare("COPRO", colour="red").optimizer.more == {"colour": "red"}
    with pytest.raises(CompileError, match="has no option 'round'") as caught:
        prepare("COPRO", round=2)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean 'rounds'?")


@pytest.mark.parametrize(
    ("wanted", "options", "text", "hint"),
    [
        ("Copro", {}, "dspy has no optimizer 'Copro'", "did you mean 'COPRO'"),
        ("Nothing", {}, "dspy has no optimizer 'Nothing'", "there are AvatarOptimizer, "),
        ("LabeledFewShot", {"n": 1}, "LabeledFewShot has no option 'n'", "it has k, sample"),
        ("LabeledFewShot", {"student": 1}, "LabeledFewShot.compile has no option 'student'", "it has sample"),
        ("MIPROv2", {}, "MIPROv2 needs a metric", "file.py:fn"),
        ("Ensemble", {}, "its compile takes programs", "in your own program"),
        (f"{__file__}:Broken", {}, "Broken cannot be built: OSError: no disk", ""),
        (f"{__file__}:Brokem", {}, "the optimizer cannot be had: test_optimizers.py has no 'Brokem'; did you mean 'Broken'", ""),
        (3, {}, "an optimizer is an instance with a compile", ""),
    ],
)
def test_what_is_wrong_is_said(wanted: Any, options: dict[str, Any], text: str, hint: str) -> None:
    with pytest.raises(CompileError, match=text) as caught:
        prepare(wanted, **options)
    assert hint in (caught.value.hint or "")


def test_a_metric_is_a_function_or_the_name_of_one() -> None:
    assert metric_of(None) is None
    assert metric_of(exact) is exact
    assert metric_of(f"{__file__}:exact")(None, None) is True
    with pytest.raises(CompileError, match="metric is a function"):
        metric_of(3)
    with pytest.raises(CompileError, match=r"^the metric cannot be had: test_optimizers\.py has no 'exakt'; did you mean 'exact'"):
        metric_of(f"{__file__}:exakt")
