"""Random scenarios with dynamic supervisors, for Elixir's DynamicSupervisor. The same plain data as `generator`, and

    SUPERVISOR  {"dynamic": true, "intensity", "period", "max_children"?}

Every start_child names a new id: Elixir ignores ids, ours are made unique by the shell. Two things that Elixir does one after the
other are done side by side here, on purpose, and are not generated: requests while a child starts slowly, and anything that
waits in the mailbox while a failed restart is tried again. Nor is a terminate_child that waits in a mailbox with other news of
the same child: Elixir's means a pid, ours whoever has the id.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from conformance.generator import EXITS, Generator, weighted

DYNAMIC_VERSION = 1


def dynamic_scenario(seed: int) -> dict[str, Any]:
    """Return the scenario of a seed."""
    return _Dynamic(random.Random(f"dynamic {DYNAMIC_VERSION}:{seed}")).scenario()


@dataclass(slots=True)
class _Dynamic:
    rng: random.Random
    dynamic: list[str] = field(default_factory=list)  # paths
    workers: list[str] = field(default_factory=list)
    bursts: bool = False  # else there are starts that fail
    started: int = 0

    def scenario(self) -> dict[str, Any]:
        self.bursts = self.rng.random() < 0.4
        if self.rng.random() < 0.6:
            self.dynamic = ["r"]
            root = self._supervisor()
        else:
            root = self._tree()
        steps = [
            ["call", path, "start_child", self._new_child(path)] for path in self.dynamic for _ in range(self.rng.randint(1, 3))
        ]
        steps += [self._step() for _ in range(self.rng.randint(3, 14))]
        return {"root": root, "steps": steps}

    def _tree(self) -> dict[str, Any]:
        """Return a static root with dynamic children among its own."""
        grown = Generator(self.rng, auto_shutdown=True, calm=True)
        root = grown.supervisor("r", 3)
        self.workers = grown.workers
        for child in self.rng.sample(root["children"], min(len(root["children"]), self.rng.randint(1, 2))):
            path = f"r/{child['id']}"
            self.workers.remove(path)
            self.dynamic.append(path)
            child.update(shutdown="infinity", supervisor=self._supervisor())
        return root

    def _supervisor(self) -> dict[str, Any]:
        limit = {"max_children": self.rng.randint(1, 5)} if self.rng.random() < 0.4 else {}
        return {"dynamic": True, "intensity": self.rng.choice((0, 1, 2, 3, 4, 6)), "period": 1000, **limit}

    def _new_child(self, supervisor: str) -> dict[str, Any]:
        self.started += 1
        grown = Generator(self.rng, auto_shutdown=True, calm=self.bursts, slow=False)
        child = grown.child(supervisor, f"c{self.started}", 2, significant=False)
        self.workers += grown.workers
        if child["shutdown"] == 0:
            child["shutdown"] = "brutal_kill"  # Elixir refuses 0
        return child

    def _step(self) -> list[Any]:
        path = self.rng.choice(self.dynamic)
        if self.bursts and self.rng.random() < 0.4:
            actions = [self._action(path, below=True) for _ in range(self.rng.randint(2, 4))]
            actions = [action for n, action in enumerate(actions) if not _is_about_the_same(action, actions[:n])]
            actions.sort(key=lambda action: action[2] == "count_children")
            return ["burst", path, actions]
        return self._action(path)

    def _action(self, path: str, *, below: bool = False) -> list[Any]:
        chance = self.rng.random()
        near = [worker for worker in self.workers if worker.startswith(f"{path}/")] if below else self.workers
        if chance < 0.45 and near:
            return ["exit", self.rng.choice(near), weighted(self.rng, EXITS)]
        if chance < 0.72:
            return ["call", path, "start_child", self._new_child(path)]
        if chance < 0.9:
            return ["call", path, "terminate_child", f"c{self.rng.randint(1, self.started + 1)}"]
        return ["call", path, self.rng.choice(("which_children", "count_children")), ""]


def _is_about_the_same(action: list[Any], before: list[list[Any]]) -> bool:
    """Return whether one of the two is a terminate_child, and the other about the same child."""
    ids = {id for other in before for id in _ids(other)}
    if action[2] == "terminate_child":
        return not ids.isdisjoint(_ids(action))
    return action[0] == "exit" and any(other[2] == "terminate_child" and other[3] in _ids(action) for other in before)


def _ids(action: list[Any]) -> list[str]:
    match action:
        case ["exit", path, _]:
            return list(path.split("/"))
        case [_, _, _, {"id": id}] | [_, _, _, str(id)]:
            return [id]
        case _:
            return []
