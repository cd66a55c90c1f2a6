from core.world import World, child, children, scripted

from dspex_runtime.core import events as ev
from dspex_runtime.core.child_spec import Backoff
from dspex_runtime.types import Kind


def test_which_children_lists_the_last_started_first() -> None:
    group = child("g", kind=Kind.SUPERVISOR)
    world = World([child("a", backoff=Backoff()), child("b"), group], max_restarts=9).boot()
    world.crash("a")
    world.crash("a")
    world.answer(ev.TerminateChildAsked, "b")
    assert world.answer(ev.WhichChildrenAsked) == [
        ("g", 100, "supervisor"),
        ("b", "undefined", "worker"),
        ("a", "restarting", "worker"),
    ]


def test_count_children_counts_specs_and_what_is_alive() -> None:
    world = World([child("a", backoff=Backoff()), child("b"), child("c"), child("g", kind=Kind.SUPERVISOR)], max_restarts=9).boot()
    world.crash("a")
    world.crash("a")
    world.answer(ev.TerminateChildAsked, "b")
    assert world.answer(ev.CountChildrenAsked) == {"specs": 4, "active": 2, "supervisors": 1, "workers": 3}


def test_a_dead_child_that_was_not_handled_yet_is_not_active() -> None:
    world = scripted(World(children("abc")).boot(), a="hang")
    world.crash("a")
    request = world.ask(ev.CountChildrenAsked)
    world.crash("b")
    world.ready("a")
    assert world.outcome(request)["active"] == 2
    assert world.running() == "abc"


def test_get_childspec_returns_the_spec() -> None:
    spec = child("a", "transient", version="2")
    assert World([spec]).boot().answer(ev.GetChildSpecAsked, "a") == spec
