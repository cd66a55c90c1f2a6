"""The middle of the story: a better version takes the place of the one that answers, while it is asked; a bad one does not."""

from __future__ import annotations

import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import wording
from dspex_cli.commands import versions
from dspex_cli.demo.asking import LIMIT_S, QUESTIONS, until
from dspex_cli.demo.narrator import Narrator, StepFailed
from dspex_cli.output import plain_table

if TYPE_CHECKING:
    import dspex_runtime as dx

TWO_QUESTIONS: Final = "How do I compress a file with gzip and send it by e-mail?"
ASKERS: Final = 3
ANSWERS: Final = 5  # of each, before a swap and after it


def swap_while_asked(runtime: dx.Runtime, config: Path, tell: Narrator) -> dict[str, Any]:
    """Swap answerer and counter at once under load, have a bad version refused, and go back."""
    folder = config.parent / config.stem
    verify = f"{folder / 'verifying.py'}:cites"
    tell.prose(
        f"{ASKERS} askers ask without a break while answerer and counter are replaced, both or neither. The new ones start beside "
        "the old ones and take over copies of their state; the answerer has to pass verifying.py before anybody waits for it."
    )
    nothing = runtime.module("qa")(question=TWO_QUESTIONS)
    tell.fact("question", TWO_QUESTIONS)
    tell.check(not nothing.citations, f"version 1 says: {nothing.answer}")
    counter = runtime.server("counter")
    until(lambda: not runtime.info("counter").metrics.get("queued"), "the counter to have counted")
    counted = counter.call("count")
    askers, results = _both(runtime, folder, verify, tell)
    both = runtime.module("qa")(question=TWO_QUESTIONS)
    cited = ", ".join(both.citations)
    tell.check("gzip" in cited and "smtplib" in cited, f"version 2 takes the question apart, and cites {cited}")
    expected = counted + askers.answered + 1
    until(lambda: counter.call("count") == expected, f"the count to be {expected}: no question lost, none counted twice")
    tell.check(True, f"the counter went on from {counted}: it has counted each question once, {expected} by now")
    refused = _refused(runtime, verify, tell)
    back = _back(runtime, expected, tell)
    rows = [[str(cell) if cell is not None else "-" for cell in versions.row(facts)] for facts in versions.known(runtime, "qa")]
    tell.line()
    tell.block(plain_table(versions.COLUMNS, rows))
    return {
        "asked": askers.answered,
        "failed": len(askers.failed),
        "slowest_s": askers.slowest_s,
        "pause_s": _pause_s(results),
        "rehearsal_s": results["qa"].rehearsal_s,
        "refused": refused,
        "rolled_back_to": back,
    }


def _both(runtime: dx.Runtime, folder: Path, verify: str, tell: Narrator) -> tuple[Askers, dict[str, dx.SwapResult]]:
    """Swap both at once while they are asked."""
    before = {id: runtime.info(id).incarnation for id in ("qa", "counter")}
    with Askers(runtime) as askers:
        results = runtime.swap(
            {
                "qa": {"to": f"{folder / 'answering_v2.py'}:Answerer", "verify": verify},
                "counter": {"to": f"{folder / 'counter_v2.py'}:Counter"},
            },
            why="demo",
        )
        askers.go_on()
    tell.fact("$", "dspex swap qa --to answering_v2.py:Answerer --verify verifying.py:cites     (and counter with it)")
    tell.check(
        not askers.failed,
        f"{askers.answered} questions were answered meanwhile, {len(askers.failed)} failed; the slowest took "
        f"{wording.duration(askers.slowest_s)}",
    )
    waited_s = _pause_s(results)
    tell.check(
        all(result.version == "2" and result.incarnation == before[id] for id, result in results.items()),
        f"rehearsed in {wording.duration(results['qa'].rehearsal_s)}; callers waited {wording.duration(waited_s)} beyond the drain",
    )
    return askers, results


def _pause_s(results: dict[str, dx.SwapResult]) -> float:
    return max(result.pause_s for result in results.values())


def _refused(runtime: dx.Runtime, verify: str, tell: Narrator) -> str:
    """Swap to a version that does not pass, and show that nothing has changed."""
    from dspex_runtime.errors import SwapError

    before = runtime.info("qa")
    tell.line()
    tell.fact("$", 'dspex swap qa k="5" --verify verifying.py:cites     (k should be a number)')
    try:
        runtime.swap("qa", kwargs={"k": "5"}, verify=verify)
    except SwapError as exc:
        code, text = exc.code, exc.message
    else:
        raise StepFailed("a version that answers nothing was not refused")
    tell.fact("refused", text)
    after = runtime.info("qa")
    answer = runtime.module("qa")(question=QUESTIONS[0][0])
    same = (after.pid, after.version) == (before.pid, before.version) and bool(answer.citations)
    tell.check(same and code == "verify", f"version {after.version}, pid {after.pid}, serves on as if nothing had happened")
    return code


def _back(runtime: dx.Runtime, counted: int, tell: Narrator) -> list[str | None]:
    """Roll both back, and show that the count came with it."""
    tell.line()
    tell.fact("$", "dspex rollback counter;  dspex rollback qa")
    results = [runtime.rollback(id) for id in ("counter", "qa")]
    count = runtime.server("counter").call("count")
    # The refused version's questions were not counted; the one that was asked after it was.
    tell.check(
        count == counted + 1 and runtime.info("qa").version == "1", f"version 1 answers again, and its counter goes on at {count}"
    )
    return [result.version for result in results]


class Askers:
    """Threads that ask without a break, each for itself, from before a swap until after it."""

    def __init__(self, runtime: dx.Runtime) -> None:
        self._qa = runtime.module("qa")
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), name=f"asker-{number}") for number in range(ASKERS)]
        self._answers = [0] * ASKERS
        self.failed: list[Exception] = []
        self.slowest_s = 0.0

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT_S)
        if any(thread.is_alive() for thread in self._threads):
            raise StepFailed(f"an asker is still waiting after {LIMIT_S:.0f} s")

    @property
    def answered(self) -> int:
        """How many questions were."""
        return sum(self._answers)

    def go_on(self) -> None:
        """Wait until each has had some more answers."""
        least = [count + ANSWERS for count in self._answers]

        def answered() -> bool:
            return bool(self.failed) or all(count >= n for count, n in zip(self._answers, least, strict=True))

        until(answered, "askers to be answered")

    def _ask(self, number: int) -> None:
        while not self._over.is_set():
            began = perf_counter()
            try:
                question, source = QUESTIONS[(number + self._answers[number]) % len(QUESTIONS)]
                if not any(name.startswith(source) for name in self._qa(question=question).citations):
                    raise StepFailed(f"{question!r} was answered without {source}")
            except Exception as exc:
                self.failed.append(exc)
                return
            self.slowest_s = max(self.slowest_s, perf_counter() - began)
            self._answers[number] += 1
