"""Who is down for whom, who has to wait, and who is stopped or restarted because of it. One for a runtime, by full id.

    exits, starts, readiness of one moment -> handle(...) -> what processes are told, what supervisors hold, restart and stop

Never reads a clock, never does I/O, never asks a supervisor: it is told facts and says what follows from them. The rules, for x
that depends on y:

- x is told that y is down, and that it is up again, while x has a process; one that begins learns it with its assignment.
- wait, restart, stop: a restart of x is held while y is down. What y is to x as a part of it is no reason to wait: x starts that.
- stop: x is stopped when y goes down, if it has a process.
- restart: x is restarted once y is up as another incarnation than x began with; when all that x waits for is up and nothing of
  that is to be restarted itself. So a cascade goes in the order of dependencies, and comes to each once, however many fail at the
  same time. What stays down until somebody does something about it is not waited for by those that do not depend on it.

Source: DESIGN §8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from dspex_runtime.core.child_spec import Dependency
from dspex_runtime.core.dependency_cycles import Cycle
from dspex_runtime.core.dependency_events import (
    CascadeRestart,
    CascadeStop,
    Consequence,
    Declared,
    Fact,
    Forgotten,
    Hold,
    Refused,
    Release,
    Starting,
    TellDown,
    TellUp,
    Up,
    WentDown,
)
from dspex_runtime.core.dependency_graph import DependencyGraph
from dspex_runtime.core.dependency_node import NEVER_UP, Node, Terms
from dspex_runtime.core.dependency_prospects import Prospects, is_stale, upwards
from dspex_runtime.core.invariants import InvariantError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import Incarnation


@dataclass(frozen=True, slots=True)
class _Fall:
    """An incarnation had a process when a dependency of it went down."""

    id: str
    incarnation: Incarnation
    dep: str


class Dependencies:
    """All dependencies of a runtime. `handle` is the only mutator."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._graph = DependencyGraph()  #: of the edges of all nodes
        self._stale: dict[str, None] = {}  #: up, and began before a dependency that it is restarted with

    # -- facts --------------------------------------------------------------------------------------------------------

    def handle(self, *facts: Fact) -> list[Consequence]:
        """Take in facts of one moment and return what follows from all of them together, in order.

        Give it all exits of one batch at once: what died with its dependency is not stopped for it. A tree is declared at once
        as well: its circles are looked for once.

        Cost: proportional to what depends on the ids of the facts, and to the cascades that are under way; of a declaration, to
        all that it leads to.
        """
        circles = self.refusals(*(fact for fact in facts if isinstance(fact, Declared)))
        affected: dict[str, None] = {}
        falls: list[_Fall] = []
        for fact in facts:
            if fact.id in circles and isinstance(fact, Declared):
                continue
            node = self._node(fact.id)
            before, dependents = node.serving, list(node.needed_by)
            affected.update(dict.fromkeys((node.id, *dependents, *node.edges)))  # the latter may be of no more use
            self._take(node, fact)
            if before is not None and node.serving != before:
                falls += [_Fall(id, incarnation, node.id) for id in dependents if (incarnation := self._nodes[id].incarnation)]
        consequences: list[Consequence] = [Refused(id, str(cycle)) for id, cycle in circles.items()]
        for id in affected:
            consequences += self._settle(self._nodes[id])
        consequences += self._stops(falls)
        consequences += self._restarts()
        self._prune(affected)
        return consequences

    def _node(self, id: str) -> Node:
        node = self._nodes.get(id)
        if node is None:
            node = self._nodes[id] = Node(id)
        return node

    def _take(self, node: Node, fact: Fact) -> None:
        match fact:
            case Declared(_, edges, group):
                node.is_declared, node.group = True, group
                self._connect(node, edges)
            case Forgotten():
                node.is_declared, node.group = False, None
                node.ends(NEVER_UP, coming=False)
                self._connect(node, {})
            case Starting(_, incarnation):
                self._begin(node, incarnation)
            case Up(_, incarnation):
                if node.incarnation != incarnation:  # a group does not start
                    self._begin(node, incarnation)
                node.is_up = True
                # Its parts were started, or waited for, while it was.
                node.seen |= {dep: self._nodes[dep].serving for dep in node.edges if node.owns(dep)}
            case WentDown(_, reason, coming):
                node.ends(reason, coming=coming)
            case _:
                assert_never(fact)

    def _begin(self, node: Node, incarnation: Incarnation) -> None:
        node.starts(incarnation)
        node.seen = {dep: self._nodes[dep].serving for dep in node.edges}

    def _connect(self, node: Node, edges: Mapping[str, Dependency]) -> None:
        for dep in node.edges:
            self._nodes[dep].needed_by.pop(node.id, None)
        for dep in edges:
            other = self._node(dep)
            other.needed_by[node.id] = None
            if node.incarnation is not None and dep not in node.edges:
                node.seen[dep] = other.serving  # what is there now is what it goes on with
        node.edges = MappingProxyType(dict(edges))
        self._graph.put(node.id, edges, node.group)

    def _prune(self, ids: Iterable[str]) -> None:
        for id in ids:
            node = self._nodes[id]
            if not node.is_used:
                del self._nodes[id]

    # -- what follows -------------------------------------------------------------------------------------------------

    def _settle(self, node: Node) -> Iterator[Consequence]:
        """Yield what its process and its supervisor are told, now that they know something else."""
        down = self._terms(node)
        if node.incarnation is not None:
            yield from _news(node, down)
            node.told = down
        held = any(dep in down for dep in node.holding())
        if held != node.held:
            node.held = held
            node.is_returning = False  # a supervisor does not begin a restart that has to wait: it is asked again
            yield Hold(node.id) if held else Release(node.id)
        if node.is_up and is_stale(node, self._nodes):
            self._stale[node.id] = None
        else:
            self._stale.pop(node.id, None)

    def _terms(self, node: Node) -> dict[str, Terms]:
        return {dep: (dependency, self._nodes[dep].reason) for dep, dependency in node.edges.items() if not self._nodes[dep].is_up}

    def _stops(self, falls: Iterable[_Fall]) -> Iterator[Consequence]:
        for fall in falls:
            node = self._nodes[fall.id]
            if node.incarnation == fall.incarnation and fall.dep in node.parting() and not node.is_leaving:
                node.is_leaving = True
                yield CascadeStop(node.id, fall.incarnation, fall.dep)

    def _restarts(self) -> Iterator[Consequence]:
        for id in Prospects(self._nodes, self._stale).due if self._stale else ():
            node = self._nodes[id]
            assert node.incarnation is not None
            node.is_returning = True
            because = [dep for dep in node.following() if self._nodes[dep].incarnation != node.seen.get(dep)]
            yield CascadeRestart(id, node.incarnation, tuple(because))

    # -- looks --------------------------------------------------------------------------------------------------------

    def refusals(self, *wanted: Declared) -> dict[str, Cycle]:
        """Return the circles for which these would be refused if they came together, by id.

        Cost: proportional to what they lead to.
        """
        return self._graph.refusals([(each.id, each.edges, each.group) for each in wanted])

    def edges(self, id: str) -> Mapping[str, Dependency]:
        """Return what it depends on, by full id."""
        node = self._nodes.get(id)
        return {} if node is None else node.edges

    def down(self, id: str) -> dict[str, ExitReason]:
        """Return the dependencies of it that are not up, each with why it went down: "noproc" before it ever was up."""
        node = self._nodes.get(id)
        return {} if node is None else {dep: reason for dep, (_, reason) in self._terms(node).items()}

    def obstacles(self, id: str, edges: Mapping[str, Dependency] | None = None) -> dict[str, bool]:
        """Return the dependencies that a start of it has to wait for, and whether each is coming.

        One that waits itself for one that is not coming is not coming. `edges`: in place of what was declared.
        """
        node = Node(id, edges=self.edges(id) if edges is None else edges)
        down = [dep for dep in node.holding() if not self.is_up(dep)]
        lost = Prospects(self._nodes, down).lost
        return {dep: dep in self._nodes and dep not in lost for dep in down}

    def reached(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the ids and all that they depend on: what `obstacles` goes by."""
        every = list(ids)
        return frozenset((*every, *upwards(self._nodes, every)))

    def is_held(self, id: str) -> bool:
        """Return whether a restart of it has to wait, as the latest Hold or Release said."""
        node = self._nodes.get(id)
        return node is not None and node.held

    def is_up(self, id: str) -> bool:
        """Return whether it is up."""
        node = self._nodes.get(id)
        return node is not None and node.is_up

    def needed_by(self, id: str) -> list[str]:
        """Return who depends on it, in the order in which they said so."""
        node = self._nodes.get(id)
        return [] if node is None else list(node.needed_by)

    def validate(self) -> None:
        """Check every invariant.

        Raises:
            InvariantError: One does not hold; the text names the ids.

        Cost: proportional to the number of dependencies.
        """
        if found := [text for node in self._nodes.values() for text in self._problems(node)]:
            raise InvariantError("\n".join(found))
        if (wrong := self._graph.problem((node.id, node.edges, node.group) for node in self._nodes.values())) is not None:
            raise InvariantError(wrong)

    def _problems(self, node: Node) -> Iterator[str]:
        down = self._terms(node)
        if node.incarnation is not None and node.told != down:
            yield f"{node.id!r} was told that {node.told} are down, it is {down}"
        if node.held != any(dep in down for dep in node.holding()):
            yield f"{node.id!r} is held: {node.held}, down are {list(down)}"
        if (node.id in self._stale) != (node.is_up and is_stale(node, self._nodes)):
            yield f"{node.id!r} is noted as stale: {node.id in self._stale}; seen {node.seen}"
        if node.is_up and node.incarnation is None:
            yield f"{node.id!r} is up without a process"
        if not node.is_used:
            yield f"{node.id!r} is remembered for nothing"
        yield from (f"{dep!r} does not know {node.id!r}" for dep in node.edges if node.id not in self._nodes[dep].needed_by)
        yield from (f"{id!r} does not depend on {node.id!r}" for id in node.needed_by if node.id not in self.edges(id))


def _news(node: Node, down: Mapping[str, Terms]) -> Iterator[Consequence]:
    """Yield what a process is told; one that has just begun has it from its assignment."""
    told = node.told
    if told is None:
        return
    for dep in told:
        if dep not in down:
            yield TellUp(node.id, dep)
    for dep, terms in down.items():
        if told.get(dep) != terms:
            yield TellDown(node.id, dep, *terms)
