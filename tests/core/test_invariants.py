from collections.abc import Callable

import pytest
from core.world import World, child, children

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.child_table import Life
from dspex_runtime.core.events import Boot, StartChildAsked, TimerId, TimerKind
from dspex_runtime.core.invariants import STORY_EVENTS, InvariantError, Story
from dspex_runtime.core.operation import Operation, Purpose
from dspex_runtime.core.supervision import Supervision
from dspex_runtime.types import ChildId, Incarnation, Kind, State


def break_life(sup: Supervision) -> None:
    next(iter(sup.table)).life = Life.STOPPING


def break_restarting(sup: Supervision) -> None:
    record = next(iter(sup.table))
    record.life, record.pid = Life.RESTARTING, None


def break_pid(sup: Supervision) -> None:
    next(iter(sup.table)).life = Life.UNDEFINED


def break_timer(sup: Supervision) -> None:
    sup.out.armed[TimerId(TimerKind.START, ChildId("a"), Incarnation(99))] = 1.0


def break_operation(sup: Supervision) -> None:
    sup.runner.operation = Operation(Purpose.RESTART)


def break_done(sup: Supervision) -> None:
    sup.runner.done = True


BREAKS = [
    (break_life, "idle with stopping children"),
    (break_restarting, "nothing will restart it"),
    (break_pid, "has no process and pid"),
    (break_timer, "armed for an incarnation that is gone"),
    (break_operation, "waits for nothing"),
    (break_done, "the machine is done, but"),
]


@pytest.mark.parametrize(("damage", "text"), BREAKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_machine_says_what_is_wrong_and_how_it_came_to_it(damage: Callable[[Supervision], None], text: str) -> None:
    world = World(children("ab")).boot()
    damage(world.machine._supervision)
    with pytest.raises(InvariantError, match=text) as caught:
        world.machine.validate()
    assert "Boot()" in str(caught.value)
    assert f"state={State.READY!r}" in str(caught.value)


def test_no_secret_of_a_spec_gets_into_the_text() -> None:
    launch = LaunchSpec(Kind.MODULE, lm={"api_key": "s3cret"})
    world = World([child("a", launch=launch)]).boot()
    world.answer(StartChildAsked, child("b", launch=launch))
    world.swap("b", child("b", launch=launch))
    break_life(world.machine._supervision)
    with pytest.raises(InvariantError) as caught:
        world.machine.validate()
    assert "s3cret" not in str(caught.value)
    assert "StartChildAsked(request=1, spec=<b>)" in str(caught.value)
    assert "ChildSwapped(child_id='b', incarnation=1, pid=200)" in str(caught.value)


def test_the_story_is_bounded() -> None:
    story = Story()
    for now in range(STORY_EVENTS + 50):
        story.add(float(now), Boot())
    assert [now for now, _ in story] == [float(now) for now in range(50, STORY_EVENTS + 50)]
