"""Random scenarios: a tree, what becomes of each start and stop in it, what happens to it. A seed gives the same for ever.

    {"root": SUPERVISOR, "steps": [STEP, ...], "gates": [[MEANWHILE, ...], ...]}

    SUPERVISOR  {"strategy", "intensity", "period" (s), "auto_shutdown"?, "children": [CHILD, ...]}
    CHILD       {"id", "restart", "shutdown": ms | "infinity" | "brutal_kill", "significant"?,
                 "starts"?: {"2": OUTCOME, ...}   by the number of the start of this path; "ok" where none is given
                 "stop"?: MANNER                  what it does when told to stop; "obey" where none is given
                 "supervisor"?: SUPERVISOR}
    OUTCOME     "ok" | "ignore" | "fail REASON" | "slow OUTCOME" (waits at a gate first)
    MANNER      "obey" | "exit REASON" | "stubborn" (until it is killed) | "slow" (waits at a gate) | "notrap" (the signal ends it)
    STEP        ACTION | ["burst", path, [ACTION, ...]] (the supervisor sees them all at once) | ["wait", seconds]
    ACTION      ["exit", path, REASON] | ["call", path, request, argument]
    MEANWHILE   ["exit", id, REASON] | ["call", request, argument] (on the supervisor that waits) | ["end", REASON] (of the child
                 that waits; "." is its id)

Only what OTP answers in one way is generated: never two signals from different senders at once, no supervisor that is killed
or has a finite shutdown (its children would be orphans), no shutdown of a supervisor that waits at a gate.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

VERSION: Final = 1  # of the scenarios that a seed gives
MAX_DEPTH: Final = 3
MAX_CHILDREN: Final = 6
IDS: Final = "abcdef"
T = TypeVar("T")

EXITS: Final = {"boom": 40, "killed": 20, "normal": 20, "shutdown": 12, "shutdown:x": 12}
FAILURES: Final = {"fail boom": 6, "fail normal": 1, "fail shutdown": 1}
MANNERS: Final = {"obey": 60, "notrap": 8, "slow": 10, "exit boom": 4, "exit normal": 4, "exit shutdown:x": 4, "stubborn": 10}
RESTARTS: Final = {"permanent": 5, "transient": 3, "temporary": 2}
STRATEGIES: Final = ("one_for_one", "rest_for_one", "one_for_all")
REQUESTS: Final = {
    "start_child": 5,
    "terminate_child": 5,
    "restart_child": 5,
    "delete_child": 3,
    "which_children": 1,
    "count_children": 1,
    "get_childspec": 1,
}


def scenario(seed: int, *, auto_shutdown: bool = True) -> dict[str, Any]:
    """Return the scenario of a seed; `auto_shutdown` False leaves significant children out."""
    return Generator(random.Random(f"{VERSION}:{seed}"), auto_shutdown=auto_shutdown).scenario()


@dataclass(slots=True)
class Generator:
    """Draws the parts of one scenario."""

    rng: random.Random
    auto_shutdown: bool = True
    supervisors: dict[str, list[str]] = field(default_factory=dict)  # path -> ids of its children
    workers: list[str] = field(default_factory=list)  # paths
    modes: dict[str, str] = field(default_factory=dict)  # auto_shutdown by path, of the tree that is there from the start
    calm: bool = False  # starts and stops come out well
    slow: bool = True  # some wait at a gate

    def scenario(self) -> dict[str, Any]:
        timed = self.rng.random() < 0.01
        self.calm = timed or self.rng.random() < 0.15
        root = self.supervisor("r", 1)
        if timed:
            root["period"], root["intensity"] = 3, self.rng.randint(1, 2)
        steps = [self._step() for _ in range(self.rng.randint(3, 14))]
        if timed:
            steps = [item for step in steps for item in ([step, ["wait", "4.5"]] if self.rng.random() < 0.25 else [step])]
        gates = [] if self.calm else [self._meanwhile() for _ in range(self.rng.randint(0, 5))]
        return {"root": root, "steps": steps, **({"gates": gates} if gates else {})}

    # -- the tree

    def supervisor(self, path: str, depth: int) -> dict[str, Any]:
        """Return a supervisor with all below it."""
        count = min(self.rng.choice((1, 2, 3, 3, 4, 4, 5, 6)), MAX_CHILDREN if depth == 1 else 4)
        plan: dict[str, Any] = {
            "strategy": self.rng.choice(STRATEGIES),
            # A root that gives up ends the scenario: it gets more.
            "intensity": self.rng.choice((1, 2, 3, 4, 6, 9) if depth == 1 else (0, 1, 1, 2, 2, 3, 4, 6)),
            "period": 1000,
        }
        mode = "never"
        if self.auto_shutdown and self.rng.random() < 0.25:
            mode = plan["auto_shutdown"] = self.rng.choice(("any_significant", "all_significant"))
        self.modes[path] = mode
        self.supervisors[path] = ids = list(IDS[:count])
        plan["children"] = [self.child(path, id, depth, significant=mode != "never") for id in ids]
        return plan

    def child(self, above: str, id: str, depth: int, *, significant: bool) -> dict[str, Any]:
        """Return a child with its script; `significant` says whether it may be."""
        path = f"{above}/{id}"
        child: dict[str, Any] = {"id": id, "restart": self._weighted(RESTARTS), "shutdown": "infinity"}
        if significant and child["restart"] != "permanent" and self.rng.random() < 0.6:
            child["significant"] = True
        if depth < MAX_DEPTH and self.rng.random() < (0.3, 0.25)[depth - 1]:
            child["supervisor"] = self.supervisor(path, depth + 1)
            return child
        self.workers.append(path)
        child["shutdown"], manner = self._stop()
        if manner != "obey":
            child["stop"] = manner
        if starts := self._starts():
            child["starts"] = starts
        return child

    def _stop(self) -> tuple[int | str, str]:
        """Return a shutdown and a manner that have one outcome together."""
        if self.calm:
            return 5000, "obey"
        manner = self._weighted(MANNERS)
        if manner == "slow" and not self.slow:
            manner = "obey"
        limits: dict[int | str, int] = {5000: 6, "infinity": 3, "brutal_kill": 2}
        if manner == "stubborn":
            limits = {5: 3, "brutal_kill": 1, 0: 1}
        elif manner == "notrap":
            limits[0] = 2
        return self._weighted(limits), manner

    def _starts(self) -> dict[str, str]:
        if self.calm or self.rng.random() > 0.45:
            return {}
        first = self.rng.choice((2, 2, 2, 3, 3, 4)) if self.rng.random() < 0.98 else 1
        last = first + self.rng.choice((0, 0, 0, 1, 1, 2, 5))
        kind = self.rng.random()
        if kind < 0.6:
            return {str(number): self._maybe_slow(self._weighted(FAILURES)) for number in range(first, last + 1)}
        if kind < 0.8:
            return {str(self.rng.choice((1, 2, 2, 3))): self._maybe_slow("ignore")}
        return {str(number): "slow ok" for number in range(first, last + 1)} if self.slow else {}

    def _maybe_slow(self, outcome: str) -> str:
        return f"slow {outcome}" if self.slow and self.rng.random() < 0.3 else outcome

    # -- what happens

    def _step(self) -> list[Any]:
        path = self._any_path(list(self.supervisors))
        if self.rng.random() > 0.25:
            return self._action(path)
        actions: list[list[Any]] = []
        for _ in range(self.rng.randint(2, 5)):
            action = self._action(path, below=True)
            if actions and self.rng.random() < 0.5:
                action = self._about(path, action, actions[-1])
            actions.append(action)
        # OTP counts who is alive when it counts, also before it reads of a death: only what was told can be compared.
        actions.sort(key=lambda action: action[2] == "count_children")
        return ["burst", path, actions]

    def _about(self, supervisor: str, action: list[Any], before: list[Any]) -> list[Any]:
        """Return `action` as a request about the child that the action before it was about, where that makes sense."""
        match before:
            case ["exit", path, _]:
                id = path.rpartition("/")[2]
            case [_, _, _, str(id)] if id:
                pass
            case _:
                return action
        match action:
            case ["call", _, "terminate_child" | "restart_child" | "delete_child" | "get_childspec" as verb, _]:
                return ["call", supervisor, verb, id]
            case ["call", _, "start_child", child] if f"{supervisor}/{id}" not in self.supervisors and "supervisor" not in child:
                return ["call", supervisor, "start_child", {**child, "id": id}]
            case _:
                return action

    def _action(self, supervisor: str, *, below: bool = False) -> list[Any]:
        if self.rng.random() < 0.6:
            near = [path for path in self.workers if path.startswith(f"{supervisor}/")] if below else self.workers
            if near:
                return ["exit", self._any_path(near), self._weighted(EXITS)]
        verb, argument = self._request(supervisor)
        return ["call", supervisor, verb, argument]

    def _request(self, supervisor: str) -> tuple[str, Any]:
        verb = self._weighted(REQUESTS)
        if verb in ("which_children", "count_children"):
            return verb, ""
        ids = self.supervisors.get(supervisor, ["a"])
        chance = self.rng.random()
        if verb == "start_child":
            id = self.rng.choice(ids) if chance < 0.35 else self.rng.choice("xyz")
            if f"{supervisor}/{id}" in self.supervisors:  # what runs at a path is known before
                id = "x"
            return verb, self._new_child(supervisor, id)
        return verb, self.rng.choice(ids) if chance < 0.9 else self.rng.choice(("x", "y", "nobody"))

    def _new_child(self, supervisor: str, id: str) -> dict[str, Any]:
        depth = supervisor.count("/") + 1
        grown = Generator(self.rng, auto_shutdown=self.auto_shutdown, calm=self.calm, slow=self.slow)
        child = grown.child(supervisor, id, depth, significant=self.modes.get(supervisor, "never") != "never")
        self.supervisors |= grown.supervisors
        self.workers += [path for path in grown.workers if path not in self.workers]
        return child

    def _meanwhile(self) -> list[list[Any]]:
        actions: list[list[Any]] = []
        for _ in range(self.rng.randint(0, 3)):
            if self.rng.random() < 0.5:
                actions.append(["exit", self.rng.choice("abcdx"), self._weighted(EXITS)])
            else:
                verb, argument = self._request("?")
                argument = argument if isinstance(argument, dict) or not argument else self.rng.choice("abc...")
                actions.append(["call", verb, argument])
        if self.rng.random() < 0.1:
            actions.append(["end", self._weighted(EXITS)])
        return actions

    # -- small things

    def _any_path(self, paths: Sequence[str]) -> str:
        return self.rng.choice(paths) if self.rng.random() < 0.97 else f"{self.rng.choice(paths)}/none"

    def _weighted(self, table: dict[T, int]) -> T:
        return weighted(self.rng, table)


def weighted(rng: random.Random, table: dict[T, int]) -> T:
    """Return one of the keys, as often as its value says."""
    return rng.choices(list(table), list(table.values()))[0]
