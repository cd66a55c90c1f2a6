"""Plays a scenario with the pure core and returns its log: the counterpart of erlang/oracle.erl, step by step.

A scenario is plain data (see `generator`). The log is a list of lines:

    > exit r/a boom              what the scenario does next
    start r/a#2                  a supervisor starts a child: this is the second start of that path
    up r/a                       progress report: it is up
    stop r/a#1 shutdown          the child sees that it is to stop
    end r/a#1 boom               it is gone, and why (noticed before the next line; several ends are sorted by name)
    report KIND r/a REASON       a supervisor report: start_error, child_terminated, shutdown_error, shutdown
    gate r/a start               the child waits in its start (or stop), and its supervisor with it
    answer 3 already_started     of request 3, seen when all is quiet or at a gate
    tree r: b=up a=restarting 2/1/0/2     which_children and count_children, where they changed
    boot failed REASON           the root did not come up
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from conformance import differences
from conformance.world import ROOT, Node, Worker, World, child_spec, reason_of, reason_text

from dspex_runtime.core import events as ev
from dspex_runtime.core import instructions as do
from dspex_runtime.core.child_spec import ChildSpec
from dspex_runtime.types import ChildId

Scenario = dict[str, Any]
REQUESTS: dict[str, Callable[[int, ChildId], ev.Request]] = {
    "terminate_child": ev.TerminateChildAsked,
    "restart_child": ev.RestartChildAsked,
    "delete_child": ev.DeleteChildAsked,
    "get_childspec": ev.GetChildSpecAsked,
}


def play(scenario: Scenario, *, validate: bool = False, swaps: bool = False) -> list[str]:
    """Return the log of a scenario.

    `validate` checks the machines' invariants after every event, `swaps` swaps every worker as soon as it is up.
    """
    return Player(scenario, validate=validate, swaps=swaps).play()


class Player:
    """Plays one scenario."""

    def __init__(self, scenario: Scenario, *, validate: bool = False, swaps: bool = False) -> None:
        self.world = World(scenario["root"], validate=validate, swaps=swaps)
        self._steps = scenario["steps"]
        self._gates = list(scenario.get("gates", []))
        self._shown: dict[str, str] = {}
        self._asked: dict[int, Node] = {}
        self._requests = 0

    def play(self) -> list[str]:
        """Play it, stop the tree at the end and return the log."""
        self.boot()
        for step in self._steps:
            self.step(step)
        self.stop()
        return self.world.lines

    def boot(self) -> None:
        """Start the tree."""
        self.world.boot()
        self._settle()

    def step(self, step: list[Any]) -> None:
        """Play one step, until all is quiet."""
        world = self.world
        match step:
            case ["wait", seconds]:
                world.line(f"> wait {seconds}")
                world.pass_time(float(seconds))
            case ["burst", path, actions]:
                world.line(f"> burst {path}")
                self._burst(world.places.get(path), actions)
            case _:
                self._act(step)
        self._settle()

    def stop(self) -> None:
        """Stop the tree."""
        self.world.line("> stop")
        self.world.stop()
        self._settle()

    def _burst(self, supervisor: Worker | Node | None, actions: list[list[Any]]) -> None:
        held = supervisor if isinstance(supervisor, Node) else None
        if held is not None:
            held.held = []
        for action in actions:
            self._act(action)
            self._settle()
        if held is not None:
            events, held.held = held.held or [], None
            for event in events:
                self.world.tell(held, event)
                if held.machine.spec.dynamic:
                    self.world.run()  # one after the other, as Elixir; ours starts children side by side

    def _act(self, action: list[Any]) -> None:
        world = self.world
        match action:
            case ["exit", path, reason]:
                if isinstance(worker := world.places.get(path), Worker):
                    world.line(f"> exit {path} {reason}")
                    world.finish(worker, reason_of(reason))
                else:
                    world.line(f"> exit {path} not running")
            case ["call", path, verb, arg]:
                self._call(path, verb, arg)
            case _:
                raise ValueError(f"unknown step {action!r}")

    def _call(self, path: str, verb: str, arg: Any) -> None:
        self._requests += 1
        number = self._requests
        self.world.line(f"> call {number} {path} {verb} {arg['id'] if isinstance(arg, dict) else arg}")
        node = self.world.places.get(path)
        if not isinstance(node, Node):
            self.world.line(f"answer {number} noproc")
            return
        self._asked[number] = node
        self.world.tell(node, _request(number, verb, arg))

    def _settle(self) -> None:
        """Let everything happen until all is quiet, with what the scenario has for the gates on the way."""
        world = self.world
        world.run()
        while world.gates:
            self._at_gate(world.gates[0])
            world.run()
        self._report_answers()
        world.bury()
        for path in sorted(path for path, place in world.places.items() if isinstance(place, Node)):
            node = world.places[path]
            assert isinstance(node, Node)
            if node.held is None:
                self._show(node)

    def _at_gate(self, worker: Worker) -> None:
        world = self.world
        world.line(f"gate {worker.path} {worker.gate}")
        self._report_answers()
        above, _, own_id = worker.path.rpartition("/")
        actions = self._gates.pop(0) if self._gates else []
        if above != ROOT and above not in world.places:
            actions = []  # it is booting: when it is up, it and its parent go on side by side
        for action in actions:
            if worker not in world.gates:
                return  # it is dead: its supervisor goes on
            match action:
                case ["end", reason]:
                    world.line(f"> end {reason}")
                    world.finish(worker, reason_of(reason))
                case ["exit", id, reason]:
                    self._act(["exit", f"{above}/{id}", reason])
                case ["call", verb, arg]:
                    self._act(["call", above, verb, own_id if arg == "." else arg])
        if worker in world.gates:
            self._report_answers()
            world.release(worker)

    def _report_answers(self) -> None:
        for number, node in sorted(self._asked.items(), key=lambda item: item[0]):
            result = node.replies.get(number)
            if result is None or differences.is_early(result, ended=node.ended):
                continue
            self.world.line(f"answer {number} {_answer(differences.same(result), node)}")
            del self._asked[number]

    def _show(self, node: Node) -> None:
        which = node.machine.handle(ev.WhichChildrenAsked(-1), self.world.now)
        counts = node.machine.handle(ev.CountChildrenAsked(-2), self.world.now)
        text = " ".join(_answer(reply.result, node) for reply in (*which, *counts) if isinstance(reply, do.Reply))
        if self._shown.get(node.path) != text:
            self._shown[node.path] = text
            self.world.line(f"tree {node.path}: {text}")


def _request(number: int, verb: str, arg: Any) -> ev.Request:
    match verb:
        case "start_child":
            return ev.StartChildAsked(number, child_spec(arg))
        case "which_children":
            return ev.WhichChildrenAsked(number)
        case "count_children":
            return ev.CountChildrenAsked(number)
        case _:
            return REQUESTS[verb](number, ChildId(arg))


def _answer(result: do.Ok | do.Err, node: Node) -> str:
    match result:
        case do.Err("start_failed", _, reason):
            return f"start_failed {reason_text(reason)}"
        case do.Err(code):
            return code
        case do.Ok(None):
            return "ok"
        case do.Ok(str(word)):
            return word
        case do.Ok(do.Started()):
            return "started"
        case do.Ok(list(which)):
            return which_dynamic_text(which) if node.machine.spec.dynamic else which_text(which)
        case do.Ok(dict(counts)):
            return counts_text(counts)
        case do.Ok(ChildSpec() as spec):
            kind = "worker" if spec.supervisor is None else "supervisor"
            limit = spec.metadata["shutdown"]
            return f"{spec.id} {spec.restart} {limit} {kind} {str(spec.significant).lower()}"
        case _:
            raise ValueError(f"no text for {result}")


def which_text(rows: Iterable[tuple[str, int | str | None, str]]) -> str:
    """Return the answer to which_children as a log has it."""
    return " ".join(f"{id}={_where(where)}{'(s)' if type == 'supervisor' else ''}" for id, where, type in rows)


def which_dynamic_text(rows: Iterable[tuple[str, int | str | None, str]]) -> str:
    """Return the same of a dynamic supervisor: Elixir gives no order, and no id of who is restarting."""
    return " ".join(sorted(text.partition("=")[2] if "=restarting" in text else text for text in which_text(rows).split()))


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the answer to count_children as a log has it."""
    return "/".join(str(counts[key]) for key in ("specs", "active", "supervisors", "workers"))


def _where(pid: object) -> str:
    return str(pid) if pid in ("undefined", "restarting") else "up"
