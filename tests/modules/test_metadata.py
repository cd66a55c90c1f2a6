"""`__module_metadata__()`: what the original design names."""

from __future__ import annotations

import time
from typing import Any

import dspy

import dspex_runtime as dx


class Inner(dx.Module):
    def __init__(self, k: int = 1) -> None:
        self.k = k


class Answerer(dx.Module):
    module_config = {"team": "search"}  # noqa: RUF012
    temperature = dx.Parameter(float, default=0.2, max=2.0)
    answer = dx.predictor("question -> answer", kind="chain_of_thought", n=2)
    judge = dx.predictor("answer -> score: float", kind=dspy.Predict)
    inner = dx.sub_module(Inner, inline=True, k=3)
    named = dx.sub_module("pkg.mod:Name", inline=True)


def test_it_names_every_declaration() -> None:
    metadata: dict[str, Any] = Answerer.__module_metadata__()
    assert list(metadata) == ["module", "parameters", "predictors", "sub_modules", "config", "compiled_at"]
    assert metadata["module"] == f"{__name__}:Answerer"
    assert metadata["parameters"] == {"temperature": {"type": "float", "default": 0.2, "max": 2.0}}
    assert metadata["predictors"] == {
        "answer": {"signature": "question -> answer", "kind": "chain_of_thought", "n": 2},
        "judge": {"signature": "answer -> score", "kind": "dspy.predict.predict:Predict"},
    }
    assert metadata["sub_modules"] == {
        "inner": {"type": f"{__name__}:Inner", "inline": True, "k": 3},
        "named": {"type": "pkg.mod:Name", "inline": True},
    }
    assert metadata["config"] == {"team": "search"}
    assert metadata["compiled_at"] <= time.time()


def test_a_subclass_has_its_own() -> None:
    class Special(Answerer):
        temperature = dx.Parameter(float, default=1.0)
        answer = None
        module_config = {}  # noqa: RUF012

    metadata = Special.__module_metadata__()
    assert metadata["parameters"]["temperature"]["default"] == 1.0
    assert (list(metadata["predictors"]), metadata["config"]) == (["judge"], {})
    assert metadata["compiled_at"] >= Answerer.__module_metadata__()["compiled_at"]


def test_a_bare_module_declares_nothing() -> None:
    assert dx.Module.__module_metadata__()["predictors"] == {}
