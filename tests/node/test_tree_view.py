"""The tree as people see it, and how its supervisors supervise."""

from __future__ import annotations

from helpers.fake_tree import FakeTree, group, worker


def test_the_tree_is_shown_nested_with_children_started_alone_under_the_root(tree: FakeTree) -> None:
    tree.boot(group("g", worker("a", "transient"), strategy="rest_for_one"), strategy="one_for_all")
    tree.ask(tree.supervision.start_alone, worker("x"))
    shown = tree.supervision.view.as_dict(lambda record: {"id": record.id}, "rt")
    assert shown.pop("supervisor")["strategy"] == "one_for_all"
    assert shown == {
        "id": "root", "name": "rt", "kind": "supervisor", "state": "READY", "strategy": "one_for_all",
        "children": [
            {"id": "g", "strategy": "rest_for_one", "children": [{"id": "g/a", "restart": "transient"}]},
            {"id": "x", "restart": "permanent"},
        ],
    }  # fmt: skip


def test_1_9_a_temporary_child_that_comes_back_with_its_supervisor_is_shown_in_the_order_of_the_starts(tree: FakeTree) -> None:
    tree.boot(group("g", worker("a", "temporary"), worker("b"), worker("c")))
    tree.crash("g/a")
    tree.ask(tree.supervision.cycle, tree.record("g"))
    shown = tree.supervision.view.as_dict(lambda record: {"id": record.id}, "rt")
    assert [entry["id"] for entry in shown["children"][0]["children"]] == ["g/a", "g/b", "g/c"]


class TestFacts:
    """How a supervisor supervises, and how much of its restart budget is used."""

    def test_of_a_supervisor_count_the_restarts_within_its_window(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a"), worker("b"), max_restarts=4, max_seconds=10.0))
        tree.crash("g/a", "g/b")
        tree.advance(6.0)
        tree.crash("g/a")
        facts = tree.supervision.view.facts(tree.record("g"))
        assert facts == {
            "strategy": "one_for_one", "max_restarts": 4, "max_seconds": 10.0, "restarts_used": 3, "auto_shutdown": "never",
            "dynamic": False, "children": 2,
        }  # fmt: skip
        tree.advance(6.0)
        facts = tree.supervision.view.facts(tree.record("g"))
        assert facts is not None
        assert facts["restarts_used"] == 1

    def test_of_a_supervisor_that_is_down_are_those_of_its_spec(self, tree: FakeTree) -> None:
        tree.boot(group("g", worker("a")), worker("b"))
        tree.ask(tree.supervision.terminate, tree.record("g"))
        facts = tree.supervision.view.facts(tree.record("g"))
        assert facts is not None
        assert (facts["restarts_used"], facts["children"]) == (0, 0)
        assert tree.supervision.view.facts(tree.record("b")) is None

    def test_of_the_root_say_how_it_ended(self, tree: FakeTree) -> None:
        assert tree.supervision.view.root() == {"state": "FAILED", "incarnation": 0, "supervisor": None}
        tree.boot(worker("a"), max_restarts=0)
        assert tree.supervision.view.root()["state"] == "READY"
        tree.crash("a")
        facts = tree.supervision.view.root()
        assert (facts["state"], facts["supervisor"]["max_restarts"]) == ("FAILED", 0)
