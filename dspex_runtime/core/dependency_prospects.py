"""What will become of an id by itself, as things stand: whether it stays down, and whether a cascade will restart it.

Of one moment: made anew for each decision, and asked from what an id depends on upwards, so that no chain is too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dspex_runtime.core.dependency_node import Node


class Prospects:
    """The prospects of some ids and of all that they depend on.

    Attributes:
        lost: Those that are down and stay so until somebody does something: a held one too, if what holds it is lost.
        leaving: Those with a process that a cascade will stop.
        going: Those with a process that a cascade will restart without anybody's help.
        due: Those of them whose turn it is: nothing that they wait for is down, or is to be restarted or stopped first.
    """

    def __init__(self, nodes: Mapping[str, Node], ids: Iterable[str]) -> None:
        self._nodes = nodes
        self.lost: set[str] = set()
        self.leaving: set[str] = set()
        self.going: set[str] = set()
        self.due: list[str] = []
        for id in upwards(nodes, ids):
            self._look(nodes[id])

    def _look(self, node: Node) -> None:
        holding = list(node.holding())
        is_stuck = any(dep in self.lost for dep in holding)
        if node.incarnation is None:
            if not node.coming or is_stuck:
                self.lost.add(node.id)
            return
        if node.is_leaving or any(dep in self.leaving or dep in self.going for dep in node.parting()):
            self.leaving.add(node.id)
            return
        if is_stuck or not any(self._will_follow(node, dep) for dep in node.following()):
            return
        self.going.add(node.id)
        is_free = all(self._nodes[dep].is_up and dep not in self.going and dep not in self.leaving for dep in holding)
        if node.is_up and not node.is_returning and is_free and is_stale(node, self._nodes):
            self.due.append(node.id)

    def _will_follow(self, node: Node, dep: str) -> bool:
        """Return whether that dependency is, or will be, another incarnation than this one began with."""
        if dep in self.going:
            return True
        other = self._nodes[dep]
        return other.coming if other.incarnation is None or not other.is_up else other.incarnation != node.seen.get(dep)


def upwards(nodes: Mapping[str, Node], ids: Iterable[str]) -> list[str]:
    """Return those of the ids that are known, and all that they depend on, each behind what it depends on."""
    order: dict[str, None] = {}
    entered: set[str] = set()
    for start in ids:
        if start not in nodes or start in entered:
            continue
        walks = [(start, iter(nodes[start].edges))]
        entered.add(start)
        while walks:
            id, deps = walks[-1]
            dep = next((dep for dep in deps if dep not in entered), None)
            if dep is not None:
                entered.add(dep)
                walks.append((dep, iter(nodes[dep].edges)))
                continue
            walks.pop()
            order[id] = None
    return list(order)


def is_stale(node: Node, nodes: Mapping[str, Node]) -> bool:
    """Return whether a dependency that it is restarted with is up, and not as the incarnation that this one began with."""
    return any(nodes[dep].is_up and nodes[dep].incarnation != node.seen.get(dep) for dep in node.following())
