"""What test_parameters hosts: a server and modules whose parameters are set from inside and outside."""

from __future__ import annotations

from typing import Any

import dspy
from gates import until_exists

import dspex_runtime as dx


class Thermostat(dx.GenServer):
    """A server with parameters and a state of its own that checkpoints keep."""

    target = dx.Parameter(float, default=20.0, min=5.0, max=30.0)
    odd = dx.Parameter(int, default=1, check=lambda value: value % 2 == 1)
    weights = dx.Parameter("array", default=[0.0, 0.0], requires_grad=True, learning_rate=0.5, momentum=0.0)
    curve = dx.Parameter("array", default=[0.0])

    def init(self, readings: int = 0) -> int:
        return readings

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:
        match request:
            case "read":
                return dx.Reply(state, state + 1)
            case ["set", name, value]:
                setattr(self, name, value)
            case ["wait", path]:
                until_exists(path)
        return dx.Reply(self.target, state)

    def set_state(self, saved: int, state: int) -> int:
        return saved


class Answerer(dx.Module):
    """Says what it would ask with, so that no LM is needed."""

    temperature = dx.Parameter(float, default=0.2, min=0.0, max=2.0)

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.notes: list[str] = []

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(
            demos=[dict(demo) for demo in self.answer.demos],
            instructions=self.answer.signature.instructions,
            temperature=self.temperature,
            training=self.training,
            notes=list(self.notes),
        )

    def learn(self, answer: str) -> None:
        """Change a predictor by plain assignment, as an optimizer does."""
        self.answer.demos = [dspy.Example(question="q", answer=answer).with_inputs("question")]
        self.answer.signature = self.answer.signature.with_instructions(f"Say {answer}.")
        self.notes.append(answer)

    def fail_after_learning(self, answer: str) -> None:
        """Change a predictor, and raise."""
        self.learn(answer)
        raise LookupError(answer)

    def wait(self, path: str) -> float:
        """Be busy, and say what the temperature was set to meanwhile."""
        until_exists(path)
        return self.temperature

    def get_state(self) -> Any:
        """Return what belongs to it and is no parameter."""
        return {"notes": self.notes}

    def set_state(self, state: Any) -> None:
        """Take it back."""
        self.notes = list(state["notes"])


class Late(dspy.Module):
    """A plain module that makes its predictor only when it is set up."""

    def setup(self) -> None:
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(demos=len(self.answer.demos))


class Styled(dx.GenServer):
    """Reads a parameter of the runtime's."""

    style = dx.Shared("style")

    def init(self) -> None:
        return None

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:
        return dx.Reply(self.style, state)
