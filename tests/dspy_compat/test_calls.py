"""What can be observed of a call: history, trace, usage, settings, failures, the instance's forward, results, logs, parallelism."""

from __future__ import annotations

import io
import logging
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from dspy_compat import programs
from dspy_compat.ways import Way

QUIET = {"num_threads": 2, "disable_progress_bar": True, "provide_traceback": False}
ENTRY = {
    "prompt", "messages", "kwargs", "response", "outputs", "usage", "cost", "timestamp", "uuid", "model", "response_model",
    "model_type",
}  # fmt: skip


class Around(dspy.Module):  # type: ignore[misc]
    """The caller's own program around another."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **inputs: Any) -> Any:
        return self.inner(**inputs)

    async def aforward(self, **inputs: Any) -> Any:
        return await self.inner.acall(**inputs)


def test_a_call_answers_with_a_prediction(way: Way) -> None:
    with dspy.context(lm=programs.answering()):
        result = way(programs.hops)(question="?")
    assert type(result) is dspy.Prediction
    assert (result.toDict(), list(result.keys())) == ({"reasoning": "r", "answer": "yes"}, ["reasoning", "answer"])
    assert result.completions.answer == ["yes"]
    assert list(result.completions.signature.output_fields) == ["reasoning", "answer"]


def test_one_history_entry_is_in_every_list_dspy_puts_it_in(way: Way) -> None:
    inner, lm = way(programs.hops), programs.answering()
    program = Around(inner)
    with dspy.context(lm=lm):
        program(question="?")
    assert [set(entry) >= ENTRY for entry in lm.history] == [True, True]
    for holder in (program, inner):
        assert len(holder.history) == 2
        assert all(here is there for here, there in zip(holder.history, lm.history, strict=True))
    for holder, place in ((inner.one, 0), (inner.two, 1), (inner.two.predict, 1)):
        assert len(holder.history) == 1
        assert holder.history[0] is lm.history[place]
    assert GLOBAL_HISTORY[-2] is lm.history[0]
    assert GLOBAL_HISTORY[-1] is lm.history[1]
    assert (lm.history[0]["model"], lm.history[0]["outputs"]) == ("dummy", lm.history[0]["outputs"])
    out = io.StringIO()
    inner.inspect_history(n=1, file=out)
    assert "[[ ## reasoning ## ]]" in out.getvalue()


def test_histories_are_bounded_and_can_be_off(way: Way) -> None:
    program, lm = way(programs.hops), programs.answering()
    with dspy.context(lm=lm, max_history_size=3):
        for _ in range(3):
            program(question="?")
    assert (len(program.history), len(lm.history), len(program.one.history)) == (3, 3, 3)
    with dspy.context(lm=lm, disable_history=True):
        program(question="?")
    assert (len(program.history), len(lm.history)) == (3, 3)


def test_the_trace_names_the_programs_own_predictors(way: Way) -> None:
    program = way(programs.hops)
    with dspy.context(lm=programs.answering(), trace=[]):
        result = program(question="?")
        trace = dspy.settings.trace
    assert [predictor is own for (predictor, _, _), own in zip(trace, program.predictors(), strict=True)] == [True, True]
    assert [(inputs, output.toDict()) for _, inputs, output in trace] == [
        ({"question": "?"}, {"query": "look"}),
        ({"query": "look"}, {"reasoning": "r", "answer": "yes"}),
    ]
    assert trace[-1][2] == result
    assert trace[0][0].signature.equals(program.one.signature)
    assert {trace[0][0]: 1}[program.one] == 1


def test_the_trace_is_a_list_by_default_and_can_be_off(way: Way) -> None:
    program = way(programs.hops)
    with dspy.context(lm=programs.answering()):
        before = len(dspy.settings.trace)
        program(question="?")
        assert len(dspy.settings.trace) == before + 2
        with dspy.context(trace=None):
            assert program(question="?").answer == "yes"
            assert dspy.settings.trace is None
        with dspy.context(trace=[], max_trace_size=1):
            program(question="?")
            assert [predictor for predictor, _, _ in dspy.settings.trace] == [program.two.predict]


def test_usage_is_on_the_outermost_prediction_and_in_an_open_tracker(way: Way) -> None:
    program = way(programs.hops)
    with dspy.context(lm=programs.counting(), track_usage=True):
        usage = program(question="?").get_lm_usage()
        around = Around(program)(question="?")
        with dspy.track_usage() as tracker:
            inner = program(question="?")
    assert {name: lm["total_tokens"] for name, lm in usage.items()} == {"local/counting": 6}
    assert around.get_lm_usage()["local/counting"]["total_tokens"] == 6
    assert not inner.get_lm_usage()
    assert tracker.get_total_tokens()["local/counting"]["total_tokens"] == 6
    with dspy.context(lm=programs.counting()):
        assert not program(question="?").get_lm_usage()


def test_a_result_that_can_carry_no_usage_is_warned_about(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    with dspy.context(track_usage=True):
        assert way(programs.returning)(kind="text") == "text"
    assert [record.getMessage()[:24] for record in caplog.records] == ["Failed to set LM usage. "]


def test_the_callers_settings_are_seen(way: Way) -> None:
    program = way(programs.settings_reader)
    names = ["num_threads", "max_errors", "provide_traceback", "warn_on_type_mismatch", "async_max_workers"]
    with dspy.context(num_threads=3, max_errors=2, warn_on_type_mismatch=False):
        assert program(names=names).found == {name: dspy.settings.get(name) for name in names}
    assert program(names=names).found == {name: dspy.settings.get(name) for name in names}


def test_a_setting_of_the_users_own_is_seen(way: Way) -> None:
    with dspy.context(mine={"a": [1]}):
        assert way(programs.settings_reader)(names=["mine"]).found == {"mine": {"a": [1]}}


def test_the_lm_of_the_call_then_of_the_predictor_then_of_the_settings(way: Way) -> None:
    program = way(programs.single)
    here, there = programs.answering(answer="settings"), programs.answering(answer="predictor")
    with dspy.context(lm=here):
        assert program(question="?").answer == "settings"
        program.set_lm(there)
        assert program(question="?").answer == "predictor"
        assert program(question="?", lm=programs.answering(answer="call")).answer == "call"
        with dspy.context(lm=programs.answering(answer="inner")):
            assert program(question="?").answer == "predictor"
        program.set_lm(None)
        assert program(question="?").answer == "settings"
    assert (len(here.history), len(there.history)) == (2, 2)


def test_the_adapter_of_the_settings_is_used(way: Way) -> None:
    lm = programs.answering()
    lm.adapter = dspy.JSONAdapter()
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        assert way(programs.single)(question="?").answer == "yes"
    assert "JSON" in str(lm.history[0]["messages"])


def test_a_scripted_lm_goes_on_where_it_was(way: Way) -> None:
    program = way(programs.single)
    lm = dspy.utils.DummyLM([{"answer": str(number)} for number in range(4)])
    with dspy.context(lm=lm):
        answers = [program(question="?").answer for _ in range(3)]
    assert answers == ["0", "1", "2"]
    assert len(lm.history) == 3


def test_a_scripted_lm_goes_on_from_wherever_it_is_asked(way: Way) -> None:
    program = Around(way(programs.single))
    lm = dspy.utils.DummyLM([{"answer": str(number)} for number in range(6)])
    with dspy.context(lm=lm):
        answers = [each(question="?").answer for each in (program, dspy.Predict("question -> answer"), program)]
        program.inner.set_lm(lm.copy(rollout_id=1))
        answers.append(program(question="?").answer)
    assert answers == ["0", "1", "2", "3"]


def test_a_predictor_can_be_asked_by_itself(way: Way) -> None:
    program = way(programs.hops)
    with dspy.context(lm=programs.answering(), trace=[]):
        assert program.one(question="?").query == "look"
        assert program.two(query="?").answer == "yes"
        assert [predictor for predictor, _, _ in dspy.settings.trace] == [program.one, program.two.predict]


def test_no_lm_is_an_error_that_says_what_to_do(way: Way) -> None:
    with dspy.context(lm=None), pytest.raises(ValueError, match="No LM is loaded"):
        way(programs.single)(question="?")


def test_an_exception_is_raised_as_its_own_type_and_leaves_its_trace(way: Way) -> None:
    program, lm = way(programs.failing), programs.answering()
    with dspy.context(lm=lm, trace=[]):
        with pytest.raises(KeyError, match="inside"):
            program(question="?")
        assert [predictor for predictor, _, _ in dspy.settings.trace] == [program.predict]
    assert len(lm.history) == len(program.history) == 1


def test_an_answer_that_cannot_be_parsed_is_dspys_error(way: Way) -> None:
    lm = dspy.utils.DummyLM([{"other": "x"}] * 10)
    with dspy.context(lm=lm), pytest.raises(dspy.AdapterParseError) as failed:
        way(programs.single)(question="?")
    assert failed.value.lm_response
    assert list(failed.value.signature.output_fields) == ["answer"]


def test_wrong_arguments_are_the_errors_of_python_and_dspy(way: Way) -> None:
    program = way(programs.hops)
    with pytest.raises(TypeError, match="positional"):
        program(1, 2)
    with pytest.raises(TypeError, match="missing"):
        program()
    with dspy.context(lm=programs.answering()):
        assert program("positional").answer == "yes"


def test_a_program_without_forward_is_refused(way: Way) -> None:
    if way.differs("no forward"):
        with pytest.raises(Exception, match="forward"):
            way(programs.silent)
        return
    program = way(programs.silent)
    with pytest.raises(AttributeError, match="forward"):
        program()


def test_forward_taken_from_a_program_is_discouraged(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    program = way(programs.hops)
    with dspy.context(lm=programs.answering()):
        assert program(question="?").answer == "yes"
        assert not caplog.records
        assert program.forward(question="?").answer == "yes"
    assert ["directly is discouraged" in record.getMessage() for record in caplog.records] == [True]


def test_a_forward_put_on_the_instance_is_called(way: Way) -> None:
    program = way(programs.hops)
    own = object.__getattribute__(program, "forward")
    program.forward = lambda question: (own(question=question), "traced")
    with dspy.context(lm=programs.counting(), track_usage=True):
        prediction, mark = program(question="?")
    assert (prediction.answer, mark) == ("yes", "traced")
    assert prediction.get_lm_usage()["local/counting"]["total_tokens"] == 6
    del program.forward
    with dspy.context(lm=programs.answering()):
        assert program(question="?").answer == "yes"


@pytest.mark.parametrize("kind", ["prediction", "completions", "text", "tuple", "example", "none"])
def test_whatever_is_returned_arrives(way: Way, kind: str) -> None:
    expected = programs.returning(dspy.Module)()(kind=kind)
    result = way(programs.returning)(kind=kind)
    assert type(result) is type(expected)
    if kind == "tuple":
        assert (result[0].toDict(), result[1]) == ({"answer": "a"}, [1, 2])
    else:
        assert result == expected
    if kind == "prediction":
        assert (float(result), result > 0.4, result + 1) == (0.5, True, 1.5)
    if kind == "completions":
        assert (result.completions.answer, len(result.completions)) == (["a", "b"], 2)
        assert result.completions[1].answer == "b"
    if kind == "example":
        assert list(result.inputs().keys()) == ["question"]


def test_what_is_given_and_returned_is_the_same_object(way: Way) -> None:
    seen: list[Any] = []
    program, item = way(programs.counter, seen), {"a": 1}
    program(item=item)
    if way.differs("copies"):
        assert seen == []
    else:
        assert seen[0] is item


def test_a_patch_reaches_the_program(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    program = way(programs.single)
    monkeypatch.setattr(dspy.Predict, "forward", lambda *_, **__: dspy.Prediction(answer="patched"))
    with dspy.context(lm=programs.answering()):
        assert program(question="?").answer == ("yes" if way.differs("patches") else "patched")


def test_plain_attributes_live_as_long_as_the_program(way: Way) -> None:
    program = way(programs.counter)
    assert [program(item=0).count for _ in range(3)] == [1, 2, 3]


def test_what_dspy_logs_inside_is_logged_here(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    program = way(programs.logging_one)
    with caplog.at_level(logging.WARNING, logger="dspy"):
        program()
    said = [(record.name, record.getMessage()) for record in caplog.records]
    assert said == ([] if way.differs("logs") else [("dspy.mine", "from inside")])


def test_what_dspy_logs_inside_is_logged_here_when_asked_for(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    program = way(programs.logging_one)
    with caplog.at_level(logging.WARNING, logger="dspy"), dspy.context(relay_logs=True):
        program()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("dspy.mine", "from inside")]


def examples(*numbers: int) -> list[Any]:
    return [dspy.Example(n=number).with_inputs("n") for number in numbers]


def test_a_batch_keeps_its_order_and_gives_none_for_what_failed(way: Way) -> None:
    program = way(programs.doubling)
    results = program.batch(examples(0, 1, 2, 3), **QUIET)
    assert [result and result.n for result in results] == [0, 2, None, 6]
    results, failed, exceptions = program.batch(examples(0, 1, 2, 3), return_failed_examples=True, **QUIET)
    assert [result and result.n for result in results] == [0, 2, None, 6]
    assert ([example.n for example in failed], list(map(repr, exceptions))) == ([2], ["ValueError('two')"])
    with pytest.raises(Exception, match="Execution cancelled due to errors or interruption"):
        program.batch(examples(0, 1, 2, 3), max_errors=1, **QUIET)


def test_parallel_takes_programs(way: Way) -> None:
    program = way(programs.doubling)
    pairs = [(program, example) for example in examples(0, 1, 2, 3)]
    parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True, return_failed_examples=True, provide_traceback=False)
    results, failed, exceptions = parallel(pairs)
    assert [result and result.n for result in results] == [0, 2, None, 6]
    assert (len(failed), list(map(repr, exceptions))) == (1, ["ValueError('two')"])


def test_each_item_of_a_batch_has_the_callers_settings(way: Way) -> None:
    program, lm = way(programs.hops), programs.answering()
    questions = [dspy.Example(question=str(number)).with_inputs("question") for number in range(4)]
    with dspy.context(lm=lm, trace=[]):
        assert [result.answer for result in program.batch(questions, **QUIET)] == ["yes"] * 4
    assert len(lm.history) == 8


def test_a_straggler_is_run_once_more_and_the_first_result_counts(way: Way, tmp_path: Path) -> None:
    program = way(programs.sleeping)
    items = [dspy.Example(n=n, folder=str(tmp_path), seconds=5.0).with_inputs("n", "folder", "seconds") for n in range(3)]
    results = program.batch(items, timeout=1, **QUIET)
    assert [result.n for result in results] == [0, 1, 2]
    if not way.hosted:  # there the second waits for the first, whose answer cancels it, unless it had just begun
        assert (tmp_path / "0").read_text() == "run\nrun\n"


def test_two_calls_meet(way: Way, tmp_path: Path) -> None:
    program, alone = way(programs.meeting), way.differs("concurrency")
    items = [dspy.Example(n=n, folder=str(tmp_path), seconds=0.2 if alone else 20.0) for n in range(2)]
    results = program.batch([item.with_inputs("n", "folder", "seconds") for item in items], **QUIET)
    assert sorted(result.met for result in results) == ([False, True] if alone else [True, True])


def test_a_bare_thread_has_no_context(way: Way) -> None:
    program, answers = way(programs.single), []
    thread_lm = programs.answering(answer="thread")

    def ask() -> None:
        try:
            program(question="?")
        except ValueError as exc:
            answers.append(str(exc)[:16])
        with dspy.context(lm=thread_lm):
            answers.append(program(question="?").answer)

    with dspy.context(lm=programs.answering()):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert answers == ["No LM is loaded.", "thread"]


def test_evaluate_scores_it(way: Way) -> None:
    program = way(programs.hops)
    devset = [dspy.Example(question=str(n), answer="yes" if n else "no").with_inputs("question") for n in range(4)]
    evaluate = dspy.Evaluate(devset=devset, metric=lambda example, got, *_: example.answer == got.answer, num_threads=2)
    with dspy.context(lm=programs.answering()):
        outcome = evaluate(program, display_progress=False)
    assert outcome.score == 75.0
    assert [(example.question, prediction.answer, score) for example, prediction, score in outcome.results] == [
        (str(n), "yes", n > 0) for n in range(4)
    ]
