"""A client of configs/served.yaml: asks ten things at once. `python client.py NAME [--async]`; start as many as you like."""

from __future__ import annotations

import asyncio
import sys
import time

import dspy

import dspex_runtime as dx

QUESTIONS = [f"What is a {term}?" for term in ("heap", "trie", "monad", "heap", "trie") * 2]


def ask(name: str) -> None:
    """Ask from threads, as any dspy program would: the module is a dspy.Module, whatever process it is in."""
    with dx.connect("served") as rt:
        tutor = rt.module("tutor")
        examples = [dspy.Example(question=question).with_inputs("question") for question in QUESTIONS]
        for question, result in zip(QUESTIONS, tutor.batch(examples, num_threads=10, disable_progress_bar=True), strict=True):
            print(f"{name}: {question} {result.answer}")


async def ask_async(name: str) -> None:
    """Ask from one event loop."""
    async with await dx.aio.connect("served") as rt:
        tutor = await rt.module("tutor")
        results = await asyncio.gather(*(tutor.acall(question=question) for question in QUESTIONS))
        for question, result in zip(QUESTIONS, results, strict=True):
            print(f"{name}: {question} {result.answer}")


if __name__ == "__main__":
    begun = time.perf_counter()
    who = sys.argv[1] if len(sys.argv) > 1 else "somebody"
    if "--async" in sys.argv:
        asyncio.run(ask_async(who))
    else:
        ask(who)
    print(f"{who}: {len(QUESTIONS)} answers in {time.perf_counter() - begun:.1f} s")
