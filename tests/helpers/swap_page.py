"""Words of the page that the swap torture shares with its clients and with what is swapped; see `siege` for the first ones."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

KEY: Final = "the-server"  # that the server registers itself under
LOCK: Final = "the-lock"  # that it holds

# of each of "s" and "m"
LATEST: Final = 8  # the pid that has loaded its code last: the new version, before it serves
SERVING: Final = 10  # the pid that has begun to run calls last
HAND: Final = 12  # len(Hand) words of each: 0, or 1: end there, or how many instructions later
MOVES: Final = 20  # how often it was swapped, as far as whoever asked was told

KILLS: Final = 24  # whether anything is killed: what is lost with it is no complaint
QUIET: Final = 25  # the clients are to come to rest
RESTING: Final = 32  # of each client: whether it has
DONE: Final = 48  # of each client: how many operations are over
ACKNOWLEDGED: Final = 64  # of each parameter that is written: the tag that was
HEARD: Final = 80
READS: Final = 81
PIDS: Final = 96  # runtime, owner, keeper, zygotes


class Hand(IntEnum):
    """Where a process may end by its own hand."""

    OLD = 0  # in its get_state
    NEW = 1  # in its code_change
