"""What replicas give one another: when one begins to serve, and when one was written to for all."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.node.sharing import TRIES
from helpers.fake_node import FakeNode, server
from helpers.fake_tree import FakeProcess
from helpers.swap_play import Play


class Shared:
    """Three replicas that all have a table, and answer what a test says."""

    def __init__(self, runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime = runtime
        self.play = Play(runtime).boot(server("qa", replicas=3), max_restarts=100)
        monkeypatch.setattr(runtime.node.keeping, "holds_table", lambda _id: True)
        group = runtime.node.registry.group("qa")
        assert group is not None
        self.group = group
        self.done: list[tuple[Any, Any]] = []

    def process(self, number: int) -> FakeProcess:
        return self.runtime.process(f"qa#{number}")

    def gives(self, number: int, value: Any, fault: Any = None) -> dict[str, Any]:
        """Have a replica answer for its values; return what it was asked."""
        asked = self.process(number).fd_requests
        (question,) = [each for each in asked if each[0] == "shared_values"]
        asked.remove(question)
        _, args, answer = question
        answer(value, fault, None if fault else os.memfd_create("values", os.MFD_CLOEXEC))
        self.runtime.turn()
        return args

    def answers(self, number: int, op: str, value: Any = None, fault: Any = None) -> dict[str, Any]:
        found = self.process(number).answered(op, value, fault)
        self.runtime.turn()
        return found

    def routable(self) -> list[str]:
        return [record.id for record in self.group.routable]

    def spread(self, *names: str, with_: int = 0) -> None:
        leader = self.group.records[with_]
        self.runtime.node.replicas.sharing.spread(
            self.group, names, leader, leader.incarnation, lambda *told: self.done.append(told)
        )


@pytest.fixture
def shared(runtime: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Shared:
    return Shared(runtime, monkeypatch)


def values(n: int = 0, *, behind: bool = False, **versions: int) -> dict[str, Any]:
    return {"n": n, "versions": versions, "behind": behind}


class TestJoining:
    """One that begins to serve."""

    def test_it_is_called_when_it_has_what_the_others_have(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        assert shared.routable() == ["qa#0", "qa#1"]
        shared.answers(2, "shared_versions", {"k": 1})
        assert shared.gives(0, values(1, k=3)) == {"newer": {"k": 1}}
        shared.answers(2, "shared_take", {})
        assert shared.routable() == ["qa#0", "qa#1"]
        assert shared.gives(2, values(0, k=3)) == {"newer": {"k": 3}}
        assert shared.routable() == ["qa#0", "qa#1", "qa#2"]

    def test_nothing_more_is_asked_where_all_is_the_same(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        shared.answers(2, "shared_versions", {"k": 3})
        shared.gives(0, values(k=3))
        assert shared.routable() == ["qa#0", "qa#1", "qa#2"]

    def test_what_is_newer_in_it_the_others_take(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        shared.answers(2, "shared_versions", {"k": 5})
        shared.gives(0, values(behind=True, k=3))
        shared.gives(2, values(1, k=5))
        for number in (0, 1):
            assert shared.answers(number, "shared_take", {}) == {"who": "qa#2"}
        assert shared.routable() == ["qa#0", "qa#1", "qa#2"]

    def test_it_asks_another_one_when_the_first_has_ended(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        shared.answers(2, "shared_versions", {"k": 1})
        shared.gives(0, None, {"message": "ended"})
        shared.answers(2, "shared_versions", {"k": 1})
        shared.gives(1, values(k=1))
        assert "qa#2" in shared.routable()

    def test_one_that_does_not_answer_is_called_all_the_same_and_said_so(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        shared.answers(2, "shared_versions", None, {"message": "busy"})
        assert "qa#2" in shared.routable()

    def test_one_that_ends_meanwhile_does_not_join(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        ended = shared.process(2)
        shared.runtime.crash("qa#2")
        ended.answered("shared_versions", None, {"message": "ended"})
        assert shared.routable() == ["qa#0", "qa#1"]

    def test_the_first_of_all_joins_at_once(self, shared: Shared) -> None:
        for number in (0, 1, 2):
            shared.process(number).end()
        shared.runtime.turn()
        assert shared.routable()[:1] == ["qa#0"]


class TestSpreading:
    """A write under the group's id."""

    def test_it_is_done_when_all_have_it(self, shared: Shared) -> None:
        shared.spread("k")
        assert shared.gives(0, values(1, k=7, other=2)) == {"names": ["k"]}
        shared.answers(1, "shared_take", {})
        assert shared.done == []
        shared.answers(2, "shared_take", {})
        assert shared.done == [({"k": 7}, None)]

    def test_one_that_only_joins_takes_it_too(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        assert "qa#2" not in shared.routable()
        shared.spread("k")
        shared.gives(0, values(1, k=7))
        shared.answers(1, "shared_take", {})
        shared.answers(2, "shared_take", {})
        assert shared.done == [({"k": 7}, None)]

    def test_where_one_has_something_else_the_lowest_sets_it_above_that(self, shared: Shared) -> None:
        shared.spread("k")
        shared.gives(0, values(1, k=7))
        shared.answers(1, "shared_take", {"k": 9})
        shared.answers(2, "shared_take", {})
        assert shared.answers(0, "shared_raise") == {"above": {"k": 9}}
        shared.gives(0, values(1, k=10))
        for number in (1, 2):
            shared.answers(number, "shared_take", {})
        assert shared.done == [({"k": 10}, None)]

    def test_it_does_not_go_on_for_ever(self, shared: Shared) -> None:
        shared.spread("k")
        for _ in range(TRIES):
            shared.gives(0, values(1, k=7))
            shared.answers(1, "shared_take", {"k": 99})
            shared.answers(2, "shared_take", {})
            if not shared.done:
                shared.answers(0, "shared_raise")
        ((versions, error),) = shared.done
        assert versions is None
        assert "'qa'" in str(error)

    def test_a_refusal_is_told(self, shared: Shared) -> None:
        shared.spread("k")
        shared.gives(0, values(1, k=7))
        shared.answers(1, "shared_take", None, {"message": "too large"})
        shared.answers(2, "shared_take", {})
        assert "qa#1" in str(shared.done[0][1])

    def test_one_that_ended_is_no_refusal(self, shared: Shared) -> None:
        shared.spread("k")
        shared.gives(0, values(1, k=7))
        taking = shared.process(1)
        shared.runtime.crash("qa#1")
        taking.answered("shared_take", None, {"message": "ended"})
        shared.answers(2, "shared_take", {})
        assert shared.done == [({"k": 7}, None)]

    def test_the_end_of_the_lowest_is_told(self, shared: Shared) -> None:
        shared.spread("k")
        ((_, _, answer),) = shared.process(0).fd_requests
        shared.runtime.crash("qa#0")
        answer(None, {"message": "ended"}, None)
        ((_, error),) = shared.done
        assert (error.id, error.reason) == ("qa#0", "killed")

    def test_another_incarnation_has_not_made_the_write(self, shared: Shared) -> None:
        leader = shared.group.records[0]
        shared.runtime.node.replicas.sharing.spread(shared.group, ["k"], leader, 7, lambda *told: shared.done.append(told))
        assert shared.done[0][0] is None


class TestSwapped:
    """A replica that is swapped goes on as the same incarnation: it has missed what was written to the others."""

    @pytest.mark.parametrize("number", [0, 1])
    def test_it_takes_what_was_written_meanwhile_before_it_is_called(self, shared: Shared, number: int) -> None:
        shared.play.begin(f"qa#{number}").to("held", f"qa#{number}")
        leader, third = (1, 2) if number == 0 else (0, 2)
        shared.spread("k", with_=leader)
        shared.gives(leader, values(1, k=7))
        shared.answers(third, "shared_take", {})
        assert shared.done == [({"k": 7}, None)]
        for step in (shared.play.held, shared.play.packed, shared.play.prepared, shared.play.served):
            step(f"qa#{number}")
        assert shared.play.answer()["members"][0]["id"] == f"qa#{number}"
        assert f"qa#{number}" not in shared.routable()
        shared.answers(number, "shared_versions", {"k": 1})
        assert shared.gives(leader, values(1, k=7)) == {"newer": {"k": 1}}
        assert shared.answers(number, "shared_take", {}) == {"who": f"qa#{leader}"}
        shared.gives(number, values(k=7))
        assert shared.routable() == ["qa#0", "qa#1", "qa#2"]

    def test_so_does_one_whose_swap_was_aborted(self, shared: Shared) -> None:
        shared.play.begin("qa#1").to("held", "qa#1")
        assert shared.routable() == ["qa#0", "qa#2"]
        assert shared.runtime.connect().ask("abort_swap", id="qa#1") is True
        assert shared.routable() == ["qa#0", "qa#2"]
        shared.answers(1, "shared_versions", {"k": 1})
        shared.gives(0, values(1, k=7))
        shared.answers(1, "shared_take", {})
        shared.gives(1, values(k=7))
        assert shared.routable() == ["qa#0", "qa#1", "qa#2"]

    def test_one_that_is_swapped_while_it_joins_joins_again(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        shared.play.begin("qa#2").to("held", "qa#2")
        shared.answers(2, "shared_versions", {"k": 1})  # of the old one
        for step in (shared.play.held, shared.play.packed, shared.play.prepared, shared.play.served):
            step("qa#2")
        shared.answers(2, "shared_versions", {"k": 1})
        shared.gives(0, values(k=1))
        assert shared.routable() == ["qa#0", "qa#1", "qa#2"]

    def test_what_it_was_given_before_its_swap_does_not_count(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")
        shared.answers(2, "shared_versions", {"k": 1})
        shared.play.begin("qa#2").to("held", "qa#2")
        shared.gives(0, values(1, k=3))
        shared.play.runtime.connect().ask("abort_swap", id="qa#2")
        assert shared.routable() == ["qa#0", "qa#1"]
        shared.answers(2, "shared_versions", {"k": 1})
        assert shared.gives(0, values(1, k=7)) == {"newer": {"k": 1}}

    def test_one_that_was_swapped_meanwhile_is_not_asked_for_what_it_had(self, shared: Shared) -> None:
        shared.runtime.crash("qa#2")  # the first of the others is qa#0
        shared.play.begin("qa#0").to("", "qa#0")
        shared.answers(2, "shared_versions", {"k": 1})
        shared.answers(2, "shared_versions", {"k": 1})
        assert shared.gives(1, values(k=1)) == {"newer": {"k": 1}}
        assert shared.routable() == ["qa#1", "qa#2"]

    def test_where_the_lowest_was_swapped_meanwhile_its_successor_sets_it_above(self, shared: Shared) -> None:
        shared.spread("k")
        shared.gives(0, values(1, k=7))
        shared.play.begin("qa#0").to("", "qa#0")
        shared.answers(1, "shared_take", {"k": 9})
        shared.answers(2, "shared_take", {})
        assert shared.answers(0, "shared_raise") == {"above": {"k": 9}}
        shared.gives(0, values(1, k=10))
        for number in (1, 2):
            shared.answers(number, "shared_take", {})
        assert shared.done == [({"k": 10}, None)]
