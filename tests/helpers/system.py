"""What the system tests share: specs of their programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex_runtime as dx

FOLDER = Path(__file__).parents[1] / "system"
PROGRAMS = FOLDER / "programs.py"
DSPY_PROGRAMS = FOLDER / "programs_dspy.py"
COMPOSITE_PROGRAMS = FOLDER / "programs_composite.py"
Start = Callable[..., dx.Runtime]


def server(id: str, name: str, **keys: Any) -> dict[str, Any]:
    """Return the spec of a GenServer of programs.py."""
    return {"id": id, "server": f"{PROGRAMS}:{name}", "backoff": "none", **keys}


def module(id: str, name: str, **keys: Any) -> dict[str, Any]:
    """Return the spec of a dspy.Module of programs_dspy.py."""
    return {"id": id, "module": f"{DSPY_PROGRAMS}:{name}", "backoff": "none", **keys}


def part(id: str, name: str = "Hop", **keys: Any) -> dict[str, Any]:
    """Return the spec of a dspy.Module of programs_composite.py."""
    return {"id": id, "module": f"{COMPOSITE_PROGRAMS}:{name}", "backoff": "none", **keys}


def asker(id: str, **keys: Any) -> dict[str, Any]:
    """Return the spec of a server of programs_composite.py that calls others."""
    return {"id": id, "server": f"{COMPOSITE_PROGRAMS}:Asker", "backoff": "none", **keys}


def again(call: Callable[[], Any]) -> Any:
    """Make a call of what was just killed: the kill may find it in flight."""
    while True:
        try:
            return call()
        except dx.NoProcessError:
            raise
        except dx.ProcessDownError:
            continue


def call_again(ref: dx.ServerRef, request: Any, timeout: float = 20.0) -> Any:
    """Call a server that was just killed, as `again`."""
    return again(lambda: ref.call(request, timeout=timeout))
