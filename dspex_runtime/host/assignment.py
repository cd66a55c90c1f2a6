"""What a spare is told to become: the parent's first message, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.launch_map import from_map
from dspex_runtime.errors import ProtocolError
from dspex_runtime.wire import messages


@dataclass(frozen=True, slots=True)
class Assignment:
    """One process of one id.

    Attributes:
        kept: Something of an earlier incarnation is kept: `[CONTROL, 0, "kept", info]` follows (`state.protocol`).
        journal: Directory of its journal; "" only where there is no parent.
        base: Figures of the incarnations before: calls, failures, busy_ns.
        rehearsal: It is to take the place of a process that serves: until then its parameters are a copy of its own, nothing is
            written, offered or told, and a server's state is that one's.
        dependencies: What it depends on, by full id; see `host.dependencies`.
    """

    id: str
    incarnation: int
    runtime: str
    socket: str
    slot: int
    log: str
    log_max_bytes: int
    log_keep: int
    cwd: str
    launch: LaunchSpec
    kept: bool = False
    journal: str = ""
    base: Mapping[str, Any] = field(default_factory=dict)
    rehearsal: bool = False
    dependencies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return what user code finds in os.environ: who it is, and what the spec sets."""
        return {**self.launch.env, **self.own_environment()}

    def own_environment(self) -> dict[str, str]:
        """Return what of that no other process has."""
        return {
            "DSPEX_ID": self.id,
            "DSPEX_INCARNATION": str(self.incarnation),
            "DSPEX_RUNTIME": self.runtime,
            "DSPEX_SOCKET": self.socket,
        }


def from_message(message: list[Any]) -> Assignment:
    """Read `[CONTROL, 0, "assign", spec]`.

    Raises:
        ProtocolError: It is another message, or a key is missing.
    """
    match message:
        case [messages.CONTROL, _, "assign", dict(spec)]:
            pass
        case _:
            raise ProtocolError(f"expected the assignment as the first message, got kind {message[:1]} {str(message[2:3])[:80]}")
    try:
        return Assignment(
            id=spec["id"],
            incarnation=spec["incarnation"],
            runtime=spec["runtime"],
            socket=spec["socket"],
            slot=spec["slot"],
            log=spec["log"],
            log_max_bytes=spec["log_max_bytes"],
            log_keep=spec["log_keep"],
            cwd=spec["cwd"],
            launch=from_map(spec["launch"]),
            kept=spec["kept"],
            journal=spec["journal"],
            base=spec["base"],
            rehearsal=bool(spec.get("rehearsal", False)),
            dependencies=spec.get("dependencies") or {},
        )
    except (KeyError, TypeError) as exc:
        raise ProtocolError(f"the assignment is incomplete: {exc!r}; it has {sorted(spec)}") from exc
