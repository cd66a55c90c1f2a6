"""Edits of a mirror are found by looking at it, and say only what is another than the process has."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.modules.mirror import image as mirror_image
from dspex_runtime.modules.mirror.changes import Edits
from dspex_runtime.modules.mirror.tree import Tree
from helpers.mirrored_programs import Nested


class Root(dspy.Module):
    """Stands for a proxy."""


class Mirrored:
    def __init__(self) -> None:
        self.root = Root()
        self.tree = Tree(self.root, self.root.__dict__, None, "ref")  # type: ignore[arg-type]
        self.tree.take(mirror_image.take(Nested()), edited=(), anew=())
        self.edits = Edits(self.root, self.tree)
        self.edits.take(self.tree.parts)


@pytest.fixture
def it() -> Mirrored:
    return Mirrored()


def replace(root: Any) -> None:
    root.cot = dspy.ChainOfThought("a -> b")


def callbacks(root: Any) -> None:
    root.cot.predict.callbacks = [object()]


CHANGES: list[tuple[Any, set[str], dict[str, Any]]] = [
    (lambda r: None, set(), {}),
    (lambda r: setattr(r.sub.p, "demos", [{}]), {"sub.p"}, {"parts": {"sub.p": ["demos"]}}),
    (lambda r: r.sub.p.demos.append({}), {"sub.p"}, {"parts": {"sub.p": ["demos"]}}),
    (lambda r: setattr(r.sub.p, "demos", []), {"sub.p"}, {}),
    (lambda r: r.cot.predict.update_config(n=2), {"cot.predict"}, {"parts": {"cot.predict": ["config"]}}),
    (lambda r: setattr(r.sub, "_compiled", True), {"sub"}, {"flags": {"sub": True}}),
    (lambda r: setattr(r, "_compiled", True), {""}, {"flags": {"": True}}),
    (lambda r: setattr(r.frozen.p, "lm", None), set(), {}),
    (lambda r: r.tags.value.append("b"), {"tags"}, {"cells": {"tags": ["value"]}}),
    (callbacks, {"cot.predict"}, {}),
    (replace, {"cot", "cot.predict"}, {"replaced": {"cot": 2}}),
    (lambda r: setattr(r, "mine", dspy.Predict("a -> b")), set(), {}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "pending", "expected"), CHANGES, ids=range(len(CHANGES)))
def test_what_is_changed_is_found_and_sent(change: Any, pending: set[str], expected: dict[str, Any], it: Mirrored) -> None:
    assert it.edits.untouched()
    change(it.root)
    assert it.edits.untouched() == (not pending and "mine" not in it.root.__dict__)
    assert it.edits.pending() == pending
    edit = it.edits.of(pending, {"cot.predict": 2, "sub.p": 5})
    sent = {
        "parts": {name: list(each["attributes"]) for name, each in edit["parts"].items()},
        "cells": {name: list(each["attributes"]) for name, each in edit["cells"].items()},
        "flags": edit["flags"],
        "replaced": {name: each["expect"].get("cot.predict") for name, each in edit["replaced"].items()},
    }
    assert {key: value for key, value in sent.items() if value} == expected
    if "sub.p" in edit["parts"]:
        assert edit["parts"]["sub.p"]["expect"] == 5
    if not edit["replaced"]:
        it.edits.take(pending)
        assert it.edits.untouched()


def test_what_cannot_be_sent_is_named(it: Mirrored) -> None:
    import threading

    it.root.sub.p.demos = [threading.Lock()]
    with pytest.raises(UnserialisableError, match=r"sub\.p\.demos cannot be sent to its process: TypeError"):
        it.edits.of(it.edits.pending(), {})


def test_what_was_noted_stays_until_it_is_taken(it: Mirrored) -> None:
    it.edits.note(["sub.p"])
    assert it.edits.pending() == {"sub.p"} == it.edits.pending()
    it.edits.take(["sub.p"])
    assert it.edits.pending() == set()


def test_a_whole_has_a_digest_that_changes_with_it(it: Mirrored) -> None:
    image, digest = it.edits.whole()
    assert it.edits.whole() == (image, digest)
    it.root.sub.p.demos = [{}]
    assert it.edits.whole()[1] != digest
