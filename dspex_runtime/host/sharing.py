"""What the parent asks of one replica for the others: which versions it has, the values that they lack, and to take theirs.

    shared_versions  {}                -> {name: version}
    shared_values    {newer?, names?}  -> {"n", "versions", "behind"} and a descriptor of {name: [version, data, annex]}
    shared_take      {} + descriptor   -> {name: version}  of what is something else here, and not older
    shared_raise     {above}           -> None

What a running call may be using (predictors, values with a check of the user's) is put in between two calls, all else at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dspex_runtime.host.keeping import Desk, contents_of, memfd_of
from dspex_runtime.host.sys_functions import shielded
from dspex_runtime.params.spec import ParameterType
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.loop_control import ControlledLoop
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.params.owner import Owner

__all__ = ["Sharing"]


class Sharing:
    """Serves these operations for one process."""

    def __init__(self, loop: ControlledLoop, parameters: Parameters, desk: Desk) -> None:
        self._loop = loop
        self._parameters = parameters
        self._desk = desk

    def serve(self, id: int, op: str, args: dict[str, Any]) -> None:
        """Carry out one of them; its answer follows, now or when the main thread has a moment."""
        owner = self._parameters.owner
        match op:
            case "shared_versions":
                self._answer(id, lambda: _versions(owner))
            case "shared_values":
                self._give(id, owner, args.get("newer"), args.get("names"))
            case "shared_take":
                copies: Mapping[str, Any] = self._parameters.codec.unpack(contents_of(self._desk.take_fd()))[0]
                self._in_time(owner, copies, lambda: self._answer(id, lambda: {} if owner is None else owner.take_copies(copies)))
            case _:
                above: dict[str, int] = args["above"]
                self._in_time(owner, above, lambda: self._answer(id, lambda: None if owner is None else owner.lift(above)))

    def _in_time(self, owner: Owner | None, names: Iterable[str], function: Callable[[], None]) -> None:
        if owner is not None and any(_is_in_use(owner, name) for name in names):
            self._loop.run_on_main(function)
        else:
            function()

    def _give(self, id: int, owner: Owner | None, newer: Mapping[str, int] | None, names: list[str] | None) -> None:
        def given() -> tuple[dict[str, Any], int]:
            copies = {} if owner is None else owner.copies(newer, names)
            versions = _versions(owner)
            behind = any(version > versions.get(name, 0) for name, version in (newer or {}).items())
            return {"n": len(copies), "versions": versions, "behind": behind}, memfd_of(self._parameters.codec.pack([copies]))

        try:
            value, fd = given()
        except Exception as exc:
            self._desk.reply([m.FAULT, id, self._desk.fault(exc)])
            return
        self._desk.reply([m.REPLY, id, value], [fd])
        os.close(fd)

    def _answer(self, id: int, function: Callable[[], Any]) -> None:
        try:
            answer = [m.REPLY, id, shielded("sharing", function)]
        except Exception as exc:
            answer = [m.FAULT, id, self._desk.fault(exc)]
        self._desk.reply(answer)


def _versions(owner: Owner | None) -> dict[str, int]:
    return {} if owner is None else {name: owner.version(name) for name in owner.names()}


def _is_in_use(owner: Owner, name: str) -> bool:
    if name not in owner.names():
        return False
    spec = owner.spec(name)
    return spec.type is ParameterType.PREDICTOR or spec.custom is not None
