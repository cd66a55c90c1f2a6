"""A reference to a program that is hosted in this very process: no pipe, no table, but every value is packed and unpacked."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from dspex_runtime.errors import ParameterNotFoundError
from dspex_runtime.modules import values
from dspex_runtime.modules.hosting import ModuleHost
from dspex_runtime.wire.codec import Codec


class LocalRef:
    """What a proxy needs of a reference; `down` is what every call raises."""

    id = "sup/qa"

    def __init__(self, program: Any) -> None:
        self.pid = 0
        self.swapped(program)
        self.calls: list[str] = []
        self.down: Exception | None = None
        self.params = self
        self._mirrors: list[Any] = []
        self._codec = Codec(pickle=True)
        values.register(self._codec)

    def swapped(self, program: Any) -> None:
        """Another program takes the place of the one there is, as in another process."""
        self.pid += 1
        self.host = ModuleHost(program)
        self.host.start((), {})
        self.host.parameters()

    def info(self) -> SimpleNamespace:
        return SimpleNamespace(pid=self.pid)

    def raw(self) -> LocalRef:
        return self

    def track(self, mirror: Any) -> None:
        self._mirrors.append(mirror)

    def push_edits(self) -> None:
        for mirror in self._mirrors:
            mirror.push()

    @property
    def has_edits(self) -> bool:
        return any(mirror.has_edits for mirror in self._mirrors)

    def stamp(self) -> tuple[int, int]:
        raise ParameterNotFoundError("no table")

    def call(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        self.calls.append(method)
        if self.down is not None:
            raise self.down
        args, kwargs = self._through([list(args), kwargs])
        if method in ("$mirror", "$edit"):
            told = self.host.mirrored(method == "$edit", None, "test", *args, **kwargs)
            return self._through({**told, "process": self.pid} if isinstance(told, dict) else told)
        return self._through(self.host.find(method).function(*args, **kwargs))

    async def acall(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        found = self.host.find(method).function(*self._through(list(args)), **kwargs)
        self.calls.append(method)
        return self._through(await found if inspect.isawaitable(found) else found)

    def _through(self, value: Any) -> Any:
        return self._codec.unpack(self._codec.pack([value]))[0]
