"""The first half of the story: questions are answered, and one of them is asked of a process that is killed meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import wording
from dspex_cli.demo.narrator import Narrator, StepFailed

if TYPE_CHECKING:
    import dspex_runtime as dx

QUESTIONS: Final = (  # and the module whose documentation answers it
    ("How do I group consecutive equal items of an iterable?", "itertools"),
    ("How do I run a command and capture its output?", "subprocess"),
    ("How can I get a temporary file that is deleted when it is closed?", "tempfile"),
)
LIMIT_S: Final = 30.0  # for anything that takes milliseconds on an idle machine


def ask_three(runtime: dx.Runtime, tell: Narrator) -> list[dict[str, Any]]:
    """Ask, and check that each answer cites the right part of the library."""
    qa = runtime.module("qa")
    answers = []
    for question, source in QUESTIONS:
        began = perf_counter()
        result = qa(question=question)
        seconds = perf_counter() - began
        tell.line()
        tell.fact("question", question)
        tell.fact("answer", result.answer)
        cited = list(result.citations)
        names = ", ".join(cited) or "nothing"
        tell.check(any(name.startswith(source) for name in cited), f"cites {names}  ({wording.duration(seconds)})")
        answers.append({"question": question, "answer": result.answer, "citations": cited, "seconds": seconds})
    count = runtime.server("counter").call("count")
    tell.line()
    tell.check(count == len(QUESTIONS), f"the counter, a GenServer, has counted {count} questions")
    return answers


def kill_in_the_middle(runtime: dx.Runtime, tell: Narrator) -> dict[str, Any]:
    """Kill the answering process while a question is inside, and show what its caller sees, then and next."""
    from dspex_runtime.errors import ProcessDownError

    before = runtime.info("qa")
    assert before.pid is not None
    tell.prose(
        "A question takes milliseconds here, so the retriever is paused (SIGSTOP) for a moment: that gives the question a "
        "middle in which the answering process, waiting for its passages, can be killed."
    )
    question = Question(runtime, QUESTIONS[0][0])
    with _paused(_pid(runtime, "retriever")):
        question.start()
        until(lambda: bool(runtime.info("qa").metrics.get("running")), "the question to be begun")
        tell.fact("$", f"kill -9 {before.pid}     (qa, incarnation {before.incarnation})")
        os.kill(before.pid, signal.SIGKILL)
        killed = perf_counter()
        error = question.error()
        told_s = perf_counter() - killed
    tell.fact("caller", f"{type(error).__name__}: {error}")
    told = isinstance(error, ProcessDownError) and error.reason == "killed"
    tell.check(told, f"the caller was told after {wording.duration(told_s)}, with the reason, and not left waiting")
    result = runtime.module("qa")(question=QUESTIONS[0][0])
    answered_s = perf_counter() - killed
    after = runtime.info("qa")
    cited = ", ".join(result.citations)
    tell.check(bool(cited), f"the next question is answered, {wording.duration(answered_s)} after the kill: {cited}")
    tell.check(
        after.incarnation == before.incarnation + 1 and after.pid != before.pid and after.restarts == before.restarts + 1,
        f"by incarnation {after.incarnation}, pid {after.pid}; the same reference was used throughout",
    )
    return {"error": type(error).__name__, "message": str(error), "told_s": told_s, "next_answer_s": answered_s}


class Question(threading.Thread):
    """One question, asked in a thread of its own."""

    def __init__(self, runtime: dx.Runtime, text: str) -> None:
        super().__init__(name="question", daemon=True)
        self._qa = runtime.module("qa")
        self._text = text
        self._error: Exception | None = None

    def run(self) -> None:
        """Ask; keep the error."""
        try:
            self._qa(question=self._text)
        except Exception as exc:
            self._error = exc

    def error(self) -> Exception:
        """Return the error that the caller got.

        Raises:
            StepFailed: It got none, or is still waiting.
        """
        self.join(LIMIT_S)
        if self.is_alive():
            raise StepFailed(f"the caller of a killed process is still waiting after {LIMIT_S:.0f} s")
        if self._error is None:
            raise StepFailed("the question was answered although its process was killed in the middle of it")
        return self._error


@contextmanager
def _paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _pid(runtime: dx.Runtime, id: str) -> int:
    pid = runtime.info(id).pid
    if pid is None:
        raise StepFailed(f"{id!r} has no process")
    return int(pid)


def until(holds: Any, what: str) -> None:
    """Wait until something holds.

    Raises:
        StepFailed: It did not within the limit.
    """
    deadline = monotonic() + LIMIT_S
    while not holds():
        if monotonic() > deadline:
            raise StepFailed(f"waited {LIMIT_S:.0f} s for {what}")
        sleep(0.005)
