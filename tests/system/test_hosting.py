"""What can be hosted, seen from outside: instances of `__main__`, saved states and programs, declared modules; what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from helpers.runtimes import Standing

pytestmark = pytest.mark.process

LM = {"class": "dspy.utils:DummyLM", "args": [[{"answer": "42"}] * 50]}


class Answerer(dx.Module):
    temperature = dx.Parameter(float, default=0.2)
    answer = dx.predictor("question -> answer")

    def forward(self, question: str) -> Any:
        return self.answer(question=question)

    def look(self) -> Any:
        return self.temperature, len(self.answer.demos), self.training, self.compile_status(), self.metrics()["count"]


class Bare(dx.Module):
    answer = dx.predictor("question -> answer")


class Guarded(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lock, self.seen = threading.Lock(), threading.local()
        self.held: Any = None

    def forward(self, text: str) -> Any:
        with self.lock:
            return text.upper()


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    return standing("hosting", lm=LM)


@pytest.fixture
def rt(shared_runtime: dx.Runtime) -> dx.Runtime:
    return shared_runtime


def test_a_declared_module_is_hosted_with_its_accessors_modes_and_predictors(rt: dx.Runtime) -> None:
    rt.start(Answerer, id="declared")
    ref: dx.ModuleRef = rt.ref("declared")  # type: ignore[assignment]
    assert ref.call(question="what?").answer == "42"
    assert ref.call("predict_answer", question="what?").answer == "42"
    assert ref.predict("answer", question="what?").answer == "42"
    with pytest.raises(dx.CallError, match="no predictor 'judge'; it has temperature, answer"):
        ref.predict("judge")
    ref.train()
    assert ref.call("look") == (0.2, 0, True, "not_compiled", 1)
    ref.eval()
    ref.call("set_temperature", 0.5)
    assert (ref.params["temperature"], ref.call("look")[:3]) == (0.5, (0.5, 0, False))


def test_a_module_without_forward_is_an_error_at_start(rt: dx.Runtime) -> None:
    with pytest.raises(dx.StartError, match=r"Bare is not hostable, forward_not_implemented: .* needs forward\(\) or aforward\(\)"):
        rt.start(Bare)


def test_an_instance_with_locks_is_hosted_and_one_with_a_connection_is_refused(rt: dx.Runtime) -> None:
    program = Guarded()
    with program.lock:
        rt.start(program, id="guarded")
    assert rt.ref("guarded").call("__call__", "a") == "A"
    with socket.socket() as program.held, pytest.raises(dx.UnserialisableError, match=r"Guarded\.held, a socket\.socket, cannot"):
        rt.start(program)


def test_a_saved_state_is_begun_with_and_what_was_set_since_wins(rt: dx.Runtime, tmp_path: Path) -> None:
    trained = Answerer()
    trained.temperature, trained.answer.demos = 0.9, [{"question": "q", "answer": "a"}]
    trained.save(tmp_path / "qa.json")
    rt.start(Answerer, id="loaded", load=tmp_path / "qa.json")
    ref: dx.ModuleRef = rt.ref("loaded")  # type: ignore[assignment]
    assert ref.call("look")[:2] == (0.9, 1)
    assert ref.params.version("temperature") == 1
    ref.params["temperature"] = 0.3
    rt.restart("loaded")
    assert ref.call("look")[:2] == (0.3, 1)


def test_a_state_of_another_program_is_an_error_at_start(rt: dx.Runtime, tmp_path: Path) -> None:
    dspy.ChainOfThought("question -> answer").save(tmp_path / "other.json")
    with pytest.raises(dx.StartError, match=r"other\.json is no state of Answerer: it has nothing for 'answer', only for predict"):
        rt.start(Answerer, load=str(tmp_path / "other.json"))


def test_a_saved_program_may_begin_with_another_saved_state(rt: dx.Runtime, tmp_path: Path) -> None:
    program = dspy.ChainOfThought("question -> answer")
    program.save(str(tmp_path / "program"), save_program=True)
    program.predict.demos = [{"question": "q", "reasoning": "r", "answer": "a"}]
    program.save(tmp_path / "state.json")
    rt.start(str(tmp_path / "program"), id="both", load=str(tmp_path / "state.json"))
    assert len(rt.ref("both").params["predict"]["demos"]) == 1


NOTEBOOK = '''
import json, sys
import dspy, pydantic
import dspex_runtime as dx

class Fact(pydantic.BaseModel):
    text: str
    sure: bool = True

class Ask(dspy.Signature):
    """Answer."""
    question: str = dspy.InputField()
    fact: Fact = dspy.OutputField()

class Inner(dspy.Module):
    def __init__(self, rule):
        self.rule = rule
    def forward(self, text):
        return self.rule(text)

class Program(dx.Module):
    k = dx.Parameter(int, default=3)
    ask = dx.predictor(Ask)
    shout = dx.sub_module(Inner, inline=True, rule=lambda text: text.upper())
    def __init__(self):
        self.rules = {"louder": lambda text: text + "!" * self.k}
    def forward(self, question):
        fact = self.ask(question=question).fact
        return dspy.Prediction(fact=Fact(text=self.rules["louder"](self.shout(text=fact.text))))

LM = {"class": "dspy.utils:DummyLM", "args": [[{"fact": {"text": "so", "sure": False}}] * 9]}
program = Program()
program.k = 2
program.save(sys.argv[1] + "/program", save_program=True)
program.save(sys.argv[1] + "/state.json")
with dx.Runtime({"version": 1, "name": "notebook", "lm": LM}) as rt:
    rt.start(program, id="instance")
    rt.start(Program, id="class")
    rt.start(sys.argv[1] + "/program", id="saved")
    rt.start(Program, id="state", load=sys.argv[1] + "/state.json")
    facts = {id: rt.ref(id).call(question="what?").fact for id in ("instance", "class", "saved", "state")}
    print(json.dumps({id: [fact.text, fact.sure, type(fact) is Fact] for id, fact in facts.items()}))
'''


@pytest.mark.usefixtures("shared_runtime")  # whose processes come and go meanwhile
def test_what_is_defined_in_main_is_hosted_in_every_form(tmp_path: Path) -> None:
    environment = {**os.environ, "DSPEX_RUNTIME_DIR": str(tmp_path / "run"), "PYTHONPATH": str(Path(dx.__file__).parents[1])}
    done = subprocess.run(  # from its standard input: as in a notebook, there is no file
        [sys.executable, "-W", "ignore", "-", str(tmp_path)],
        input=NOTEBOOK,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "instance": ["SO!!", True, True],
        "class": ["SO!!!", True, True],
        "saved": ["SO!!", True, True],
        "state": ["SO!!", True, True],
    }
