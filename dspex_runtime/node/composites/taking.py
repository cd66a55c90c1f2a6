"""What another replica was compiled to, taken by an owner and its parts: all have it, or none; saved before and after.

An attempt of which nothing comes, as somebody is busy or has ended, is made again when all serve, a few times. One of them that is
down for good ends it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.node.composites.committing import Committing

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["TRIES", "Taking"]

TRIES: Final = 5  # each has the drain of the owner to come to rest

Facts: TypeAlias = dict[str, Any]


class Taking:
    """One owner that takes it.

    Args:
        node: The runtime.
        record: Of the owner.
        patch: Descriptor of what it came to; given away.
        who: Who changes it, for the history.
        done: Called once, with why not, if they have not taken it or are not saved.
    """

    def __init__(self, node: Node, record: Record, patch: int, who: str, done: Callable[[Facts | None], None]) -> None:
        self._node = node
        self._record = record
        self._patch = patch
        self._done = done
        self._left = TRIES
        self._committing = Committing(
            node, self._members, patch,
            who=who, about=dict, begun=lambda _info: None, again=self._again, done=lambda _info, fault: self._end(fault),
        )  # fmt: skip

    def begin(self) -> None:
        """Hold all of them; the rest follows."""
        self._committing.attempt()

    def _members(self) -> list[Record]:
        return self._node.composites.members(self._record)

    def _again(self, why: str) -> None:
        self._left -= 1
        self._when_all_serve(why)

    def _when_all_serve(self, why: str) -> None:
        coming = next((each for each in self._members() if each.process is None or not each.process.serving), None)
        if not self._left:
            self._end({"message": why})
        elif coming is None:
            self._committing.attempt()
        elif coming.gone or self._node.registry.get(coming.id) is not coming:
            self._end({"message": f"{coming.id!r} is {coming.state}"})
        else:
            self._node.composites.when_settled(coming.id, lambda: self._when_all_serve(why))

    def _end(self, fault: Facts | None) -> None:
        os.close(self._patch)
        self._done(fault)
