"""Modules and servers of the system tests that call each other."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import dspy
from gates import until_exists

import dspex_runtime as dx
from dspex_runtime.host.context import CallCancelledError, current_request, deadline, waking


@functools.cache
def runtime() -> dx.Runtime:
    return dx.connect()


def note(path: str, word: str) -> None:
    Path(f"{path}.{word}").touch()


class Hop(dspy.Module):
    """Goes where it is told: each method does one thing at the end of a path of ids."""

    def forward(self, path: list[str], last: str = "name", **inputs: Any) -> Any:
        if not path:
            return getattr(self, last)(**inputs)
        return runtime().ref(path[0]).call(path=path[1:], last=last, **inputs)

    def name(self) -> str:
        return dx.self_id()

    def due(self) -> float | None:
        return deadline()

    def hold(self, gate: str) -> str:
        """Wait until the call is given up, and say so."""
        request, woken = current_request.get(), threading.Event()
        assert request is not None
        try:
            with waking(request, woken.set):
                note(gate, "begun")
                woken.wait()
        except CallCancelledError:
            note(gate, "given-up")
            raise
        return "never"

    def listened(self, path: list[str], gate: str, how: str) -> Any:
        """Call the next one, and say how that ended here."""
        try:
            return getattr(self, how)(path, gate)
        except BaseException as exc:
            note(gate, f"{dx.self_id()}.{type(exc).__name__}")
            raise

    def plain(self, path: list[str], gate: str) -> Any:
        if len(path) == 1:
            return runtime().ref(path[0]).call("hold", gate)
        return runtime().ref(path[0]).call("listened", path[1:], gate, "plain")

    def threads(self, path: list[str], gate: str) -> Any:
        """As `plain`, on a thread that has this one's context."""
        ended: list[Any] = []

        def run() -> None:
            try:
                ended.append(self.plain(path, gate))
            except BaseException as exc:
                note(gate, f"thread.{type(exc).__name__}")

        thread = threading.Thread(target=copy_context().run, args=(run,))
        thread.start()
        thread.join()
        return ended

    def streamed(self, path: list[str], gate: str) -> Any:
        return list(runtime().ref(path[0]).stream("items", gate))

    def items(self, gate: str) -> Iterator[int]:
        yield 1
        self.hold(gate)

    def gathered(self, path: list[str], gate: str) -> Any:
        return list(runtime().gather((id, {"path": [], "last": "hold", "gate": f"{gate}"}) for id in path))

    def parked(self, path: list[str], gate: str) -> Any:
        """Ask for one that is not ready."""
        note(gate, "begun")
        return runtime().ref(path[0]).call("name")

    def watches(self, path: list[str], gate: str) -> Any:
        """Wait for the runtime."""
        note(gate, "begun")
        return runtime().wait(path[0], "failed", timeout=None)

    def asyncs(self, path: list[str], gate: str) -> Any:
        return asyncio.run(self._asyncs(path, gate))

    async def _asyncs(self, path: list[str], gate: str) -> Any:
        return await runtime().ref(path[0]).acall("hold", gate)

    def around(self, paths: list[list[str]]) -> list[Any]:
        """Go several ways at once, each on a thread; return what each came to."""
        ended: list[Any] = [None] * len(paths)

        def run(place: int) -> None:
            try:
                ended[place] = self.forward(paths[place])
            except dx.CallError as exc:
                ended[place] = [exc.code, getattr(exc, "cycle", None)]

        threads = [threading.Thread(target=copy_context().run, args=(run, place)) for place in range(len(paths))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ended

    def both(self, straight: list[str], back: list[str]) -> list[Any]:
        """Go two ways in one gather: one to its end, one that comes back here."""
        ways = [("straight", straight), ("back", back)]
        results = dict(dx.gather((name, path[0], {"path": path[1:]}) for name, path in ways))
        return [results["back"].cycle, results["straight"]]

    def catches(self, path: list[str]) -> list[Any]:
        """Go a way, and say what it came to."""
        try:
            return ["went", self.forward(path)]
        except dx.CallError as exc:
            return [exc.code, getattr(exc, "cycle", None), exc.id]


class AsyncHop(dspy.Module):
    """As `Hop`, on the loop thread."""

    async def forward(self, path: list[str], last: str = "name", **inputs: Any) -> Any:
        if not path:
            return await getattr(self, last)(**inputs)
        return await runtime().ref(path[0]).acall(path=path[1:], last=last, **inputs)

    async def name(self) -> str:
        return dx.self_id()

    async def listened(self, path: list[str], gate: str, how: str) -> Any:
        try:
            if len(path) == 1:
                return await runtime().ref(path[0]).acall("hold", gate)
            return await runtime().ref(path[0]).acall("listened", path[1:], gate, how)
        except BaseException as exc:
            note(gate, f"{dx.self_id()}.{type(exc).__name__}")
            raise

    async def hold(self, gate: str) -> str:
        note(gate, "begun")
        try:
            await asyncio.to_thread(until_exists, gate)
        except asyncio.CancelledError:
            note(gate, "given-up")
            raise
        return "done"


class Asker(dx.GenServer):
    """Calls another server: while it serves a call, when it goes on from one, or without waiting."""

    def init(self) -> list[Any]:
        return []

    def handle_call(self, request: Any, from_: Any, state: list[Any]) -> Any:
        match request:
            case ["ask", id, inner]:
                return dx.Reply(self._ask(id, inner), state)
            case ["go on", id, inner]:
                return dx.Reply("going on", state, continue_=[id, inner])
            case ["send", id, inner, gate]:
                sent = runtime().server(id).send_request(inner)
                until_exists(gate)
                return dx.Reply([sent.id], state)
            case "answers":
                return dx.Reply(state, state)
            case _:
                return dx.Reply(request, state)

    def handle_continue(self, ask: Any, state: list[Any]) -> Any:
        return dx.NoReply([*state, self._ask(*ask)])

    def _ask(self, id: str, inner: Any) -> Any:
        try:
            return runtime().server(id).call(inner, timeout=60)
        except dx.CallError as exc:
            return [exc.code, getattr(exc, "cycle", None)]


class Retriever(dspy.Module):
    """The first stage of a composite."""

    def forward(self, question: str, k: int = 2) -> dspy.Prediction:
        return dspy.Prediction(passages=[f"{question} {n}" for n in range(k)], question=question, pid=os.getpid())


class Reader(dspy.Module):
    """Has a predictor, and answers by the LM of whoever calls."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question, passages -> answer")

    def forward(self, question: str, passages: list[str]) -> dspy.Prediction:
        return self.answer(question=question, passages=passages)


class Joiner(dspy.Module):
    """Takes what the first one gives."""

    def forward(self, question: str, passages: list[str]) -> dspy.Prediction:
        return dspy.Prediction(answer=f"{question}: {len(passages)}")


class Scatter(dspy.Module):
    """Asks several at once, in each way there is."""

    def forward(self, question: str, ids: list[str]) -> dspy.Prediction:
        found = dict(dx.gather((id, {"question": f"{question}{id}"}) for id in ids))
        return dspy.Prediction(found={id: len(each.passages) for id, each in found.items()})

    def mapped(self, questions: list[str]) -> list[str]:
        return [found.passages[0] for found in dx.map("retriever", [{"question": each} for each in questions])]

    def piped(self, question: str) -> str:
        return str(dx.pipeline("retriever", "joiner")(question=question).answer)

    def inline(self, question: str) -> list[int]:
        """Programs of this process among others."""
        here = Retriever()
        both = dict(dx.gather([("here", here, {"question": question, "k": 1}), ("retriever", {"question": question})]))
        assert both["here"].pid == os.getpid() != both["retriever"].pid
        return [len(both[name].passages) for name in ("here", "retriever")]

    def first(self, gate: str) -> Any:
        """Leave the slow one for the fast one."""
        slow = runtime().ref("hop")
        gathered = dx.gather([("slow", slow, {"path": [], "last": "hold", "gate": gate}), ("a", "a", "x")])
        until_exists(f"{gate}.begun")
        return next(gathered)

    async def awaited(self, question: str) -> list[Any]:
        found = [label async for label, _ in dx.aio.gather([("retriever", {"question": question})], timeout=20)]
        mapped = await dx.aio.map("retriever", [{"question": question, "k": n} for n in range(3)])
        piped = await dx.aio.pipeline("retriever", "joiner")(question=question)
        return [found, [len(each.passages) for each in mapped], piped.answer]
