"""One stage of a pipeline: remembers how many items passed and says goodbye when it is stopped in order."""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx


class Stage(dx.GenServer):
    """`dspex call pipeline/source hello` passes an item through this stage."""

    def init(self, name: str) -> int:
        """Begin with nothing seen."""
        self.name = name
        print(f"stage {name} begins in process {dx.self_id()}")
        return 0

    def handle_call(self, request: Any, from_: Any, state: int) -> Any:  # noqa: ARG002 - the behaviour's signature
        """Answer with the item and its number."""
        return dx.Reply({"stage": self.name, "item": request, "number": state + 1}, state + 1)

    def terminate(self, reason: Any, state: int) -> None:
        """Runs when the tree is stopped or a sibling's restart takes this stage along; not after kill -9."""
        print(f"stage {self.name} ends after {state} items: {reason}")
