"""Stand-ins for a client's connection in tests of the runtime's parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class FakePeer:
    """Keeps what is sent to it; descriptors are closed as a real peer closes them once sent."""

    sent: list[list[Any]] = field(default_factory=list)
    descriptors: int = 0
    backlog_bytes: int = 0

    def send(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        self.sent.append(message)
        self.descriptors += len(fds)
        for fd in fds:
            os.close(fd)
