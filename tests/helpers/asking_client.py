"""A client whose runtime is played by the test: what it asks is kept, answers are as told, nothing waits."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

from dspex_runtime.client.downs import Downs
from dspex_runtime.client.session import Session
from dspex_runtime.client.values import client_codec
from dspex_runtime.wire.codec import Codec


class Connection:
    """The connection: `asked`, `hints`; `answers` are given in order, errors raised. All crosses its codec, as on the wire."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.hints: list[str] = []
        self.answers: list[Any] = []
        self.downs = Downs()

    def request(self, op: str, args: dict[str, Any]) -> Future[Any]:
        self.asked.append((op, cast(list[Any], Codec().unpack(Codec().pack([args])))[0]))
        answer: Future[Any] = Future()
        value = self.answers.pop(0) if self.answers else None
        if isinstance(value, BaseException):
            answer.set_exception(value)
        else:
            answer.set_result(value)
        return answer

    def hint(self, op: str, args: dict[str, Any]) -> None:
        self.hints.append(op)

    @property
    def ops(self) -> list[str]:
        return [op for op, _ in self.asked]


class Client:
    """A client over such a connection."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.codec = client_codec(plain=False)
        self.socket_path = "/run/x"

    @property
    def session(self) -> Session:
        return cast(Session, self)

    def reference(self, id: str, kind: str) -> Any:
        return (kind, id)
