"""A private copy of a program lasts over the calls of one copy of a proxy, and reaches nobody."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import cloudpickle
import dspy

from dspex_runtime.modules import variants
from dspex_runtime.modules.mirror.values import pack
from dspex_runtime.modules.variants import MOST, module_for, private_copy
from helpers.mirrored_programs import Nested, Remembering

NOTHING: dict[str, Any] = {"parts": {}, "cells": {}, "flags": {}, "replaced": {}}


def overlay(copy: str, digest: str, **edit: Any) -> dict[str, Any]:
    return {"copy": copy, "digest": digest, "image": pickle.dumps(NOTHING | edit)}


def attributes(**values: Any) -> dict[str, Any]:
    return {"attributes": {name: pack(name, value) for name, value in values.items()}}


def test_a_copy_has_the_states_of_its_overlay_and_the_program_its_own() -> None:
    program = Nested()
    demos, lm = [{"q": "a"}], dspy.LM("openai/some")
    twin = module_for(
        program,
        overlay("c1", "d1", parts={"cot.predict": attributes(demos=demos, lm=lm), "frozen.p": attributes(config={"n": 2})},
                cells={"temperature": attributes(value=1.5)}, flags={"": True},
                replaced={"sub": {"pickle": cloudpickle.dumps(dspy.ChainOfThought("a -> b"))}}),
    )  # fmt: skip
    assert (twin.cot.predict.demos, twin.frozen.p.config, twin.temperature, twin._compiled) == (demos, {"n": 2}, 1.5, True)
    assert twin.cot.predict.lm.model == "openai/some"
    assert isinstance(twin.sub, dspy.ChainOfThought)
    assert (program.cot.predict.demos, program.frozen.p.config, program.temperature, program._compiled) == ([], {}, 0.2, False)


def test_it_lasts_over_calls_and_takes_new_states() -> None:
    program = Remembering()
    twin = module_for(program, overlay("c2", "d1"))
    twin(question="q")
    assert module_for(program, overlay("c2", "d1")) is twin
    again = module_for(program, overlay("c2", "d2", parts={"answer": attributes(demos=[{}])}))
    assert (again is twin, again.memory, again.answer.demos, program.memory) == (True, ["q"], [{}], [])
    assert module_for(Remembering(), overlay("c2", "d2")) is not twin, "of another program it is another"


def test_only_the_last_few_are_kept() -> None:
    program = Remembering()
    first = module_for(program, overlay("k0", "d"))
    for n in range(1, MOST):
        module_for(program, overlay(f"k{n}", "d"))
    assert module_for(program, overlay("k0", "d")) is first
    module_for(program, overlay("more", "d"))
    assert len(variants._variants) == MOST
    assert "k1" not in variants._variants
    assert module_for(program, overlay("k0", "d")) is first


def test_threads_share_one_copy() -> None:
    program, found, barrier = Nested(), [], threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        found.append(module_for(program, overlay("threads", "d", parts={"cot.predict": attributes(demos=[{}])})))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(module) for module in found}) == 1
    assert found[0].cot.predict.demos == [{}]


def test_the_calls_of_an_lm_are_not_copied() -> None:
    program = Nested()
    program.cot.predict.lm = dspy.LM("openai/some")
    program.cot.predict.lm.history.append({"of": "another"})
    twin = private_copy(program)
    assert twin.cot.predict.lm is not program.cot.predict.lm
    assert (twin.cot.predict.lm.history, len(program.cot.predict.lm.history)) == ([], 1)
