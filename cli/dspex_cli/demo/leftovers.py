"""Which processes belong to a runtime, and whether any of them is left. Reads /proc only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import monotonic, sleep


@dataclass(frozen=True, slots=True)
class Seen:
    """One process as /proc shows it."""

    pid: int
    parent: int
    session: int
    state: str
    name: str


def processes() -> dict[int, Seen]:
    """Return every process that can be seen."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                continue  # it ended meanwhile
            # The name is in parentheses and may contain anything, parentheses included.
            head, _, rest = text.rpartition(") ")
            state, parent, _, session = rest.split()[:4]
            found[int(entry)] = Seen(int(entry), int(parent), int(session), state, head.partition("(")[2])
    return found


def family(root: int) -> list[Seen]:
    """Return a process and all its descendants."""
    everything = processes()
    members = {root} & set(everything)
    while True:
        more = {seen.pid for seen in everything.values() if seen.parent in members} - members
        if not more:
            return [everything[pid] for pid in sorted(members)]
        members |= more


def left_over(before: list[Seen], limit_s: float = 5.0) -> list[Seen]:
    """Return what is still there of a family, or has joined one of its sessions since; waits up to the limit for the last."""
    sessions = {seen.session for seen in before}
    pids = {seen.pid for seen in before}
    deadline = monotonic() + limit_s
    while True:
        left = [
            seen for seen in processes().values() if seen.session in sessions or (seen.pid in pids and seen.parent == os.getpid())
        ]
        if not left or monotonic() > deadline:
            return left
        sleep(0.02)
