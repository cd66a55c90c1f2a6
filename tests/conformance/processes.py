"""A scenario played with real processes. Beside it the core plays it step by step and says what there is to wait for.

What cannot be seen of a process, or not be made deterministic from outside, is left out of the scenario (`visible`) and of
the core's log (`seen`): gates and bursts, reports, ends and their reasons, starts of supervisors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from conformance.player import Player, Scenario, counts_text, which_text
from conformance.world import ROOT, Node, Worker, World

import dspex_runtime as dx
from helpers.waiting import wait_until

SCRIPTED: Final = Path(__file__).parent / "scripted.py"
STUBBORN_MS: Final = 400  # instead of a time-out that leaves no time to note what it was asked; all of it passes
OBEDIENT_MS: Final = 20_000  # none of it is to pass
UNDER_WAY: Final = ("PENDING", "STARTING", "BACKOFF", "STOPPING")
Start = Callable[..., dx.Runtime]


# -- what of a scenario and of its log a process can show


def visible(scenario: Scenario) -> Scenario:
    """Return the scenario without gates and bursts, and with stops that leave time for a line in the journal."""
    plain: Scenario = json.loads(json.dumps(scenario).replace('"slow ', '"').replace('"slow"', '"obey"'))
    actions = [action for step in plain["steps"] for action in (step[2] if step[0] == "burst" else [step]) if step[0] != "wait"]
    return {
        "root": _supervisor(plain["root"]),
        "steps": [
            [*action[:3], _child(action[3])] if action[2] == "start_child" else action
            for action in actions
            if action[2] != "get_childspec"
        ],
    }


def _supervisor(plan: dict[str, Any]) -> dict[str, Any]:
    return {**plan, "children": [_child(child) for child in plan["children"]]}


def _child(child: dict[str, Any]) -> dict[str, Any]:
    if "supervisor" in child:
        return {**child, "supervisor": _supervisor(child["supervisor"])}
    manner = child.get("stop", "obey")
    patience = STUBBORN_MS if manner == "stubborn" else OBEDIENT_MS
    limit = "brutal_kill" if child["shutdown"] == 0 else patience if isinstance(child["shutdown"], int) else child["shutdown"]
    return {**child, "shutdown": limit, "stop": "obey" if manner.startswith("exit") else manner}


def seen(world: World) -> list[str]:
    """Return what a journal has of the core's log."""
    lines = []
    for line in world.lines:
        word, _, rest = line.partition(" ")
        if word in ("report", "up", "end") or (word == "start" and rest in world.opened):
            continue
        if word in ("answer", "boot"):  # the reasons of failures are Python's
            line = line.partition("start_failed")[0] + "start_failed" if "start_failed" in line else line
            line = "boot failed" if word == "boot" else line
        lines.append(line)
    return lines


# -- playing


class RealPlayer:
    """Plays one scenario with processes.

    Attributes:
        core: The same scenario in the core, up to the same step.
    """

    def __init__(self, scenario: Scenario, start: Start, journal: Path) -> None:
        self.core = Player(scenario)
        self._scenario = scenario
        self._start = start
        self._journal = journal
        self._requests = 0
        self._shown: dict[str, str] = {}

    def play(self) -> list[str]:
        """Return the journal."""
        self._journal.touch()
        self.core.boot()
        spec = self._supervisor(self._scenario["root"], ROOT)
        try:
            runtime = self._start(*spec.pop("children"), tree=spec)
        except dx.StartError:
            self._note("boot failed")
        else:
            self._look(runtime)
            for step in self._scenario["steps"]:
                self._act(runtime, step)
                self._look(runtime)
            self._note("> stop")
            self.core.stop()
            runtime.close()
        return self._journal.read_text().splitlines()

    def _act(self, runtime: dx.Runtime, step: list[Any]) -> None:
        before = dict(self.core.world.places)
        self.core.step(step)
        match step:
            case ["exit", path, reason] if isinstance(before.get(path), Worker):
                self._note(f"> exit {path} {reason}")
                if reason == "killed":
                    runtime.kill(_id(path))
                else:
                    runtime.server(_id(path)).cast(reason)
            case ["exit", path, _]:
                self._note(f"> exit {path} not running")
            case ["call", path, verb, arg]:
                self._requests += 1
                self._note(f"> call {self._requests} {path} {verb} {arg['id'] if isinstance(arg, dict) else arg}")
                is_up = isinstance(before.get(path), Node)
                self._note(f"answer {self._requests} {self._ask(runtime, path, verb, arg) if is_up else 'noproc'}")

    def _ask(self, runtime: dx.Runtime, path: str, verb: str, arg: Any) -> str:
        above = _id(path)
        try:
            match verb:
                case "start_child":
                    answer = runtime.start_child(above, self._child(arg, path))
                    return "undefined" if answer == "undefined" else "started"
                case "restart_child":
                    answer = runtime.restart_child(above, arg)
                    return "undefined" if answer == "undefined" else "started"
                case "which_children":
                    return which_text(runtime.which_children(above))
                case "count_children":
                    return counts_text(runtime.count_children(above))
                case _:
                    getattr(runtime, verb)(above, arg)
                    return "ok"
        except dx.StartError:
            return "start_failed"
        except dx.SupervisorError as exc:
            return exc.code

    def _look(self, runtime: dx.Runtime) -> None:
        """Wait until those are up that are up in the core, then note the children of every supervisor where they changed."""
        places = self.core.world.places
        expected = {_id(path): place.incarnation for path, place in places.items()}
        wait_until(lambda: _up(runtime) == expected, what=f"{expected} are up")
        for path in sorted(path for path, place in places.items() if isinstance(place, Node)):
            text = f"{which_text(runtime.which_children(_id(path)))} {counts_text(runtime.count_children(_id(path)))}"
            if self._shown.get(path) != text:
                self._shown[path] = text
                self._note(f"tree {path}: {text}")

    # specs, in the words of the YAML

    def _supervisor(self, plan: dict[str, Any], path: str) -> dict[str, Any]:
        return {
            "strategy": plan["strategy"],
            "max_restarts": plan["intensity"],
            "max_seconds": plan["period"],
            "auto_shutdown": plan.get("auto_shutdown", "never"),
            "children": [self._child(child, path) for child in plan["children"]],
        }

    def _child(self, child: dict[str, Any], above: str) -> dict[str, Any]:
        path = f"{above}/{child['id']}"
        limit = child["shutdown"]
        spec = {
            "id": child["id"],
            "restart": child["restart"],
            "shutdown": f"{limit}ms" if isinstance(limit, int) else limit,
            "significant": child.get("significant", False),
            "backoff": "none",
        }
        if "supervisor" in child:
            return {**spec, "supervisor": self._supervisor(child["supervisor"], path)}
        stop = child.get("stop", "obey")
        args = {"journal": str(self._journal), "path": path, "starts": child.get("starts", {}), "stop": stop}
        return {**spec, "server": f"{SCRIPTED}:Scripted", "args": args, "trap_exit": stop != "notrap"}

    def _note(self, line: str) -> None:
        with self._journal.open("a") as file:
            file.write(f"{line}\n")


def _id(path: str) -> str:
    return "root" if path == ROOT else path.removeprefix(f"{ROOT}/")


def _up(runtime: dx.Runtime) -> dict[str, int] | None:
    """Return the incarnations of all that are up, None while anything is under way; "root" is always the first."""
    up = {"root": 1} if runtime.tree()["state"] == "READY" else {}
    for info in runtime.modules():
        if info.state in UNDER_WAY:
            return None
        if info.state == "READY":
            up[info.id] = info.incarnation
    return up
