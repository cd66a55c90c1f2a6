"""Version 2 of the counter: still a count of the questions, and how often each module of the library was cited.

What version 1 has counted is taken over, and given back on a rollback: a swap is no restart.
"""

from __future__ import annotations

from typing import Any

import dspex_runtime as dx

State = dict[str, Any]


class Counter(dx.GenServer):
    """`dspex call counter` returns the count, the request "cited" how often which module was; casts as of version 1."""

    __version__ = "2"

    def init(self, start: int = 0) -> State:
        """Begin at `start`, nothing cited."""
        return {"count": start, "cited": {}}

    def handle_call(self, request: Any, from_: Any, state: State) -> Any:  # noqa: ARG002 - the behaviour's signature
        """Answer "cited" with the table, every other request with the count."""
        if request == "cited":
            return dx.Reply(dict(state["cited"]), state)
        return dx.Reply(state["count"], self.init() if request == "reset" else state)

    def handle_cast(self, request: Any, state: State) -> Any:
        """Count a question ("asked"), or what its answer cited: ("cited", names)."""
        match request:
            case "asked":
                return dx.NoReply({**state, "count": state["count"] + 1})
            case ("cited", names):
                cited = dict(state["cited"])
                for module in {name.partition(".")[0] for name in names}:
                    cited[module] = cited.get(module, 0) + 1
                return dx.NoReply({**state, "cited": cited})
        return dx.NoReply(state)

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:  # noqa: ARG002 - the behaviour's signature
        """Return the state of this version for a count of version 1; on the way back, ("down", "1"), the count."""
        if isinstance(old_version, tuple):
            return state["count"]
        return {"count": state, "cited": {}} if isinstance(state, int) else state
