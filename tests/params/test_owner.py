"""The one writer: what a set does, in which order, what is refused, and what readers, holders and history have afterwards."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import (
    ConfigError,
    ConstraintViolationError,
    GradientNotRequiredError,
    ParameterError,
    ParameterNotFoundError,
)
from dspex_runtime.params.owner import Box, Owner
from dspex_runtime.params.spec import ParameterSpec, ParameterType
from dspex_runtime.types import Durability
from helpers.owners import Keeper, specs

SPECS = specs(
    temperature=(float, {"default": 0.2, "min": 0.0, "max": 2.0}),
    k=(int, {"default": 3, "durability": "memory"}),
    words=(list, {"default": ["a"]}),
    text=str,
    bias=("array", {"default": [0.0, 0.0], "requires_grad": True, "learning_rate": 0.5, "momentum": 0.5}),
    safe=(float, {"durability": "fsync"}),
)


@pytest.fixture
def owner(keeper: Keeper) -> Owner:
    return keeper.start(SPECS)


def test_what_was_declared_can_be_read_by_others_before_anybody_set_it(keeper: Keeper, owner: Owner) -> None:
    view = keeper.view()
    assert view["temperature"] == 0.2
    assert view.version("temperature") == 1
    assert view.entry("temperature").who == "default"
    assert view.names() == sorted(SPECS)
    meta = view.meta("temperature")
    assert meta == {"type": "float", "default": 0.2, "min": 0.0, "max": 2.0}
    assert keeper.offered == ["table"]


def test_nothing_is_on_the_disk_before_the_first_set(keeper: Keeper, owner: Owner) -> None:
    assert not keeper.directory.exists()


def test_a_set_is_written_down_published_stored_and_told(keeper: Keeper, owner: Owner) -> None:
    change = owner.set("temperature", 1, who="tester")
    assert (change.id, change.name, change.version, change.value, change.who) == ("qa", "temperature", 2, 1.0, "tester")
    assert keeper.view().entry("temperature").value == 1.0
    assert keeper.view().entry("temperature").who == "tester"
    assert keeper.boxes["temperature"].load() == owner.get("temperature") == 1.0
    assert keeper.changes == [change]
    assert owner.version("temperature") == 2
    assert [(r.version, r.who) for r in keeper.records("temperature")] == [(1, "default"), (2, "tester")]
    assert owner.written("temperature") == (2, change.when, "tester")


def test_creation_is_remembered_and_every_set_has_its_own_time(keeper: Keeper, owner: Owner) -> None:
    first = owner.entry("temperature")
    owner.set("temperature", 0.5, who="x")
    second = owner.entry("temperature")
    assert second.created_at == first.created_at == first.updated_at
    assert second.updated_at > first.updated_at


@pytest.mark.parametrize(
    ("name", "value", "constraint"),
    [
        ("temperature", 2.1, "max"),
        ("temperature", "warm", "type"),
        ("k", True, "type"),
        ("bias", ["x"], "type"),
        ("words", 3, "type"),
    ],
)
def test_a_refused_value_changes_nothing(keeper: Keeper, owner: Owner, name: str, value: Any, constraint: str) -> None:
    owner.set("temperature", 0.5, who="x")
    before = owner.image()
    with pytest.raises(ConstraintViolationError) as caught:
        owner.set(name, value, who="x")
    assert (caught.value.name, caught.value.id, caught.value.constraint) == (name, "qa", constraint)
    assert str(caught.value).startswith(f"{name} of 'qa' must be ")
    assert owner.image() == before
    assert len(keeper.changes) == 1


def test_what_no_other_process_can_read_is_refused(owner: Owner) -> None:
    with pytest.raises(
        ConstraintViolationError, match=r"words of 'qa' must be a value that another process can read; words\[1\] is none"
    ):
        owner.set("words", ["fine", threading.Lock()], who="x")
    assert owner.get("words") == ["a"]


def test_an_unknown_name_is_answered_with_the_one_that_was_meant(owner: Owner) -> None:
    with pytest.raises(ParameterNotFoundError, match="'qa' has no parameter 'temprature'; it has bias, k, safe") as caught:
        owner.set("temprature", 1.0, who="x")
    assert caught.value.hint == "did you mean 'temperature'?"
    with pytest.raises(ParameterNotFoundError):
        owner.get(["not", "a", "name"])  # type: ignore[arg-type]


def test_a_write_that_builds_on_an_old_version_is_a_conflict(owner: Owner) -> None:
    owner.set("temperature", 0.5, who="x", expect=1)
    with pytest.raises(ParameterError, match="temperature has version 2, not 1 as expected") as caught:
        owner.set("temperature", 0.6, who="y", expect=1)
    assert caught.value.code == "conflict"
    assert owner.get("temperature") == 0.5


def test_what_is_nested_too_deep_is_refused_with_a_short_text(owner: Owner) -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(ConstraintViolationError, match="words of 'qa' must be a value that another process can read") as caught:
        owner.set("words", deep, who="x")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("expect", ["1", 1.0, True])
def test_a_version_that_is_none_is_a_mistake_of_the_caller(owner: Owner, expect: Any) -> None:
    with pytest.raises(ConfigError, match="expect is the version that is to be replaced, an int; got "):
        owner.set("temperature", 0.5, who="x", expect=expect)
    assert owner.version("temperature") == 1


def test_whoever_keeps_the_list_it_has_set_cannot_change_the_parameter(keeper: Keeper, owner: Owner) -> None:
    mine = ["b"]
    owner.set("words", mine, who="x")
    mine.append("c")
    assert owner.get("words") == keeper.view()["words"] == ["b"]


def test_an_array_cannot_be_changed_in_place(owner: Owner) -> None:
    mine = np.array([1.0, 2.0])
    owner.set("bias", mine, who="x")
    mine[0] = 7
    assert owner.get("bias").tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        owner.get("bias")[0] = 7


def test_several_are_set_together_or_not_at_all(keeper: Keeper, owner: Owner) -> None:
    with pytest.raises(ConstraintViolationError):
        owner.set_many({"k": 5, "temperature": 9.0}, who="x")
    assert (owner.get("k"), owner.get("temperature")) == (3, 0.2)
    changes = owner.set_many({"k": 5, "temperature": 0.9, "safe": 1.5}, who="x")
    assert [(c.name, c.value, c.version) for c in changes] == [("k", 5, 2), ("temperature", 0.9, 2), ("safe", 1.5, 2)]
    view = keeper.view()
    assert (view["k"], view["temperature"], view["safe"]) == (5, 0.9, 1.5)


def test_a_large_value_is_offered_before_readers_can_ask_for_it(keeper: Keeper, owner: Owner) -> None:
    for size in (100_000, 200_000, 10, 300_000):
        owner.set("text", "x" * size, who="x")
        assert keeper.view()["text"] == "x" * size
    assert keeper.offered == ["table", "blob", "blob", "blob"]


def test_every_durability_reads_the_same(keeper: Keeper, owner: Owner) -> None:
    owner.set("safe", 1.25, who="x")
    owner.set("k", 4, who="x")
    assert keeper.view()["safe"] == 1.25
    assert [r.version for r in keeper.records("safe")] == [1, 2]
    assert [r.version for r in keeper.records("k")] == [1, 2]
    assert not list(Keeper(keeper.directory.parent).records("k")), "durability memory wrote to the disk"


def test_durable_writes_of_many_threads_all_arrive(keeper: Keeper) -> None:
    names = [f"p{n}" for n in range(4)]
    owner = keeper.start(specs(**dict.fromkeys(names, int)), durability=Durability.FSYNC)

    def write(name: str) -> None:
        for value in range(1, 11):
            owner.set(name, value, who=name)

    threads = [threading.Thread(target=write, args=(name,)) for name in names for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view = keeper.view()
    for name in names:
        assert view.version(name) == 21
        assert [c.version for c in keeper.changes if c.name == name] == list(range(2, 22))
        assert [r.version for r in keeper.records(name)] == list(range(1, 22))


def test_gradients_step_and_accumulate(keeper: Keeper, owner: Owner) -> None:
    owner.apply_gradient("bias", [1.0, -1.0], who="x")
    assert owner.get("bias").tolist() == [-0.25, 0.25]
    owner.apply_gradient("bias", [1.0, -1.0], who="x")
    assert owner.get("bias").tolist() == [-0.625, 0.625]
    assert keeper.view().entry("bias").grad.tolist() == [0.75, -0.75]
    owner.set("bias", [0.0, 0.0], who="x")
    assert owner.entry("bias").grad.tolist() == [0.75, -0.75]


def test_gradients_at_the_same_time_all_count(keeper: Keeper) -> None:
    owner = keeper.start(specs(w=(float, {"requires_grad": True, "learning_rate": 1.0})))
    threads = [threading.Thread(target=lambda: [owner.apply_gradient("w", -1.0, who="x") for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owner.get("w") == 400.0
    assert owner.version("w") == 401


def test_a_gradient_that_does_not_fit_says_whose_parameter_it_is_for(owner: Owner) -> None:
    with pytest.raises(ConstraintViolationError, match=r"bias of 'qa' must be stepped by a gradient of shape \(2,\), not \(3,\)"):
        owner.apply_gradient("bias", [1.0, 2.0, 3.0], who="x")


def test_a_gradient_that_nobody_asked_for_is_refused(owner: Owner) -> None:
    with pytest.raises(GradientNotRequiredError, match="temperature takes no gradients") as caught:
        owner.apply_gradient("temperature", 0.1, who="x")
    assert caught.value.id == "qa"


def test_reset_gives_the_default_and_forgets_the_gradient(owner: Owner) -> None:
    owner.apply_gradient("bias", [1.0, -1.0], who="x")
    change = owner.reset("bias", who="x")
    assert change.value.tolist() == [0.0, 0.0]
    assert owner.entry("bias").grad is None
    assert change.version == 3


def test_rollback_sets_what_it_was_also_before_anybody_set_it(owner: Owner) -> None:
    owner.set("temperature", 0.5, who="x")
    owner.set("temperature", 0.6, who="x")
    assert owner.rollback("temperature", 2, who="x").value == 0.5
    assert owner.rollback("temperature", 1, who="x").value == 0.2
    assert owner.rollback("temperature", 5, who="x").value == 0.2
    assert owner.version("temperature") == 6


@pytest.mark.parametrize("version", [0, -1, 3, 99, "2", None])
def test_there_is_no_rollback_to_a_version_that_never_was(owner: Owner, version: Any) -> None:
    owner.set("temperature", 0.5, who="x")
    with pytest.raises(ParameterError, match="temperature of 'qa' has version 2; there is no version"):
        owner.rollback("temperature", version, who="x")


def test_a_check_that_is_not_at_hand_is_an_error_and_a_value_it_accepted_once_is_not(keeper: Keeper) -> None:
    checked = specs(x=(int, {"check_with": lambda value: value % 2 == 0}))["x"]
    owner = keeper.start({"x": checked})
    owner.set("x", 4, who="x")
    keeper.kill()
    stopped = keeper.start({"x": ParameterSpec.from_meta(checked.to_meta())})
    assert stopped.get("x") == 4
    with pytest.raises(ParameterError, match=r"has a check of its own .* which only its running module can make"):
        stopped.set("x", 6, who="x")
    assert stopped.rollback("x", 1, who="x").value == 0


def test_what_is_not_declared_any_more_is_not_found(keeper: Keeper, owner: Owner) -> None:
    view = keeper.view()
    owner.set("temperature", 0.5, who="x")
    assert view["temperature"] == 0.5
    owner.undeclare("temperature")
    for read in (view.get, owner.get):
        with pytest.raises(ParameterNotFoundError):
            read("temperature")
    assert "temperature" not in view.names()
    assert view.meta("temperature") is None
    assert keeper.records("temperature")[-1].removed


def test_what_is_declared_again_begins_with_a_version_that_never_was(keeper: Keeper, owner: Owner) -> None:
    view = keeper.view()
    for value in (0.5, 0.6):
        owner.set("temperature", value, who="x")
    owner.undeclare("temperature")
    owner.declare("temperature", SPECS["temperature"], Box(0.7))
    assert (view["temperature"], view.version("temperature")) == (0.7, 5)
    owner.set("temperature", 0.8, who="x")
    assert [r.version for r in keeper.records("temperature")] == [1, 2, 3, 4, 5, 6]


def test_declaring_the_same_again_changes_nothing(keeper: Keeper, owner: Owner) -> None:
    owner.set("temperature", 0.5, who="x")
    for name, box in keeper.boxes.items():
        owner.declare(name, SPECS[name], box)
    assert owner.version("temperature") == 2


def test_facts_are_told_and_written_down_once(keeper: Keeper, owner: Owner) -> None:
    owner.set_facts({"mode": "train"})
    owner.set_facts({"mode": "train"})
    assert owner.facts() == keeper.view().facts() == {"mode": "train"}


def test_hand_over_offers_everything_again(keeper: Keeper, owner: Owner) -> None:
    owner.set("k", 4, who="x")
    owner.set("text", "x" * 100_000, who="x")
    keeper.offered.clear()
    other = Keeper(keeper.directory.parent)
    keeper.offer, mine = other.offer, keeper.offer  # type: ignore[method-assign]
    owner.hand_over()
    keeper.offer = mine  # type: ignore[method-assign]
    assert sorted(other.offered) == ["blob", "table", "volatile"]
    assert other.view()["text"] == "x" * 100_000
    other.kill_runtime()


def test_a_bound_cell_writes_through_its_owner_and_is_told_when_it_is_none_any_more(keeper: Keeper) -> None:
    from dspex_runtime.params.cell import Cell

    cell = Cell(SPECS["temperature"], "temperature")
    owner = keeper.start({"temperature": SPECS["temperature"]}, holders={"temperature": cell})
    cell.set(0.9)
    assert (cell.value, cell.version, keeper.view()["temperature"]) == (0.9, 2, 0.9)
    assert keeper.changes[-1].who == "module"
    owner.undeclare("temperature")
    cell.set(1.0)
    assert cell.value == 1.0
    assert cell.owner is None


def test_a_holder_that_fails_is_reported_and_readers_have_the_value(keeper: Keeper) -> None:
    class Broken(Box):
        def store(self, value: Any) -> None:
            raise RuntimeError("no room")

    owner = keeper.start({"k": SPECS["k"]}, holders={"k": Broken(3)})
    owner.set("k", 4, who="x")
    assert keeper.view()["k"] == 4
    assert keeper.reports == ["k has version 2, but its module did not take it: no room"]


def test_without_a_disk_everything_lasts_as_long_as_the_runtime(keeper: Keeper) -> None:
    owner = keeper.start(SPECS, on_disk=False)
    owner.set_many({"temperature": 0.5, "safe": 1.0}, who="x")
    keeper.kill()
    heir = keeper.start(SPECS, on_disk=False)
    assert (heir.get("temperature"), heir.get("safe")) == (0.5, 1.0)
    assert not keeper.directory.exists()


def test_a_predictor_is_read_from_the_table_and_never_from_its_holder(keeper: Keeper) -> None:
    class Predictor(Box):
        loads = 0

        def load(self) -> Any:
            self.loads += 1
            return self.value

    holder = Predictor({"demos": []})
    owner = keeper.start({"p": ParameterSpec(ParameterType.PREDICTOR, default={"demos": []})}, holders={"p": holder})
    loads = holder.loads
    assert owner.get("p") == {"demos": []}
    assert holder.loads == loads
