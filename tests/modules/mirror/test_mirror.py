"""A proxy shows dspy what the program in the other process is, and what is done to it here is done there."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

import dspex_runtime as dx
from dspex_runtime.errors import CallError, ConstraintViolationError, ParameterError, UnserialisableError
from helpers.mirrored_programs import Nested, PromptedLM, Remembering, TwoHops, learned
from helpers.runtimes import Standing

pytestmark = pytest.mark.process

DEMO = {"question": "1 + 1", "answer": "2"}


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    rt = standing("mirror", runtime={"spares": 2}, tree={"max_restarts": 1000, "children": []})
    rt.start(Nested, id="nested")
    return rt


@pytest.fixture
def client(shared_runtime: dx.Runtime) -> Iterator[Any]:
    """A client of its own for each test: its pipes end with it."""
    with dx.connect("mirror") as rt:
        yield rt


@pytest.fixture
def start(client: Any) -> Iterator[Any]:
    """Start a module for this test alone."""
    started = []

    def begin(target: Any, **options: Any) -> Any:
        started.append("m0")
        return client.start(target, id="m0", **options)

    yield begin
    for id in started:
        client.stop(id)
        client.delete(id)


# -- what dspy sees


def test_it_has_the_parts_of_the_program_under_their_names_and_in_their_order(client: Any) -> None:
    proxy, local = client.module("nested"), Nested()
    for listing in ("named_parameters", "named_predictors", "named_sub_modules"):
        assert [name for name, _ in getattr(proxy, listing)()] == [name for name, _ in getattr(local, listing)()], listing
    assert {name: type(part) for name, part in proxy.named_predictors()} == {
        name: dspy.Predict for name, _ in local.named_predictors()
    }
    assert isinstance(proxy, dspy.Module)
    assert not isinstance(proxy, dspy.Predict)
    assert isinstance(proxy.cot, dspy.ChainOfThought)
    assert proxy.dup is proxy.sub
    assert (proxy.frozen._compiled, proxy.sub._compiled, proxy._compiled) == (True, False, False)
    assert (type(proxy.a), type(proxy.t), list(proxy.d)) == (list, tuple, list(local.d))
    assert (type(proxy).__name__, type(proxy.sub).__name__) == ("Nested", "Sub")


def test_its_state_is_that_of_the_program(client: Any, tmp_path: Path) -> None:
    proxy, local = client.module("nested"), Nested()
    assert proxy.dump_state() == local.dump_state()
    assert repr(proxy) == repr(local)
    proxy.save(tmp_path / "state.json")
    local.load(tmp_path / "state.json")
    with pytest.raises(UnserialisableError, match="in another process"):
        proxy.save(tmp_path / "program", save_program=True)


def test_nothing_is_fetched_for_a_plain_call(start: Any) -> None:
    proxy = start(Remembering)
    assert proxy(question="q").answer == "q"
    assert vars(dspy.BaseModule)["__dict__"].__get__(proxy)["$mirror"].loaded is False


def test_methods_and_plain_attributes_of_the_program_are_not_its_own(client: Any) -> None:
    proxy = client.module("nested")
    for name in ("corpus", "anything"):
        with pytest.raises(AttributeError, match=f"'{name}'.*in its process"):
            getattr(proxy, name)
    proxy.note = "mine"
    assert (proxy.note, client.module("nested").__dict__.get("note")) == ("mine", None)
    del proxy.note
    assert not hasattr(proxy, "note")
    with pytest.raises(CallError, match="Sub is a part of a program"):
        proxy.sub(q="q")


def test_a_hosted_predict_is_a_predict(start: Any, client: Any) -> None:
    proxy = start(dspy.Predict("question -> answer", n=2))
    assert isinstance(proxy, dspy.Predict)
    assert [(name, part is proxy) for name, part in proxy.named_parameters()] == [("self", True)]
    assert list(client.module("m0").signature.fields) == ["question", "answer"]
    assert client.module("m0").get_config() == {"n": 2}
    assert client.module("m0").dump_state().keys() == dspy.Predict("q -> a").dump_state().keys()
    assert repr(client.module("m0")).startswith("Predict(StringSignature")
    proxy.demos = [DEMO]
    with dspy.context(lm=DummyLM([{"answer": "a"}] * 2)), pytest.raises(ValueError, match="Positional"):
        proxy("q")
    with dspy.context(lm=DummyLM([{"answer": "a"}] * 2)):
        assert proxy(question="q").answer == "a"
    assert client.ref("m0").params["self"]["demos"] == [DEMO]
    outer = dspy.Module()
    outer.inner = client.module("m0")
    assert [name for name, _ in outer.named_parameters()] == ["inner"]


def test_its_source_is_that_of_the_program(client: Any, start: Any) -> None:
    start(TwoHops)
    assert inspect.getsource(type(client.module("m0"))) != ""  # of what is not fetched yet: the proxy's
    proxy = client.module("m0")
    assert proxy.named_predictors()
    assert inspect.getsource(type(proxy)) == inspect.getsource(TwoHops)
    module = type(proxy).__module__
    assert module in sys.modules


# -- edits


def edited_attribute(program: Any) -> None:
    program.cot.predict.demos = [DEMO]


def edited_in_place(program: Any) -> None:
    program.named_predictors()[0][1].demos.append(DEMO)


def edited_instructions(program: Any) -> None:
    program.cot.predict.signature = program.cot.predict.signature.with_instructions("Be brief.")


def edited_signature_in_place(program: Any) -> None:
    program.cot.predict.signature.instructions = "Be brief."


def edited_fields(program: Any) -> None:
    program.cot.predict.signature = program.cot.predict.signature.append("score", dspy.OutputField(), float)


def edited_config(program: Any) -> None:
    program.cot.predict.update_config(temperature=0.5, n=3)


def edited_flags(program: Any) -> None:
    program._compiled = True
    program.sub._compiled = True


def edited_frozen(program: Any) -> None:
    program.frozen.p.demos = [DEMO]


def edited_by_load_state(program: Any) -> None:
    state = program.dump_state()
    state["cot.predict"]["signature"]["instructions"] = "Be brief."
    state["cot.predict"]["demos"] = [DEMO]
    state["temperature"] = {"value": 1.5}
    program.load_state(state)


def edited_by_replacing(program: Any) -> None:
    program.map_named_predictors(lambda p: p if isinstance(p, dspy.Module) and p.demos else dspy.Predict(p.signature, n=2))


def edited_sub_module(program: Any) -> None:
    program.cot = dspy.ChainOfThought("question -> answer, score: float")


def edited_list(program: Any) -> None:
    program.tags.append("b")
    program.temperature = 0.75


def shown(program: Any) -> Any:
    """All that an edit may change, as plain data."""
    return (
        [(name, p.dump_state(), list(p.signature.fields), p.config) for name, p in program.named_predictors()],
        [(name, sub._compiled) for name, sub in program.named_sub_modules() if isinstance(sub, dspy.Module)],
        program.frozen.p.demos,
        (program.temperature, program.tags),
    )


class Untupled(Nested):
    """Without what dspy itself cannot replace: an entry of a tuple, a key that is no text, a list within a list."""

    def __init__(self) -> None:
        super().__init__()
        self.t = ()  # type: ignore[assignment]
        self.a = self.a[:2]
        del self.d[3], self.d["l"]  # type: ignore[arg-type]


EDITS = [edited_attribute, edited_in_place, edited_instructions, edited_signature_in_place, edited_fields, edited_config,
         edited_flags, edited_frozen, edited_by_load_state, edited_by_replacing, edited_sub_module, edited_list]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_what_is_done_to_a_proxy_is_done_to_the_program(edit: Any, client: Any, start: Any) -> None:
    local, proxy = Untupled(), start(Untupled)
    edit(local)
    edit(proxy)
    assert shown(proxy) == shown(local)
    with dspy.context(lm=PromptedLM(), track_usage=False):
        there, here = proxy(question="q"), local(question="q")
    assert dict(there) == dict(here)
    other = client.module("m0")
    assert shown(other) == shown(local), "another proxy sees it"
    assert shown(proxy) == shown(local)


def test_an_edit_is_kept_when_the_process_is_killed(client: Any, start: Any) -> None:
    proxy = start(TwoHops)
    proxy.load_state({**proxy.dump_state(), "rephrase": {**proxy.dump_state()["rephrase"], "demos": [DEMO]}})
    client.kill("m0")
    client.wait("m0")
    assert client.module("m0").rephrase.demos == [DEMO]
    assert proxy.rephrase.demos == [DEMO]


def test_callbacks_and_history_stay_here(client: Any) -> None:
    proxy = client.module("nested")
    versions = client.ref("nested").params.versions()
    proxy.cot.predict.callbacks = [dspy.utils.callback.BaseCallback()]
    with dspy.context(lm=PromptedLM()):
        proxy(question="q")
    assert len(proxy.cot.predict.history) == 1
    assert client.ref("nested").params.versions() == versions


def test_a_parameter_is_an_attribute_with_a_value(client: Any, start: Any) -> None:
    proxy, other = start(Nested), client.module("m0")
    proxy.temperature = 1
    assert (client.ref("m0").params["temperature"], other.temperature) == (1.0, 1.0)
    other.dx.params["temperature"] = 0.5
    assert proxy.temperature == 0.5
    with pytest.raises(ConstraintViolationError, match=r"temperature of .* at most 2"):
        proxy.temperature = 3
    assert proxy.temperature == 0.5
    cell = dict(proxy.named_parameters())["temperature"]
    cell.reset()
    assert (other.temperature, cell.version) == (0.2, 4)


def test_the_same_lm_comes_back(client: Any, start: Any) -> None:
    lm = DummyLM([{"query": "q"}, {"reasoning": "r", "answer": "first"}, {"query": "q"}, {"reasoning": "r", "answer": "second"}])
    proxy = start(TwoHops)
    proxy.set_lm(lm)
    assert proxy(question="q").answer == "first"
    other = client.module("m0")
    assert (proxy.get_lm() is lm, other.get_lm() is lm) == (True, True)
    assert other(question="q").answer == "second"
    assert len(lm.history) == 4


def test_an_lm_is_shown_without_its_key_and_works_with_it_there(client: Any, start: Any) -> None:
    program = TwoHops()
    program.set_lm(dspy.LM("openai/some", api_key="secret", temperature=0.5, engine_name="x"))
    proxy = start(program)
    lm = proxy.get_lm()
    assert (lm.model, lm.kwargs["temperature"], "api_key" in lm.kwargs) == ("openai/some", 0.5, False)
    assert b"secret" not in pickle.dumps(lm.__dict__ | {"_engine_lock": None})
    proxy.set_lm(lm.copy(temperature=1.0))
    assert client.module("m0").get_lm().kwargs["temperature"] == 1.0
    assert client.ref("m0").params["rephrase"]["lm"]["temperature"] == 1.0


def test_the_lm_that_the_module_is_configured_with_can_be_asked_for(client: Any, start: Any) -> None:
    proxy = start(TwoHops, lm=PromptedLM())
    lm = proxy.get_lm()
    assert (type(lm), lm.history) == (PromptedLM, [])
    other = PromptedLM()
    with dspy.context(lm=other):
        assert proxy.get_lm() is None
    best = dspy.BestOfN(module=proxy, N=2, reward_fn=lambda *_: 0.0, threshold=1.0)
    with dspy.context(trace=[]):
        assert best(question="q").answer
    with dspy.context(lm=lm, trace=[]):
        assert proxy(question="q").answer
    assert len(client.ref("m0").params) == 2


# -- two proxies


def test_proxies_see_each_others_edits_in_version_order(client: Any, start: Any) -> None:
    one, two = start(TwoHops), client.module("m0")
    held = two.rephrase
    for n in range(5):
        one.rephrase.demos = [{"question": str(n)}]
        one.set_lm(None)
        assert two.rephrase.demos == [{"question": str(n)}]
        two.answer.predict.signature = two.answer.predict.signature.with_instructions(f"number {n}")
        two.set_lm(None)
        assert one.answer.predict.signature.instructions == f"number {n}"
    assert two.rephrase is held


def test_a_conflicting_edit_is_refused_and_names_both_versions(client: Any, start: Any) -> None:
    one, two = start(TwoHops), client.module("m0")
    mine = one.rephrase
    two.rephrase.demos = [{"question": "theirs"}]
    two.set_lm(None)
    mine.demos = [{"question": "mine"}]
    one.answer.predict.demos = [{"question": "mine too"}]
    text = r"rephrase has version 2, not 1 as expected: client#\d+ set it; nothing was set in 'm0'; .*edit that, if"
    with pytest.raises(ParameterError, match=text) as caught:
        one(question="q")
    assert (caught.value.code, caught.value.name) == ("conflict", "rephrase")
    assert [p.demos for p in one.predictors()] == [[{"question": "theirs"}], []], "the edit is taken back, all of it"
    assert [p.demos for p in two.predictors()] == [[{"question": "theirs"}], []]
    mine.demos.append({"question": "mine"})
    one.set_lm(None)
    assert len(two.rephrase.demos) == 2


def test_an_edit_of_another_predictor_is_no_conflict(client: Any, start: Any) -> None:
    one, two = start(TwoHops), client.module("m0")
    mine = one.rephrase
    two.answer.predict.demos = [DEMO]
    two.set_lm(None)
    mine.demos = [{"question": "mine"}]
    one.set_lm(None)
    assert [p.demos for p in two.predictors()] == [p.demos for p in one.predictors()] == [[{"question": "mine"}], [DEMO]]


def test_what_the_program_does_to_itself_is_seen(start: Any) -> None:
    proxy = start(Remembering)
    predictor = proxy.answer
    proxy.dx.call("learn", "q", "a")
    assert [dict(demo) for demo in predictor.demos] == []  # until the proxy is looked at again
    assert proxy.answer is predictor
    assert [dict(demo) for demo in proxy.answer.demos] == [{"question": "q", "answer": "a"}] == [dict(d) for d in predictor.demos]
    proxy.dx.call("grow", 2)
    assert [name for name, _ in proxy.named_parameters()] == ["answer", "extra[0]", "extra[1]"]
    proxy.dx.call("grow", 1)
    assert [name for name, _ in proxy.named_parameters()] == ["answer", "extra[0]"]


def test_a_thousand_states_in_a_row(start: Any) -> None:
    proxy = start(dspy.Predict("question -> answer"))
    states = [proxy.dump_state() for _ in range(2)]
    states[1]["signature"]["instructions"] = "Be brief."
    for n in range(1000):
        proxy.load_state(states[n % 2])
    assert proxy.dump_state() == states[1]
    assert proxy.dx.params["self"]["signature"]["instructions"] == "Be brief."


def test_a_refused_state_changes_nothing(client: Any, start: Any) -> None:
    proxy = start(Untupled)
    before = shown(proxy)
    state = proxy.dump_state()
    state["cot.predict"]["demos"] = [DEMO]
    with pytest.raises(ConstraintViolationError):
        proxy.load_state({**state, "temperature": {"value": 7.0}})
    del state["sub.p"]
    with pytest.raises(KeyError):
        proxy.load_state(state)
    assert shown(proxy) == shown(client.module("m0")) == before


def test_an_edit_that_cannot_be_sent_says_whose_it_is(start: Any) -> None:
    import threading

    proxy = start(TwoHops)
    proxy.rephrase.demos = [{"question": threading.Lock()}]
    with pytest.raises(UnserialisableError, match=r"rephrase\.demos cannot be sent"):
        proxy(question="q")
    proxy.rephrase.demos = []
    with dspy.context(lm=PromptedLM()):
        assert proxy(question="q").answer


# -- copies


def test_a_copy_is_in_the_same_process_and_touches_nobody(client: Any, start: Any) -> None:
    proxy = start(Remembering)
    one, two = proxy.deepcopy(), copy.deepcopy(proxy)
    assert [one(question="a").answer, proxy(question="q").answer, one(question="b").answer] == ["a", "q", "a,b"]
    # What is no parameter a copy has from the program as it is at the copy's first call.
    assert (two(question="c").answer, proxy(question="r").answer) == ("q,c", "q,r")
    one.answer.demos = [DEMO]
    assert one(question="d").answer == "a,b,d", "an edited copy is the same copy"
    assert (proxy.answer.demos, client.module("m0").answer.demos) == ([], [])
    assert one.deepcopy().answer.demos == [DEMO]
    assert one.dx == proxy.dx


@pytest.mark.parametrize(
    "use",
    [
        lambda ref: ref.checkpoint(),
        lambda ref: ref.call(question="?"),
        lambda ref: asyncio.run(ref.acall(question="?")),
        lambda ref: ref.eval(),
        lambda ref: ref.cast(question="?"),
    ],
    ids=["checkpoint", "call", "acall", "eval", "cast"],
)
def test_whatever_is_done_through_dx_finds_what_was_edited_before(start: Any, use: Callable[[Any], Any]) -> None:
    proxy = start(Remembering)
    proxy.answer.demos = [DEMO]
    use(proxy.dx)
    assert proxy.dx.params["answer"]["demos"] == [DEMO]


def test_a_reset_copy_keeps_signature_and_config_as_in_dspy(start: Any) -> None:
    program = Nested()
    program.cot.predict.demos = [DEMO]
    program.cot.predict.signature = program.cot.predict.signature.with_instructions("Be brief.")
    program.cot.predict.config = {"temperature": 0.5}
    proxy = start(Nested)
    proxy.cot.predict.__dict__.update(
        demos=[DEMO], signature=proxy.cot.predict.signature.with_instructions("Be brief."), config={"temperature": 0.5}
    )
    proxy.temperature = program.temperature = 1.5
    assert shown(proxy.reset_copy()) == shown(program.reset_copy())
    with dspy.context(lm=PromptedLM()):
        for change in (lambda p: p, lambda p: p.deepcopy(), lambda p: p.reset_copy()):
            assert dict(change(proxy)(question="q")) == dict(change(program)(question="q"))


def test_a_copy_of_a_parameter_is_checked_and_its_own(start: Any) -> None:
    proxy = start(Nested)
    other = proxy.deepcopy()
    other.temperature = 1.5
    with pytest.raises(ConstraintViolationError):
        other.temperature = 3
    assert (other.temperature, proxy.temperature, proxy.dx.params["temperature"]) == (1.5, 0.2, 0.2)


def test_proxies_and_copies_can_be_pickled(client: Any, start: Any) -> None:
    proxy = start(TwoHops)
    proxy.rephrase.demos = [DEMO]
    again = pickle.loads(pickle.dumps(proxy))
    assert again.rephrase.demos == [DEMO] == client.module("m0").rephrase.demos
    other = proxy.deepcopy()
    other.rephrase.demos = []
    again = pickle.loads(pickle.dumps(other))
    assert (again.rephrase.demos, proxy.rephrase.demos) == ([], [DEMO])
    with dspy.context(lm=PromptedLM()):
        assert dict(again(question="q")) == dict(other(question="q"))


def test_a_copied_proxy_in_another_program(start: Any) -> None:
    outer = dspy.Module()
    outer.inner = start(TwoHops)
    assert [name for name, _ in outer.named_parameters()] == ["inner.rephrase", "inner.answer.predict"]
    other = outer.reset_copy()
    other.inner.rephrase.demos = [DEMO]
    assert learned(outer) != learned(other)


def test_tasks_edit_and_call(start: Any) -> None:
    proxy = start(TwoHops, concurrency=2)

    async def work() -> list[Any]:
        proxy.rephrase.demos = [DEMO]
        with dspy.context(lm=PromptedLM()):
            return [dict(each) for each in await asyncio.gather(*(proxy.acall(question="q") for _ in range(4)))]

    local = TwoHops()
    local.rephrase.demos = [DEMO]
    with dspy.context(lm=PromptedLM()):
        assert asyncio.run(work()) == [dict(local(question="q"))] * 4


# -- another program behind the same reference


class Stricter(TwoHops):
    """The same predictors in another program."""

    def forward(self, question: str) -> Any:
        return super().forward(question.strip())


def test_after_a_swap_the_proxies_of_all_clients_show_the_other_program(
    start: Any, client: Any, shared_runtime: dx.Runtime
) -> None:
    proxy, others = start(TwoHops), shared_runtime.module("m0")
    kept = proxy.rephrase
    kept.demos = [DEMO]
    assert len(others.named_predictors()) == 2
    assert (type(proxy).__name__, type(others).__name__) == ("TwoHops", "TwoHops")
    incarnation = client.info("m0").incarnation
    swapped = client.swap("m0", Stricter)
    assert (swapped.id, swapped.incarnation, swapped.pid) == ("m0", incarnation, client.info("m0").pid)
    for each in (proxy, others):
        assert each.rephrase.demos == [DEMO]
        assert (type(each).__name__, inspect.getsource(type(each))) == ("Stricter", inspect.getsource(Stricter))
    assert proxy.rephrase is kept
    client.swap("m0", Remembering)
    assert [[name for name, _ in each.named_predictors()] for each in (proxy, others)] == [
        [name for name, _ in Remembering().named_predictors()]
    ] * 2
    client.rollback("m0", 1)
    proxy.rephrase.demos = []
    client.ref("m0").push_edits()
    assert (client.ref("m0").params["rephrase"]["demos"], len(others.named_predictors())) == ([], 2)
