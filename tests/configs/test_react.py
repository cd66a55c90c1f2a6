from __future__ import annotations

import dspy
import pytest
from react import agent
from react.offline import lm

QUESTIONS = {
    "What do 3 lamps cost?": ("3 lamps cost 73.50 euros.", ["price", "calculate", "finish"]),
    "What does a table cost?": ("1 table cost 310.00 euros.", ["price", "finish"]),
    "How many chairs are in stock?": ("There are 40 chairs in stock.", ["stock", "finish"]),
    "Who are you?": ("I know lamps, chairs and tables only.", ["finish"]),
}


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()], ids=lambda adapter: type(adapter).__name__)
@pytest.mark.parametrize(("question", "answer", "tools"), [(q, *rest) for q, rest in QUESTIONS.items()], ids=QUESTIONS)
def test_the_clerk_looks_up_what_it_is_asked(question: str, answer: str, tools: list[str], adapter: dspy.Adapter) -> None:
    with dspy.context(lm=lm, adapter=adapter):
        result = agent.clerk(question=question)
    assert result.answer == answer
    assert [value for name, value in result.trajectory.items() if name.startswith("tool_name")] == tools


@pytest.mark.parametrize(("expression", "value"), [("3 * 24.5", 73.5), ("(1 + 2) / 4 - 1", -0.25)])
def test_the_calculator_calculates(expression: str, value: float) -> None:
    assert agent.calculate(expression) == value


@pytest.mark.parametrize("expression", ["__import__('os')", "2 ** 9", "a", "'x'"])
def test_the_calculator_does_nothing_else(expression: str) -> None:
    with pytest.raises(ValueError, match="only numbers"):
        agent.calculate(expression)
