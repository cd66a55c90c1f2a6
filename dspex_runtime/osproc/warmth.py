"""How much a forked process rehearses before it is needed."""

from __future__ import annotations

from enum import IntEnum


class Warmth(IntEnum):
    """What a spare has rehearsed while nobody waited for it. The numbers travel between runtime and zygote.

    Every page that a start writes is copied from the zygote's at its first write (3 us each); a rehearsal does it beforehand.
    """

    COLD = 0  # nothing: somebody waits for this fork
    SERVER = 1  # the start and a call of a GenServer
    MODULE = 2  # those of a dspy module too; 2 MB more of its own
