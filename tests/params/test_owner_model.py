"""The owner beside a plain dict: whatever is done, killed, torn and adopted again, it has the dict's values.

After a kill inside a write the value is the one before or the one that was being written; after the end of the whole runtime
the same holds for what is on the disk. Everything else must be exactly as the dict says, for readers too.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dspex_runtime.errors import ConstraintViolationError, ParameterError
from dspex_runtime.params import segments, volatile
from helpers.killing import dies_at
from helpers.owners import Keeper, specs

SPECS = specs(
    number=(int, {"default": 1, "min": 0, "max": 1000}),
    memory=(int, {"durability": "memory", "max": 1000}),
    safe=(int, {"durability": "fsync", "max": 1000}),
    text=str,
    items=list,
    weight=(float, {"requires_grad": True, "learning_rate": 1.0, "momentum": 0.5}),
)
DEFAULTS: dict[str, Any] = {name: spec.default for name, spec in SPECS.items()}
NUMBERS = st.integers(0, 1000)
VALUES = {
    "number": NUMBERS,
    "memory": NUMBERS,
    "safe": NUMBERS,
    "text": st.sampled_from(["", "short", "x" * 300, "y" * 70_000, "z" * 140_000]),
    "items": st.lists(NUMBERS, max_size=4),
    "weight": st.integers(-8, 8).map(float),
}
NAMES = st.sampled_from(sorted(SPECS))
CHANGES = NAMES.flatmap(lambda name: VALUES[name].map(lambda value: (name, value)))
GARBAGE = st.binary(max_size=40) | st.just(bytes(64)) | st.just(b"\xff\xff\xff\x00abcdefgh")


class OwnerBesideADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="dspex-model-"))
        self.keeper = Keeper(self.folder)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(volatile, "LIMIT_BYTES", 4000)
        self.patch.setattr(segments, "SEGMENT_BYTES", 4000)
        self.seen: dict[str, int] = {}  # versions that readers have seen
        self.history: dict[str, dict[int, Any]] = {}
        self.torn: set[Path] = set()

    @initialize()
    def begin(self) -> None:
        self.start()
        self.values = dict(DEFAULTS)
        self.grad = 0.0
        self.note()

    def start(self) -> None:
        self.owner = self.keeper.start(SPECS)
        self.view = self.keeper.view()

    def note(self) -> None:
        """Remember what is published under which version."""
        for name in SPECS:
            version = self.owner.version(name)
            known = self.history.setdefault(name, {}).setdefault(version, self.values[name])
            assert known == self.values[name], f"version {version} of {name} was {known} before"

    # -- what can be done

    @rule(change=CHANGES)
    def set(self, change: tuple[str, Any]) -> None:
        name, value = change
        before = self.owner.version(name)
        assert self.owner.set(name, value, who="model", expect=before).version == before + 1
        self.values[name] = value

    @rule(changes=st.dictionaries(NAMES, st.none(), min_size=1).flatmap(lambda d: st.fixed_dictionaries({n: VALUES[n] for n in d})))
    def set_many(self, changes: dict[str, Any]) -> None:
        self.owner.set_many(changes, who="model")
        self.values.update(changes)

    @rule(name=st.sampled_from(["number", "memory", "safe"]), value=st.sampled_from([1001, "x", 1.5, None, True]))
    def set_what_is_refused(self, name: str, value: Any) -> None:
        with pytest.raises(ConstraintViolationError):
            self.owner.set_many({"text": "not this either", name: value}, who="model")

    @rule(name=NAMES)
    def set_on_an_old_version(self, name: str) -> None:
        with pytest.raises(ParameterError) as caught:
            self.owner.set(name, self.values[name], who="model", expect=self.owner.version(name) - 1)
        assert caught.value.code == "conflict"

    @rule(gradient=st.integers(-4, 4))
    def step(self, gradient: int) -> None:
        self.owner.apply_gradient("weight", gradient, who="model")
        self.grad = 0.5 * self.grad + 0.5 * gradient
        self.values["weight"] -= self.grad

    @rule(name=NAMES)
    def reset(self, name: str) -> None:
        self.owner.reset(name, who="model")
        self.values[name] = DEFAULTS[name]
        if name == "weight":
            self.grad = 0.0

    @rule(name=NAMES, back=st.integers(1, 10))
    def rollback(self, name: str, back: int) -> None:
        version = self.owner.version(name) - back
        known = [record.version for record in self.keeper.records(name)]
        if version in known:
            assert self.owner.rollback(name, version, who="model").value == self.history[name][version]
            self.values[name] = self.history[name][version]

    @rule(value=NUMBERS)
    def change_in_place(self, value: int) -> None:
        self.keeper.boxes["items"].load().append(value)
        self.values["items"] = [*self.values["items"], value]
        (change,) = self.owner.republish()
        assert change.value == self.values["items"]

    @rule(change=CHANGES)
    def restore_an_earlier_image(self, change: tuple[str, Any]) -> None:
        image, values, grad = self.owner.image(), dict(self.values), self.grad
        self.set(change)
        self.note()
        self.owner.restore(image, who="model")
        self.values, self.grad = values, grad

    # -- and how it can end

    @rule()
    def killed(self) -> None:
        self.keeper.kill()
        self.start()

    @rule(change=CHANGES, instruction=st.integers(0, 1200))
    def killed_while_writing(self, change: tuple[str, Any], instruction: int) -> None:
        self.die_within(change, instruction)
        self.keeper.kill()
        self.start()
        self.one_of(change)

    @rule(change=CHANGES, instruction=st.integers(0, 1200), garbage=GARBAGE)
    def runtime_killed_while_writing(self, change: tuple[str, Any], instruction: int, garbage: bytes) -> None:
        self.die_within(change, instruction)
        self.end_of_the_runtime(garbage)
        self.one_of(change)

    @rule(garbage=GARBAGE)
    def runtime_killed_and_journal_folded(self, garbage: bytes) -> None:
        self.end_of_the_runtime(garbage, fold=True)

    def end_of_the_runtime(self, garbage: bytes, *, fold: bool = False) -> None:
        self.keeper.kill_runtime()
        self.seen = {}
        self.history.pop("memory", None)
        found = sorted(self.keeper.directory.glob("*.journal"), key=lambda path: int(path.stem))
        for path in found[-1:]:
            if path not in self.torn and path.stat().st_size:  # whoever comes next never writes behind a torn tail
                self.torn.add(path)
                with path.open("ab") as file:
                    file.write(garbage)
        if fold:
            self.keeper.fold()
        self.values["memory"] = DEFAULTS["memory"]
        self.start()

    def die_within(self, change: tuple[str, Any], instruction: int) -> None:
        self.acknowledged = not dies_at(instruction, lambda: self.owner.set(*change, who="model"), inside="dspex_runtime/params")

    def one_of(self, change: tuple[str, Any]) -> None:
        """Take over what is there after a kill inside a write: the old value, or the new one; acknowledged, the new one."""
        name, new = change
        found = self.owner.get(name)
        lost = name == "memory" and not self.seen
        assert found in ((self.values[name], new) if not self.acknowledged or lost else (new,))
        self.values[name] = copy.copy(found)

    # -- what must be true

    @invariant()
    def everybody_has_what_the_dict_has(self) -> None:
        if not hasattr(self, "values"):
            return
        self.note()
        for name, value in self.values.items():
            assert self.owner.get(name) == self.view[name] == value, name
            assert self.keeper.boxes[name].load() == value
            version = self.view.version(name)
            assert version == self.owner.version(name)
            assert version >= self.seen.get(name, 0), "a reader has seen a higher version"
            self.seen[name] = version
        assert self.owner.entry("weight").grad in (self.grad, None)
        assert self.keeper.reports == []

    def teardown(self) -> None:
        self.keeper.kill_runtime()
        self.patch.undo()
        shutil.rmtree(self.folder)


TestOwnerBesideADict = OwnerBesideADict.TestCase
TestOwnerBesideADict.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
