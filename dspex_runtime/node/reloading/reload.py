"""One reload, from its plan to its end: step by step in the plan's order, to the first that fails.

What was done is done; what was not is told, and is what the next reload finds to do: nothing is kept of one that is over. Whoever
asked may go at any time: the step that is under way is finished (a swap that is not committed is given up) and no other begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.config.plan import ROOT, RUNTIME, next_step, plan
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.spec_tree import child_at
from dspex_runtime.config.steps import Action, Plan, Step
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.errors import ConfigError, DspexError
from dspex_runtime.node.peer import PLAIN
from dspex_runtime.node.registry import Record
from dspex_runtime.node.reloading import applying
from dspex_runtime.node.reloading.in_turn import Done, in_turn
from dspex_runtime.node.reloading.running import Present, boot_tree
from dspex_runtime.node.session import Responder
from dspex_runtime.node.swapping.driver import Swap
from dspex_runtime.node.swapping.order import Order
from dspex_runtime.wire.faults import to_fault

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

__all__ = ["Reload", "planned", "refusal"]

SWAP_S: Final = 30.0  # for all of a swap but the start and the drain, which have times of their own

Facts: TypeAlias = dict[str, Any]


def planned(node: Node, wanted: RuntimeSpec) -> Plan:
    """Return what a reload would do now."""
    present = Present(node, wanted)
    return plan(present.spec, wanted, present.running, present.left)


def refusal(found: Plan) -> ConfigError | None:
    """Return the error for what no reload can do; None: there is nothing of that."""
    if not found.refused:
        return None
    problems = [
        f"{'' if step.id in (RUNTIME, ROOT) else f'{step.id}: '}{change.text().replace('  ', ' ')}; {step.note}"
        for step in found.refused
        for change in step.changes
    ]
    what = "1 change" if len(problems) == 1 else f"{len(problems)} changes"
    return ConfigError(f"{what} that a reload cannot make; nothing was changed", problems=problems)


class Reload:
    """See the module docstring.

    Args:
        node: The runtime.
        wanted: What the file says.
        found: What is to be done, nothing of it refused.
        who: Who asked.
        why: What `versions` says of swaps.
        responder: Told of each step, and answered at the end.
    """

    def __init__(self, node: Node, wanted: RuntimeSpec, found: Plan, *, who: str, why: str, responder: Responder) -> None:
        self._node = node
        self._wanted = wanted
        self._plan = found
        self._who = who
        self._why = why
        self._responder = responder
        self._done: list[Facts] = []
        self._begun_at = node.loop.now()
        self._swap: Swap | None = None
        self._is_given_up = False

    def begin(self) -> None:
        """Do it; the responder is answered when it is over."""
        node = self._node
        node.reload = self
        node.reports.emit("reload_started", None, who=self._who, file=self._wanted.file, steps=len(self._plan.steps))
        assert node.spec is not None
        # From here on it is this file's, however far it comes: the next reload of it does the rest.
        node.spec = replace(node.spec, file=self._wanted.file or node.spec.file, base_dir=self._wanted.base_dir)
        self._responder.on_done = self._give_up
        self._responder.tell({"type": "reload", "plan": self._plan.as_map()})
        self._next(0)

    def _give_up(self) -> None:
        if self._node.reload is self:  # else it was answered
            self._is_given_up = True
            if self._swap is not None:
                self._swap.give_up("the reload was interrupted")

    # -- one after the other ----------------------------------------------------------------------------------------

    def _next(self, number: int) -> None:
        if self._is_given_up or number == len(self._plan.steps):
            self._end(None)
            return
        step = self._again(self._plan.steps[number])
        began = self._node.loop.now()
        if step is None:
            self._told(self._plan.steps[number], number, "done", seconds=0.0)
            self._next_soon(number)
            return
        self._tell(step, number, "begun")

        def done(error: DspexError | None) -> None:
            seconds = self._node.loop.now() - began
            self._swap = None
            assert self._node.spec is not None
            self._node.spec = replace(self._node.spec, tree=boot_tree(self._node))
            if error is not None:
                self._told(step, number, "failed", seconds=seconds, message=error.message)
                self._end(error)
                return
            self._told(step, number, "done", seconds=seconds)
            self._next_soon(number)

        try:
            in_turn(applying.actions_of(self._node, step, self._wanted, self._swap_it), done)
        except KeyError as exc:  # its supervisor was deleted meanwhile
            done(DspexError(f"there is no supervisor {exc.args[0]!r} any more", id=step.id))

    def _next_soon(self, number: int) -> None:
        self._node.loop.call_soon(lambda: self._next(number + 1))

    def _again(self, step: Step) -> Step | None:
        """Return what is to be done now with what a step is about: others have changed things meanwhile, too."""
        if step.id in (RUNTIME, ROOT):
            return step
        present = Present(self._node, self._wanted, only=step.id)
        new = None if step.action is Action.REMOVE else child_at(self._wanted.tree, step.id)
        return next_step(step.id, present.child, new, present.running)

    def _swap_it(self, record: Record, spec: ChildSpec, done: Done) -> None:
        node = self._node
        node.swaps.swappable(record.id)

        def swapped(_results: list[Facts] | None, error: DspexError | None) -> None:
            done(error)

        start_s = spec.start_timeout_s
        self._swap = node.swaps.start(
            [Order(record.id, spec, why=self._why)],
            drain_s=None,
            timeout_s=None if start_s is None else start_s + spec.shutdown.drain_s + SWAP_S,
            who=self._who,
            tell=self._responder.tell,
            done=swapped,
        )
        self._swap.begin()

    # -- saying -----------------------------------------------------------------------------------------------------

    def _told(self, step: Step, number: int, state: str, **facts: Any) -> None:
        self._done.append({**step.as_map(), "state": state, **facts})
        self._tell(step, number, state, **facts)

    def _tell(self, step: Step, number: int, state: str, **facts: Any) -> None:
        told = {"number": number + 1, "of": len(self._plan.steps), "id": step.id, "action": step.action.value, "state": state}
        self._responder.tell({"type": "reload", **told, **facts})

    def _end(self, error: DspexError | None) -> None:
        node = self._node
        node.reload = None
        rest = list(self._rest())
        facts = {"done": sum(step["state"] == "done" for step in self._done), "not_done": [step["id"] for step in rest]}
        if error is None and not rest:
            node.reports.emit("reloaded", None, who=self._who, steps=len(self._done), seconds=node.loop.now() - self._begun_at)
        else:
            why = "interrupted" if error is None else error.message
            node.reports.emit("reload_failed", None, who=self._who, message=why, **facts)
        fault = None if error is None else to_fault(error, id=error.id, incarnation=None, codec=PLAIN)
        self._responder.reply({"steps": [*self._done, *rest], "refused": [], "left": list(self._plan.left), "fault": fault})

    def _rest(self) -> Iterator[Facts]:
        for step in self._plan.steps[len(self._done) :]:
            yield {**step.as_map(), "state": "not_done"}
