"""SIGKILL to serving again with 1 MB of state: from the kill to the answer of a call that sees the state, in one client.

The state is an array, a text, or the demos of the one predictor; beside it the same server or module without any. Arrays need
numpy, which makes their processes twice as large: in one runtime it is preloaded as dspy is, in the other the server that comes
back imports it itself.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import dspex_runtime as dx
from bench.harness import Report, in_unit, wait_for_templates
from bench.recovery import recoveries

SIZE: Final = 2**20
DEMO: Final = {"question": "q" * 500, "reasoning": "r" * 1000, "answer": "a" * 500}


def tree(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a tree whose restarts are not slowed down."""
    keys = {"restart": "permanent", "backoff": "none", **more}
    return {"max_restarts": 100_000, "max_seconds": 1, "children": [{**child, **keys} for child in children]}


def server(report: Report, rt: dx.Runtime, label: str, id: str, name: str, state: Any) -> None:
    """Measure a server without state, then with one in its parameter."""
    ref = rt.server(id)
    without = report.add(in_unit(f"{label}, no state", recoveries(rt, id, lambda: ref.call(name, timeout=10)), "ms"))
    ref.params[name] = state
    size = len(state)

    def sees_it() -> None:
        if ref.call(name, timeout=10) != size:
            raise RuntimeError(f"{id} came back without its {name}")

    report.add(in_unit(f"{label}, 1 MB", recoveries(rt, id, sees_it), "ms"), beside=without.name)


def module(report: Report, rt: dx.Runtime, label: str) -> None:
    """Measure a module with one predictor, then the same with demos."""
    ref = rt.ref("module")
    without = report.add(in_unit(f"{label}, no demos", recoveries(rt, "module", lambda: ref.call("demos")), "ms"))
    (name,) = (name for name in ref.params if name.startswith("answer"))
    n = SIZE // sum(map(len, DEMO.values()))
    ref.params[name] = {**ref.params[name], "demos": [DEMO] * n}

    def sees_them() -> None:
        if ref.call("demos") != n:
            raise RuntimeError("the module came back without its demos")

    report.add(in_unit(f"{label}, 1 MB of demos", recoveries(rt, "module", sees_them), "ms"), beside=without.name)


def main() -> None:
    """Run and report."""
    report = Report("SIGKILL to serving again with state")
    array = np.arange(SIZE // 8)
    stateful = {"id": "array", "server": "bench.stateful:Stateful"}
    config: dict[str, Any] = {"version": 1, "name": "bench-param-recovery"}
    text, one_predictor = {"id": "text", "server": "bench.texts:Text"}, {"id": "module", "module": "bench.programs:OnePredictor"}
    with dx.Runtime({**config, "tree": tree(text, one_predictor)}) as rt:
        server(report, rt, "server, text", "text", "text", "x" * SIZE)
        module(report, rt, "one predictor")
    with dx.Runtime({**config, "tree": tree(text, one_predictor, template=True)}) as rt:
        wait_for_templates(rt, 2)
        server(report, rt, "server, text, from a template", "text", "text", "x" * SIZE)
        module(report, rt, "one predictor, from a template")
    with dx.Runtime({**config, "runtime": {"preload": ["dspy", "numpy"]}, "tree": tree(stateful)}) as rt:
        server(report, rt, "server, array", "array", "array", array)
    with dx.Runtime({**config, "tree": tree(stateful)}) as rt:
        server(report, rt, "server, array, numpy not preloaded", "array", "array", array)
    report.show()


if __name__ == "__main__":
    main()
