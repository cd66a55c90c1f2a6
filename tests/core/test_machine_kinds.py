"""Which machine a spec asks for."""

from core.world import children

from dspex_runtime.core.child_spec import SupervisorSpec
from dspex_runtime.core.dynamic_machine import DynamicMachine
from dspex_runtime.core.events import Boot
from dspex_runtime.core.instructions import Booted
from dspex_runtime.core.machine_kinds import machine_for
from dspex_runtime.core.supervisor_machine import SupervisorMachine
from dspex_runtime.types import ChildId, Incarnation


def incarnation(_: ChildId) -> Incarnation:
    return Incarnation(1)


def test_a_dynamic_spec_gets_a_dynamic_machine_and_any_other_a_static_one() -> None:
    static = machine_for(SupervisorSpec(children=tuple(children("a"))), next_incarnation=incarnation, random=lambda: 0.5)
    dynamic = machine_for(SupervisorSpec(dynamic=True, max_children=3), next_incarnation=incarnation, random=lambda: 0.5)
    assert isinstance(static, SupervisorMachine)
    assert isinstance(dynamic, DynamicMachine)
    assert dynamic.handle(Boot(), 0.0) == [Booted()]
