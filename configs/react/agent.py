"""A clerk who looks things up: ReAct with three tools. A script as anybody has it; nothing in it knows where it runs."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

import dspy

PRICES = {"lamp": 24.5, "chair": 89.0, "table": 310.0}
STOCK = {"lamp": 12, "chair": 40, "table": 0}
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Ask(dspy.Signature):  # type: ignore[misc]  # dspy is not typed
    """Answer questions about the warehouse. Never guess a price or a number: look it up."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="one sentence")


def price(item: str) -> float:
    """Return the price of one item, in euros."""
    print("price of", item, flush=True)
    return PRICES[item.lower()]


def stock(item: str) -> int:
    """Return how many of an item are in stock."""
    print("stock of", item, flush=True)
    return STOCK[item.lower()]


def calculate(expression: str) -> float:
    """Return the value of an expression of numbers with + - * / and brackets."""
    print("calculate", expression, flush=True)
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
        case _:
            raise ValueError("only numbers, + - * / and brackets")


clerk = dspy.ReAct(Ask, tools=[price, stock, calculate], max_iters=6)
