"""The server and the module of test_replicas.py. Each writes down what it was asked, in a file that all replicas share."""

from __future__ import annotations

import os
import time
from typing import Any

import dspy
from gates import until_exists

import dspex_runtime as dx


def note(path: str, key: Any) -> None:
    """Append one line, whole, whoever else does."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{key} {os.getpid()}\n".encode())
    finally:
        os.close(fd)


class Clerk(dx.GenServer):
    """Notes keys; waits at a gate; answers what it is."""

    __version__ = "1"
    level = dx.Parameter(int, default=1)

    def init(self, path: str = "") -> dict[str, Any]:
        return {"path": path, "casts": 0}

    def handle_call(self, request: Any, from_: Any, state: dict[str, Any]) -> Any:
        match request:
            case ["note", key]:
                note(state["path"], key)
                time.sleep(0.001)
                return dx.Reply(os.getpid(), state)
            case ["gate", path]:
                open(path + f".{os.getpid()}", "x").close()
                until_exists(path)
                return dx.Reply(os.getpid(), state)
            case "id":
                return dx.Reply(dx.self_id(), state)
            case "version":
                return dx.Reply(self.__version__, state)
        return dx.Reply(os.getpid(), state)

    def handle_cast(self, request: Any, state: dict[str, Any]) -> Any:
        note(state["path"], request)
        return dx.NoReply(state)


class NewClerk(Clerk):
    """The next version."""

    __version__ = "2"


class PickyClerk(NewClerk):
    """A version that not every replica can become."""

    def code_change(self, old_version: str, state: dict[str, Any], extra: Any) -> Any:
        if dx.self_id() == extra:
            raise RuntimeError(f"{extra} stays as it is")
        return state


class PatientClerk(NewClerk):
    """A version that is rehearsed until a file is there."""

    def code_change(self, old_version: str, state: dict[str, Any], extra: Any) -> Any:
        note(f"{extra}.begun", self.__version__)
        until_exists(extra)
        return state


class Answerer(dx.Module):
    """Has parameters of every kind."""

    k = dx.Parameter(int, default=1, min=0)
    words = dx.Parameter(list, default=[])
    predict = dx.predictor("question -> answer")

    def forward(self, question: str = "", path: str = "") -> dspy.Prediction:
        if path:
            note(path, question)
        return dspy.Prediction(pid=os.getpid(), k=self.k, words=list(self.words), demos=len(self.predict.demos))

    def items(self, n: int) -> Any:
        for number in range(n):
            yield [number, os.getpid()]

    def put(self, k: int) -> int:
        self.k = k
        return os.getpid()

    def get_state(self) -> Any:
        return getattr(self, "kept", None)

    def set_state(self, state: Any) -> None:
        self.kept = state

    def is_training(self) -> bool:
        return self.training

    def keep(self, what: Any) -> int:
        self.kept = what
        return os.getpid()

    def kept_here(self) -> Any:
        return getattr(self, "kept", None)
