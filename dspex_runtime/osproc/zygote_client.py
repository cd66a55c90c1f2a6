"""The runtime's side of the zygote: starts the process and holds its socket. Owns no event loop and reads nothing.

Messages are listed in `zygote`. The caller polls `sock`, and waits for `pid` (its direct child) when that ends.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dspex_runtime.osproc.mark import BLANK, VARIABLE
from dspex_runtime.osproc.spawning import ROOT, spawn

__all__ = ["Zygote"]


@dataclass(frozen=True, slots=True, eq=False)
class Zygote:
    """A started zygote, maybe still importing: its first message is "ready" or "failed"."""

    pid: int
    sock: socket.socket

    @classmethod
    def spawn(
        cls,
        preload: Sequence[str],
        env: Mapping[str, str],
        lifeline_fd: int,
        board_fd: int,
        entry: str,
        log_fd: int,
        path: Sequence[str] | None = None,
        rehearsal: str = "",
    ) -> Zygote:
        """Exec a zygote in a session of its own and return at once.

        Args:
            preload: Names to import before anything is forked.
            env: Added to this process's environment.
            lifeline_fd: Read end of the lifeline.
            board_fd: The board's memfd.
            entry: "package.module:function" to run in each fork.
            log_fd: Becomes its stdout and stderr, and those of modules until they have their own.
            path: sys.path for it; None: this process's.
            rehearsal: "package.module:function" to run once before anything is forked.

        Raises:
            OSError: It could not be started; nothing is left open.
        """
        search = [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *(sys.path if path is None else path)]
        options = [f"--entry={entry}", *([f"--rehearsal={rehearsal}"] if rehearsal else [])]
        options += [f"--path={os.path.abspath(folder)}" for folder in search] + [f"--preload={name}" for name in preload]
        fds = {"lifeline": lifeline_fd, "board": board_fd}
        return cls(*spawn("dspex_runtime.osproc.zygote", options, _environment(env), fds, log_fd))


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    own = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        **extra,
        "PYTHONPATH": os.pathsep.join(filter(None, (ROOT, own))),
        "DSPEX_PYTHONPATH": extra.get("PYTHONPATH", own),  # restored by the zygote
        VARIABLE: BLANK,
    }
