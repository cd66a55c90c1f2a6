"""The demo from beginning to end. Owns the runtime it starts: whatever fails, the tree is stopped and looked for."""

from __future__ import annotations

import queue
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dspex_cli import link, wording
from dspex_cli.commands import ps, tree
from dspex_cli.demo import asking, degrading, leftovers, measuring, swapping
from dspex_cli.demo.narrator import Narrator
from dspex_cli.output import plain_table
from dspex_cli.progress import Progress

if TYPE_CHECKING:
    import dspex_runtime as dx


def tell(config: Path, narrator: Narrator, name: str) -> dict[str, Any]:
    """Run the demo and return what was found.

    Raises:
        StepFailed: Something that is promised did not happen. The runtime is gone then, too.
    """
    narrator.step("Bring the tree up")
    narrator.prose(
        f"{config}: a retriever over the docstrings of Python's standard library, a dspy.Module that answers with citations, and a "
        "counter. Each is a process of its own. No key, no network: the LM quotes the passages it is given."
    )
    with tempfile.TemporaryDirectory(prefix="dspex-demo-") as state_dir:
        with Progress(narrator.output) as progress:
            runtime = link.boot(str(config), detach=False, name=name, state_dir=state_dir, on_progress=progress.event)
        return _told(runtime, config, narrator, progress.seconds)


def _told(runtime: dx.Runtime, config: Path, narrator: Narrator, ready_s: float) -> dict[str, Any]:
    try:
        about = runtime.status()
        narrator.check(True, f"ready after {wording.duration(ready_s)}; runtime {about['name']!r}, pid {about['pid']}")
        found: dict[str, Any] = {"ready_s": ready_s}
        _middle(runtime, config, narrator, found)
        family = leftovers.family(about["pid"])
        found["stopped"] = _stop(runtime, narrator, len(family))
    except BaseException:
        runtime.close()
        raise
    _look_around(family, narrator)
    found["processes_left"] = 0
    return found


def _middle(runtime: dx.Runtime, config: Path, narrator: Narrator, found: dict[str, Any]) -> None:
    narrator.step("Ask three questions")
    found["answers"] = asking.ask_three(runtime, narrator)
    narrator.step("kill -9 in the middle of a question")
    found["kill"] = asking.kill_in_the_middle(runtime, narrator)
    narrator.step("Ask while the retriever is down")
    found["degraded"] = degrading.ask_without_the_retriever(runtime, narrator)
    narrator.step("Swap it for a better version while it answers")
    found["swap"] = swapping.swap_while_asked(runtime, config, narrator)
    narrator.step("Look at it:  dspex tree,  dspex ps")
    narrator.block(list(tree.lines(runtime.tree())))
    narrator.line()
    rows = [[str(cell) if cell is not None else "-" for cell in ps.row(module)] for module in link.modules(runtime)]
    narrator.block(plain_table(ps.COLUMNS, rows))
    narrator.step("How long does it take?")
    found["measured"] = measuring.measure(runtime, config, narrator)


def _stop(runtime: dx.Runtime, narrator: Narrator, processes: int) -> list[str]:
    """Stop the tree and return the ids in the order in which they ended."""
    narrator.step("Stop, in order")
    stopped: list[str] = []
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for event in runtime.events():
                if event.get("type") == "state" and event.get("state") == "STOPPED" and event.get("id") not in stopped:
                    stopped.append(str(event["id"]))
        except Exception:
            return  # the connection ends with the runtime
        finally:
            ended.put(None)

    threading.Thread(target=listen, name="demo-events", daemon=True).start()
    began = perf_counter()
    runtime.shutdown()
    runtime.close()
    seconds = perf_counter() - began
    ended.get(timeout=asking.LIMIT_S)
    order = f": {', '.join(stopped)}" if stopped else ""
    narrator.check(True, f"stopped in {wording.duration(seconds)}, last started first{order}")
    narrator.fact("were", f"{processes} processes: runtime, zygotes, modules and warm spares")
    return stopped


def _look_around(family: list[leftovers.Seen], narrator: Narrator) -> None:
    left = leftovers.left_over(family)
    names = ", ".join(f"{seen.name} {seen.pid} ({seen.state})" for seen in left)
    narrator.check(not left, f"none of them is left{': ' + names if names else ''}")
