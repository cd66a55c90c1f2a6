"""A job that ends as it is told, to see what each restart type makes of it."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Job(dx.GenServer):
    """`dspex call jobs/once finish` ends it normally, `crash` with an error, `stop` as a shutdown; the rest is echoed."""

    def init(self) -> None:
        """A job has no state."""

    def handle_call(self, request: Any, from_: Any, state: None) -> Any:  # noqa: ARG002 - the behaviour's signature
        """Do what is asked."""
        match request:
            case "finish":
                return dx.Stop("normal", state, reply="finished")
            case "stop":
                return dx.Stop("shutdown", state, reply="shut down")
            case "crash":
                raise RuntimeError("told to crash")
            case _:
                return dx.Reply(request, state)
