"""A call of a proxy is a call in this process, in everything that the caller sees: the same program here and hosted, side by side.

An observation runs a program and returns plain data of what dspy showed of it; both must be equal.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from dspy.utils import DummyLM
from dspy.utils.exceptions import AdapterParseError

import dspex_runtime as dx
from helpers.relayed_programs import ANSWERS, Diary, Loud, OnlyAsync, Plain, Program, streaming_lm
from helpers.runtimes import Standing
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

Observation = Callable[[Any], Any]
OBSERVATIONS: dict[str, Observation] = {}


def observed(function: Observation) -> Observation:
    OBSERVATIONS[function.__name__] = function
    return function


@pytest.fixture(scope="module")
def runtime(standing: Standing) -> dx.Runtime:
    rt = standing("relay", runtime={"spares": 0}, tree={"children": []})
    rt.start(Program, id="program")
    rt.start(Plain, id="plain", concurrency=3)
    rt.start(Loud, id="loud")
    rt.start(OnlyAsync, id="only_async")
    rt.start(dspy.Predict("question -> answer"), id="own", lm=scripted("the module's"), dspy={"num_threads": 5})
    rt.start(dspy.Predict("question -> answer"), id="bare")
    return rt


@pytest.fixture
def client(runtime: dx.Runtime) -> Iterator[Any]:
    """A client of its own for each test: its pipes end with it."""
    with dx.connect("relay") as rt:
        yield rt


def lm() -> DummyLM:
    return DummyLM(ANSWERS)


def names(program: Any) -> dict[int, str]:
    return {id(part): name for name, part in (*program.named_sub_modules(), *program.named_predictors())}


def plain(entry: dict[str, Any]) -> Any:
    return {key: repr(value) for key, value in entry.items() if key not in ("timestamp", "uuid", "response")}, sorted(entry)


@observed
def the_history_and_where_it_lands(program: Any) -> Any:
    model, outer = lm(), Around(program)
    at = len(GLOBAL_HISTORY)
    with dspy.context(lm=model):
        outer(question="hi")
    holders = {"outer": outer, "program": program, **{name: part for name, part in program.named_sub_modules() if name != "self"}}
    lists = {name: holder.history for name, holder in holders.items()}
    order = {id(entry): n for n, entry in enumerate(GLOBAL_HISTORY[at:])}
    return (
        [plain(entry) for entry in model.history],
        [order[id(entry)] for entry in model.history],
        {name: [order[id(entry)] for entry in history] for name, history in lists.items()},
    )


class Around(dspy.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **kwargs: Any) -> Any:
        return self.inner(**kwargs)


@observed
def no_history_where_it_is_disabled_and_a_bounded_one_where_it_is_bounded(program: Any) -> Any:
    model = lm()
    with dspy.context(lm=model, disable_history=True):
        program(question="hi")
    none = len(model.history), len(program.history)
    with dspy.context(lm=model, max_history_size=2):
        program(question="hi")
    return none, len(model.history), len(program.history), len(program.judge.history)


@observed
def the_trace_its_predictors_and_its_predictions(program: Any) -> Any:
    with dspy.context(lm=lm(), trace=[]):
        value = program(question="hi", then="found")
        trace = list(dspy.settings.trace)
    own = names(program)
    return (
        [(own[id(predictor)], inputs, repr(prediction)) for predictor, inputs, prediction in trace],
        [prediction.completions.signature is predictor.signature for predictor, _, prediction in trace],
        [prediction is value for _, _, prediction in trace],
        value.completions.reasoning,
    )


@observed
def a_trace_that_nobody_keeps_and_one_that_is_bounded(program: Any) -> Any:
    with dspy.context(lm=lm(), trace=None):
        value = program(question="hi", then="found")
        none = dspy.settings.trace, value.completions.signature is program.hops.two.predict.signature
    with dspy.context(lm=lm(), trace=[], max_trace_size=2):
        program(question="hi")
        return none, [inputs for _, inputs, _ in dspy.settings.trace]


@observed
def a_predictor_that_is_not_in_the_tree(program: Any) -> Any:
    with dspy.context(lm=lm(), trace=[]):
        program(question="hi", then="foreign")
        predictor, inputs, prediction = dspy.settings.trace[-1]
    return type(predictor), list(predictor.signature.fields), predictor.lm, inputs, repr(prediction)


@observed
def usage(program: Any) -> Any:
    with dspy.context(lm=streaming_lm(), track_usage=True):
        alone = program(question="hi").get_lm_usage()
        with dspy.track_usage() as tracker:
            inside = program(question="hi").get_lm_usage()
            program(question="hi")
        pair = program(question="hi", then="two")
    return alone, inside, tracker.get_total_tokens(), pair[0].get_lm_usage(), [len(v) for v in tracker.usage_data.values()]


@observed
def callbacks_of_the_settings(program: Any) -> Any:
    diary = Diary()
    with dspy.context(lm=lm(), callbacks=[diary]):
        program(question="hi")
    own = {**names(program), id(program): "program"}
    return diary.lines, [own.get(id(instance), type(instance).__name__) for instance in diary.instances]


@observed
def callbacks_of_instances(program: Any) -> Any:
    diaries = {name: Diary(name) for name in ("root", "one", "two", "lm")}
    model = lm()
    program.callbacks = [diaries["root"]]
    program.hops.one.callbacks = [diaries["one"]]
    program.hops.two.predict.callbacks = [diaries["two"]]
    model.callbacks = [diaries["lm"]]
    with dspy.context(lm=model):
        program(question="hi")
    program.callbacks = program.hops.one.callbacks = program.hops.two.predict.callbacks = []
    assert all(instance is model for instance in diaries["lm"].instances)
    return {name: diary.lines for name, diary in diaries.items()}


@observed
def callbacks_of_both_in_their_order(program: Any) -> Any:
    order: list[str] = []

    class Said(Diary):
        def started(self, kind: str, *_: Any) -> None:
            order.append(f"{self.name} {kind}")

    program.hops.one.callbacks = [Said("own")]
    with dspy.context(lm=lm(), callbacks=[Said("first"), Said("second")]):
        program(question="hi")
    program.hops.one.callbacks = []
    return order


@observed
def callbacks_see_the_history_and_the_exception(program: Any) -> Any:
    seen: list[Any] = []

    class Looks(Diary):
        def ended(self, kind: str, call_id: str, outputs: Any, exception: Any) -> None:
            self.errors.append(exception)
            if kind == "lm":
                seen.append(len(model.history))

    diary, model = Looks(), lm()
    with dspy.context(lm=model, callbacks=[diary]), pytest.raises(ValueError, match="no hi") as raised:
        program(question="hi", then="fail")
    return seen, [repr(exc) for exc in diary.errors], [exc is raised.value for exc in diary.errors if exc is not None]


@observed
def a_callback_that_fails_harms_nobody(program: Any) -> Any:
    class Broken(Diary):
        def started(self, *_: Any) -> None:
            raise RuntimeError("broken")

        ended = started

    with dspy.context(lm=lm(), callbacks=[Broken()]):
        return repr(program(question="hi"))


@observed
def exceptions_and_what_was_done_before(program: Any) -> Any:
    model = lm()
    with dspy.context(lm=model, trace=[], track_usage=True), dspy.track_usage() as tracker:
        with pytest.raises(ValueError, match="no hi") as raised:
            program(question="hi", then="fail")
        trace = [inputs for _, inputs, _ in dspy.settings.trace]
    return type(raised.value), raised.value.args, trace, len(model.history), len(program.history), tracker.get_total_tokens()


@observed
def an_answer_that_cannot_be_parsed(program: Any) -> Any:
    model = DummyLM([{"query": "q"}] + [{"nothing": "x"}] * 5)
    with (
        dspy.context(lm=model, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)),
        pytest.raises(AdapterParseError) as raised,
    ):
        program(question="hi")
    error = raised.value
    return (
        error.signature is program.hops.two.predict.signature,
        error.lm_response,
        error.adapter_name,
        str(error),
        len(model.history),
    )


@observed
def no_lm_at_all(program: Any) -> Any:
    with dspy.context(lm=None), pytest.raises(ValueError, match="No LM is loaded") as raised:
        program(question="hi")
    return str(raised.value)


@observed
def awaited(program: Any) -> Any:
    async def run() -> Any:
        diary, model = Diary(), lm()
        with dspy.context(lm=model, trace=[], track_usage=True, callbacks=[diary]):
            value = await program.acall(question="hi")
            trace = [inputs for _, inputs, _ in dspy.settings.trace]
            with pytest.raises(ValueError, match="no hi"):
                await program.acall(question="hi", then="fail")
        with dspy.context(lm=model):
            again = await dspy.asyncify(program)(question="hi")
        return repr(value), value.get_lm_usage(), trace, diary.lines, repr(again), len(model.history)

    return asyncio.run(run())


@observed
def settings_of_the_caller(program: Any) -> Any:
    model = DummyLM(ANSWERS, adapter=dspy.JSONAdapter())
    with dspy.context(lm=model, num_threads=3, mine={"a": 1}, adapter=dspy.JSONAdapter(), rm=len):
        return str(program(question="hi", then="settings")).partition(" object")[0]


@observed
def an_lm_that_is_given_to_the_call(program: Any) -> Any:
    model = lm()
    bare = program.judge  # in the hosted program it is a part; a call of it runs here
    with dspy.context(lm=lm()):
        return bare(answer="a", lm=model).verdict, len(model.history)


@observed
def threads_inside_the_program(program: Any) -> Any:
    model, diary = lm(), Diary()
    with dspy.context(lm=model, trace=[], callbacks=[diary]):
        value = program(question="hi", then="parallel")
        trace = [names(program)[id(predictor)] for predictor, _, _ in dspy.settings.trace]
    around = sorted(str(line[2]) for line in diary.lines if line[:2] == ("start", "module"))
    return sorted(value.verdicts), trace, len(model.history), len(program.judge.history), around


@observed
def one_script_of_answers(program: Any) -> Any:
    model, other = lm(), Program()
    found: list[str] = []
    with dspy.context(lm=model):
        found += [one(question="hi").verdict for one in (program, other, program, program, other)]
    model.kwargs["temperature"] = 0.5
    with dspy.context(lm=model.copy(rollout_id=1)):
        found.append(program(question="hi").verdict)
    with dspy.context(lm=model):
        found.append(program(question="hi").verdict)
    return found, model.history[-1]["kwargs"].get("temperature"), next(model.answers)


@observed
def in_parallel(program: Any) -> Any:
    examples = [dspy.Example(question=str(n), answer=str(n)).with_inputs("question") for n in range(5)]
    model = DummyLM({f"{n}": {"query": f"{n}", "reasoning": "r", "answer": f"{n}", "verdict": f"{n}"} for n in range(5)})
    with dspy.context(lm=model, num_threads=2):
        batch = program.batch(examples, disable_progress_bar=True)
        pairs = dspy.Parallel(num_threads=2, disable_progress_bar=True)([(program, example) for example in examples])
        score = dspy.Evaluate(devset=examples, metric=lambda e, p, trace=None: e.answer == p.verdict, num_threads=2)(program)
    return [p.verdict for p in batch], [p.verdict for p in pairs], score.score, len(model.history)


def streamed(program: Any, *, is_async: bool, listeners: bool, **options: Any) -> Any:
    class Said(dspy.streaming.StatusMessageProvider):
        def lm_start_status_message(self, instance: Any, inputs: Any) -> str:
            return f"lm {instance.model}"

        def module_start_status_message(self, instance: Any, inputs: Any) -> str:
            return f"module {names(program).get(id(instance), 'program')}"

    wanted = [dspy.streaming.StreamListener("answer", predict=program.hops.two.predict), dspy.streaming.StreamListener("verdict")]
    asked = dspy.streamify(program, Said(), stream_listeners=wanted if listeners else None, is_async_program=is_async, **options)

    async def run() -> list[str]:
        with dspy.context(lm=streaming_lm()):
            return [told(item) async for item in asked(question="hi")]

    def told(item: Any) -> str:
        if getattr(item, "predict_id", None) is not None:
            return f"{names(program)[item.predict_id]}: {item.choices[0].delta.content}"
        return repr(item)

    return asyncio.run(run())


@observed
def chunks_and_status_messages_for_listeners(program: Any) -> Any:
    return [streamed(program, is_async=is_async, listeners=True) for is_async in (False, True)]


@observed
def chunks_for_nobody_in_particular(program: Any) -> Any:
    return [streamed(program, is_async=is_async, listeners=False) for is_async in (False, True)]


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_hosted_it_is_as_in_this_process(client: Any, name: str) -> None:
    assert OBSERVATIONS[name](client.module("program")) == OBSERVATIONS[name](Program())


def test_what_a_hosted_program_calls_in_another_process_comes_out_here_too(client: Any) -> None:
    def seen(program: Any) -> Any:
        diary, model = Diary(), lm()
        with dspy.context(lm=model, trace=[], callbacks=[diary]), dspy.track_usage() as tracker:
            value = program(question="hi")
            trace = [(list(p.signature.fields), inputs, repr(prediction)) for p, inputs, prediction in dspy.settings.trace]
        return repr(value), trace, diary.lines, len(model.history), len(program.history), tracker.get_total_tokens()

    around = client.start(Around, client.module("program"), id="around")
    assert seen(around) == seen(Around(Program()))
    client.delete("around")


# -- whose LM


def answer(program: Any, **kwargs: Any) -> str:
    return str(program(question="q", **kwargs).answer)


def scripted(text: str) -> DummyLM:
    return DummyLM({"": {"answer": text}})


def test_the_callers_context_goes_before_the_modules_config_and_that_before_what_the_caller_configured(client: Any) -> None:
    own, bare = client.module("own"), client.module("bare")
    before = dspy.settings.lm
    dspy.configure(lm=scripted("configured"))
    try:
        assert (answer(own), answer(bare)) == ("the module's", "configured")
        with dspy.context(lm=scripted("context")):
            assert (answer(own), answer(bare)) == ("context", "context")
            assert answer(bare, lm=scripted("given")) == "given"
        with dspy.context(adapter=dspy.JSONAdapter()):  # of which lm is no part, though dspy copies it
            assert bare.dx.metrics()["failures"] == 0
        with dspy.context(lm=None), pytest.raises(ValueError, match="No LM is loaded"):
            answer(bare)
    finally:
        dspy.configure(lm=before)


def test_calls_of_the_modules_own_lm_show_in_the_histories_of_the_caller_too(client: Any) -> None:
    own = client.module("own")
    assert answer(own) == "the module's"
    assert [entry["outputs"] for entry in own.history] == [GLOBAL_HISTORY[-1]["outputs"]]
    assert own.history[-1] is GLOBAL_HISTORY[-1]


def test_an_lm_that_is_given_to_a_bare_predict_gets_its_history_and_is_sent_once(client: Any) -> None:
    bare, model = client.module("bare"), scripted("given")
    for _ in range(3):
        assert answer(bare, lm=model) == "given"
    assert len(model.history) == len(bare.history) == 3


def test_what_cannot_be_sent_is_named_after_its_setting(client: Any) -> None:
    class Locked(dspy.JSONAdapter):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    with dspy.context(adapter=Locked()), pytest.raises(dx.UnserialisableError, match=r"dspy\.settings\.adapter, a .*Locked"):
        client.module("bare")(question="q")


def test_a_restarted_process_is_given_the_callers_lm_again(client: Any) -> None:
    again, model = client.start(dspy.Predict("question -> answer"), id="again"), DummyLM([{"answer": str(n)} for n in range(9)])
    with dspy.context(lm=model):
        assert answer(again) == "0"
        client.restart("again")
        assert (answer(again), answer(again)) == ("1", "2")
    assert again.dx.metrics()["count"] == 3, "that it had to ask for the LM is no call"
    client.delete("again")
    assert len(model.history) == 3


# -- as calls of a module


def test_a_relayed_call_is_counted_and_recorded_as_a_call(client: Any) -> None:
    program = client.module("program")
    before = program.dx.metrics()
    with dspy.context(lm=lm()), pytest.raises(ValueError, match="no hi"):
        program(question="hi", then="fail")
    with dspy.context(lm=lm(), callbacks=[Diary()]):
        program(question="hi")
    after = program.dx.metrics()
    assert (after["count"] - before["count"], after["failures"] - before["failures"]) == (2, 1)
    last, failed = program.dx.executions(2)
    assert (last["method"], last["error"], failed["method"]) == ("__call__", None, "__call__")
    assert "no hi" in failed["error"]


def test_the_modules_own_exception_keeps_its_remote_traceback(client: Any) -> None:
    for callbacks in ([], [Diary()]):
        with dspy.context(lm=lm(), callbacks=callbacks), pytest.raises(ValueError, match="no hi") as raised:
            client.module("program")(question="hi", then="fail")
        cause = raised.value.__cause__
        assert isinstance(cause, dx.RemoteError)
        assert cause.id == "program/program" or cause.id == "program"
        assert "in forward" in cause.remote_traceback


def test_arguments_that_are_called_like_ours_are_the_programs_own(client: Any) -> None:
    with pytest.raises(TypeError, match="timeout"):
        client.module("plain")(timeout=3)


def test_a_module_of_one_kind_is_called_both_ways(client: Any) -> None:
    for id, told in (("loud", 6), ("only_async", 6)):
        module, seen = client.module(id), []
        for callbacks in ([], [Diary()]):
            with dspy.context(lm=scripted("a"), callbacks=callbacks):
                seen += [answer(module), str(asyncio.run(module.acall(question="q")).answer)]
            seen += [len(diary.lines) for diary in callbacks]
        assert seen[:4] == ["a"] * 4
        assert seen[4] > told


def test_a_record_that_is_too_large_for_a_frame_is_told_without_its_large_values(client: Any) -> None:
    bare, model = client.module("bare"), scripted("a")
    question = "x" * 14 * 2**20
    with dspy.context(lm=model, trace=[]):
        assert bare(question=question).answer == "a"
        (step,) = dspy.settings.trace
    assert "too large" in repr(model.history[0]["messages"])
    assert model.history[0]["outputs"] == ["[[ ## answer ## ]]\na"]
    assert (step[0], step[2].answer) == (bare, "a")


# -- given up


def test_a_straggler_that_lost_is_cancelled_in_its_process(client: Any) -> None:
    plain = client.module("plain")
    pairs = [(plain, {"x": "slow", "wait": True}), (plain, {"x": "quick"})]
    with dspy.context(lm=scripted("late")):
        found = dspy.Parallel(num_threads=3, timeout=1, straggler_limit=2, disable_progress_bar=True)(pairs)
    assert [p.x for p in found] == ["slow", "quick"]
    plain.dx.call("release")
    wait_until(lambda: plain.dx.call("how_it_ended") == ["CallCancelledError"])


@pytest.mark.parametrize("told", [False, True])
def test_a_cancelled_task_cancels_its_call_in_its_process(client: Any, told: bool) -> None:
    plain = client.start(Plain, id="left", concurrency=3)

    async def run() -> None:
        with dspy.context(lm=scripted("late"), callbacks=[Diary()] if told else []):
            task = asyncio.ensure_future(plain.acall(x="slow", wait=True))
            while not await asyncio.to_thread(plain.dx.call, "seen"):
                assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    plain.dx.call("release")
    wait_until(lambda: plain.dx.call("how_it_ended") == ["CallCancelledError"])
    client.stop("left")
    client.delete("left")


# -- logs


def test_log_records_of_dspy_come_when_they_are_asked_for(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    loud = client.module("loud")
    logging.getLogger("dspy").addHandler(caplog.handler)
    try:
        with dspy.context(lm=scripted("a")):
            loud(question="q")
            assert caplog.records == []
            with dspy.context(relay_logs="WARNING"):
                loud(question="q")
            hosted, caplog.records[:] = list(caplog.records), []
            Loud()(question="q")
    finally:
        logging.getLogger("dspy").removeHandler(caplog.handler)
    assert [(r.name, r.levelname, r.getMessage()) for r in hosted] == [
        (r.name, r.levelname, r.getMessage()) for r in caplog.records
    ]
    assert len(hosted) == 1


def test_warnings_come_with_the_log_records(client: Any) -> None:
    with dspy.context(lm=scripted("a"), relay_logs="ERROR"), pytest.warns(UserWarning, match="mind this") as warned:
        client.module("loud")(question="warn")
    assert [warning.filename.endswith("relayed_programs.py") for warning in warned] == [True]
