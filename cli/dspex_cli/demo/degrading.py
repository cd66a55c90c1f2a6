"""The middle of the story: the retriever is down, and questions are answered all the same, honestly; then it is back."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from dspex_cli import wording
from dspex_cli.demo.asking import LIMIT_S, QUESTIONS
from dspex_cli.demo.narrator import Narrator

if TYPE_CHECKING:
    import dspex_runtime as dx


def ask_without_the_retriever(runtime: dx.Runtime, tell: Narrator) -> dict[str, Any]:
    """Stop the retriever, ask, start it, ask again."""
    tell.prose(
        "qa depends on the retriever, and the YAML says what its calls get while that is down: depends_on: {retriever: {on_down: "
        "degrade}}. It is stopped here, so that it is down for as long as it takes to ask; a crash would do."
    )
    question, source = QUESTIONS[0]
    qa, before = runtime.module("qa"), runtime.info("qa")
    runtime.stop("retriever")
    tell.fact("$", "dspex stop retriever")
    runtime.wait(["qa"], "degraded", LIMIT_S)
    about = runtime.info("qa")
    tell.fact("qa", f"{about.state}, waits for {', '.join(about.waiting_for)}")
    began = perf_counter()
    degraded = qa(question=question)
    seconds = perf_counter() - began
    tell.fact("question", question)
    tell.fact("answer", degraded.answer)
    honest = not degraded.citations and "retriever is down" in degraded.answer
    tell.check(honest, f"forward_degraded answered, after {wording.duration(seconds)}: no citations, and it says why")
    (record,) = qa.dx.executions(1)
    tell.check(bool(record.get("degraded")), "its record says so, too: qa.dx.executions()")
    runtime.start("retriever")
    tell.fact("$", "dspex start retriever")
    runtime.wait(["qa"], "ready", LIMIT_S)
    began = perf_counter()
    result = qa(question=question)
    cited = ", ".join(result.citations)
    tell.check(
        any(name.startswith(source) for name in result.citations),
        f"the same question, after {wording.duration(perf_counter() - began)}, cites {cited}",
    )
    after = runtime.info("qa")
    same = (after.pid, after.restarts) == (before.pid, before.restarts)
    tell.check(same, f"by the same process as before, pid {after.pid}: its dependency came and went, it did not")
    return {"degraded": degraded.answer, "degraded_s": seconds, "citations": list(result.citations)}
