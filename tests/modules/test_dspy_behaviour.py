"""In everything but its parameters a dx.Module is a dspy.Module: each behaviour is run on both, and what is seen must be equal.

An observation makes its programs from the base class that it is given and returns plain data; an exception is data too.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy.primitives.module import ProgramMeta, set_attribute_by_name
from dspy.utils import DummyLM
from dspy.utils.callback import BaseCallback
from dspy_compat.programs import hops, outer

import dspex_runtime as dx

Observation = Callable[[Any], Any]
OBSERVATIONS: dict[str, Observation] = {}


def observed(function: Observation) -> Observation:
    OBSERVATIONS[function.__name__] = function
    return function


def programs(base: Any) -> tuple[Any, Any]:
    """A program of two hops and one around it, with places that a hosted one cannot have."""
    two_hops = hops(base)

    class Outer(outer(base)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.named[3] = two_hops()
            self.pair = (dspy.Predict("a -> b"),)

    return two_hops, Outer


def lm() -> DummyLM:
    return DummyLM([{"query": "look", "reasoning": "r", "answer": str(n)} for n in range(100)])


def raised(function: Callable[[], Any]) -> tuple[str, str]:
    try:
        return "returned", repr(function())
    except BaseException as exc:
        return type(exc).__name__, str(exc)


@observed
def what_an_instance_begins_with(base: Any) -> Any:
    hops, outer = programs(base)
    return [{k: v for k, v in vars(cls()).items() if k in ("_compiled", "callbacks", "history")} for cls in (hops, outer, base)]


@observed
def the_arguments_of_the_constructor(base: Any) -> Any:
    class Positional(base):  # type: ignore[misc]
        def __init__(self, a: int, *rest: int, b: int = 2, **more: int) -> None:
            self.got = (a, rest, b, more)

    return Positional(1, 2, 3, b=4, c=5).got, raised(Positional), raised(lambda: base(1, 2)), base(callbacks=[1]).callbacks


@observed
def a_new_of_the_users_own(base: Any) -> Any:
    class Mixin:
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            made = super().__new__(cls)
            made.made_with = (args, kwargs)
            return made

    class Mixed(base, Mixin):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

    class Other(base):  # type: ignore[misc]
        def __new__(cls) -> Any:
            return "something else"

    return Mixed(1, a=2).made_with, Other()


@observed
def the_kind_of_class(base: Any) -> Any:
    hops, _ = programs(base)
    module = hops()
    return (
        isinstance(hops, ProgramMeta),
        isinstance(module, dspy.Module),
        hops.__doc__,
        hops.__name__,
        module == hops(),
        {module: 1}[module],
    )


@observed
def the_names_of_parameters(base: Any) -> Any:
    module = programs(base)[1]()
    return (
        [name for name, _ in module.named_parameters()],
        [name for name, _ in module.named_predictors()],
        [name for name, _ in module.named_sub_modules()],
        [name for name, _ in module.named_sub_modules(type_=dspy.Predict)],
        len(module.parameters()),
        len(module.predictors()),
    )


@observed
def frozen_children(base: Any) -> Any:
    module = programs(base)[1]()
    module.hops._compiled = True
    model = lm()
    module.set_lm(model)
    frozen = [name for name, _ in module.named_sub_modules(skip_compiled=True)]
    module._compiled = True
    return [name for name, _ in module.named_parameters()], module.hops.one.lm is None, frozen, sorted(module.dump_state())


@observed
def attributes_set_by_name(base: Any) -> Any:
    module = programs(base)[1]()
    set_attribute_by_name(module, "hops.one.mark", 1)
    set_attribute_by_name(module, "named['x'].mark", 2)
    module.map_named_predictors(lambda predictor: predictor.deepcopy()) if not isinstance(module.pair, tuple) else None
    module.hops.map_named_predictors(lambda _: dspy.Predict("x -> y"))
    return module.hops.one.signature.signature, module.named["x"].mark, module.hops.two.predict.signature.signature


@observed
def its_text(base: Any) -> Any:
    return repr(programs(base)[0]()), repr(base())


@observed
def a_call(base: Any) -> Any:
    module = programs(base)[1]()
    with dspy.context(lm=lm(), track_usage=True):
        result = module(question="?")
    return (
        result.toDict(),
        result.get_lm_usage() is not None,
        len(module.history),
        len(module.hops.history),
        len(module.hops.one.history),
    )


@observed
def an_awaited_call(base: Any) -> Any:
    async def run() -> Any:
        with dspy.context(lm=lm()):
            return (await programs(base)[0]().acall(question="?")).toDict()

    return asyncio.run(run()), raised(lambda: asyncio.run(programs(base)[1]().acall(question="?")))


@observed
def programs_made_async_and_streaming(base: Any) -> Any:
    class Said(dspy.streaming.StatusMessageProvider):  # type: ignore[misc]
        def module_start_status_message(self, instance: Any, inputs: Any) -> str:
            return f"{type(instance).__name__} begins"

    async def run() -> Any:
        hops = programs(base)[0]
        with dspy.context(lm=lm()):
            awaited = await dspy.asyncify(hops())(question="?")
            stream = dspy.streamify(hops(), status_message_provider=Said())
            items = [item async for item in stream(question="?")]
        return awaited.answer, [getattr(item, "message", None) or item.answer for item in items]

    return asyncio.run(run())


@observed
def calls_that_fail(base: Any) -> Any:
    class Failing(base):  # type: ignore[misc]
        def forward(self) -> None:
            raise KeyError("inside")

    return raised(Failing()), raised(base()), raised(lambda: programs(base)[0]()(1, 2))


@observed
def forward_called_directly(base: Any) -> Any:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("dspy.primitives.module").addHandler(handler)
    try:
        with dspy.context(lm=lm()):
            module = programs(base)[0]()
            module(question="?")
            quiet = said.getvalue()
            module.forward(question="?")
    finally:
        logging.getLogger("dspy.primitives.module").removeHandler(handler)
    return quiet, said.getvalue()


@observed
def a_forward_put_on_the_instance(base: Any) -> Any:
    module = programs(base)[0]()
    module.forward = lambda question: dspy.Prediction(answer=question * 2)
    return module(question="x").answer


@observed
def the_trace(base: Any) -> Any:
    module = programs(base)[0]()
    with dspy.context(lm=lm(), trace=[]):
        module(question="?")
        trace = dspy.settings.trace
    predictors = module.predictors()
    return [(predictors.index(predictor), inputs) for predictor, inputs, _ in trace]


@observed
def callbacks(base: Any) -> Any:
    class Noting(BaseCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            self.seen.append(("start", type(instance).__name__, inputs))

        def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self.seen.append(("end", outputs is None, repr(exception)))

    own, everywhere = Noting(), Noting()
    module = programs(base)[0]()
    module.callbacks.append(own)
    with dspy.context(lm=lm(), callbacks=[everywhere]):
        module(question="?")
    return own.seen, everywhere.seen


@observed
def language_models(base: Any) -> Any:
    module, model = programs(base)[0](), lm()
    answers = [module.get_lm() is None]
    module.set_lm(model)
    answers.append(module.get_lm() is model)
    module.one.lm = lm()
    return answers, raised(module.get_lm), raised(base().get_lm)


@observed
def copies(base: Any) -> Any:
    module = programs(base)[1]()
    module.callbacks, module.history = [1], [2]
    module.hops.one.demos = [dspy.Example(question="q", query="x")]
    module.hops.one.signature = module.hops.one.signature.with_instructions("Look.")
    twin, fresh = module.deepcopy(), module.reset_copy()
    pickled = cloudpickle.loads(cloudpickle.dumps(module))
    return [
        (
            copied.hops is copied.again,
            copied.callbacks,
            copied.history,
            copied.plain is module.plain,
            copied.plain,
            [demo.toDict() for demo in copied.hops.one.demos],
            copied.hops.one.signature.instructions,
            copied.hops.one.stage == module.hops.one.stage,
            copied.hops.one.signature is module.hops.one.signature,
            list(vars(copied)) == list(vars(module)),
        )
        for copied in (twin, fresh, pickled)
    ]


@observed
def a_copy_of_what_cannot_be_copied(base: Any) -> Any:
    module = programs(base)[1]()
    module.lock = threading.Lock()
    twin = module.deepcopy()
    return twin.lock is module.lock, twin.hops is module.hops, twin.plain == module.plain, sorted(vars(twin))


@observed
def states(base: Any) -> Any:
    module, other = programs(base)[1](), programs(base)[1]()
    module.hops.one.demos = [dspy.Example(question="q", query="x").with_inputs("question")]
    module.hops.one.signature = module.hops.one.signature.with_instructions("Look.")
    other.load_state(module.dump_state())
    same = other.dump_state() == module.dump_state()
    other.load_state({**module.dump_state(json_mode=False), "metadata": {}})
    return module.dump_state(), same, type(other.hops.one.demos[0]).__name__, other.load_state(module.dump_state())


@observed
def states_that_do_not_fit(base: Any) -> Any:
    module = programs(base)[0]()
    module.one.demos = [{"question": "kept"}]
    before = module.dump_state()
    state = {**programs(base)[0]().dump_state()}
    del state["two.predict"]
    missing = raised(lambda: module.load_state(state))
    bad = {**before, "two.predict": {**before["two.predict"], "lm": {"_dspy_lm_class": "nowhere.At", "model": "x"}}}
    return missing, raised(lambda: module.load_state(bad)), module.dump_state() == before


@observed
def files(base: Any) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        hops = programs(base)[0]
        module = hops()
        module.one.demos = [dspy.Example(question="q", query="x")]
        loaded = []
        for name in ("state.json", "state.pkl"):
            module.save(path / name)
            other = hops()
            other.load(path / name, allow_pickle=True)
            loaded.append(other.dump_state() == module.dump_state())
        module.save(path / "program", save_program=True)
        whole = dspy.load(path / "program", allow_pickle=True)
        refusals = [
            raised(lambda: module.save(path / "state.txt"))[0],
            raised(lambda: hops().load(path / "state.pkl"))[0],
            raised(lambda: module.save(path / "state.json", save_program=True))[0],
            raised(lambda: dspy.load(path / "program"))[0],
        ]
        return loaded, whole.dump_state() == module.dump_state(), sorted(p.name for p in path.rglob("*")), refusals


@observed
def batches(base: Any) -> Any:
    class Doubling(base):  # type: ignore[misc]
        def forward(self, n: int) -> Any:
            if n == 2:
                raise ValueError("two")
            return dspy.Prediction(n=n * 2)

    examples = [dspy.Example(n=n).with_inputs("n") for n in range(4)]
    module = Doubling()
    quiet = {"num_threads": 2, "disable_progress_bar": True, "provide_traceback": False}
    results = module.batch(examples, **quiet)
    good, failed, errors = module.batch(examples, return_failed_examples=True, **quiet)
    stopped = raised(lambda: module.batch(examples, max_errors=1, **quiet))
    return [r and r.n for r in results], [r and r.n for r in good], [e.n for e in failed], [repr(e) for e in errors], stopped


@observed
def parts_of_other_programs(base: Any) -> Any:
    hops = programs(base)[0]
    with dspy.context(lm=lm()):
        best = dspy.BestOfN(hops(), N=2, reward_fn=lambda _args, _prediction: 1.0, threshold=1.0)
        answer = best(question="?").answer
    return answer, [name for name, _ in best.named_parameters()]


@observed
def evaluation_and_optimizers(base: Any) -> Any:
    hops = programs(base)[0]
    examples = [dspy.Example(question=f"{n}?", answer=str(n)).with_inputs("question") for n in range(4)]
    with dspy.context(lm=lm()):
        score = dspy.Evaluate(devset=examples, metric=lambda *_: True, num_threads=1, display_progress=False)(hops()).score
        optimizer = dspy.BootstrapFewShot(metric=lambda *_: True, max_bootstrapped_demos=2, max_labeled_demos=1)
        compiled = optimizer.compile(hops(), trainset=examples)
    labeled = dspy.LabeledFewShot(k=2).compile(hops(), trainset=examples)
    return score, compiled._compiled, [len(p.demos) for p in compiled.predictors()], [len(p.demos) for p in labeled.predictors()]


@pytest.mark.parametrize("observe", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_it_behaves_as_a_dspy_module(observe: Observation) -> None:
    logging.getLogger("dspy").setLevel(logging.ERROR if observe is not forward_called_directly else logging.WARNING)
    try:
        expected = observe(dspy.Module)
        assert expected is not None
        assert observe(dx.Module) == expected
    finally:
        logging.getLogger("dspy").setLevel(logging.INFO)
