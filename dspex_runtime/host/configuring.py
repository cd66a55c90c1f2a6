"""What a reload tells a process that goes on: other limits, other configured values of parameters. On the control thread.

    configure {limits: {name: value}} or {params: {"set": {name: value}, "unset": [names]}}; answered when it holds

Values are checked, journalled, published and told as any write is, by "yaml"; all of them or none. A parameter that the file names
no longer has its default again, unless somebody has set it since.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ConfigError
from dspex_runtime.host.mailbox import Request
from dspex_runtime.params.adopting import CONFIGURED
from dspex_runtime.params.spec import ParameterType
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.keeping import Desk
    from dspex_runtime.host.loop_control import ControlledLoop
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.host.parent import ParentPeer

__all__ = ["configure"]

LIMITS: Final = frozenset({"mailbox", "max_calls", "nice"})


def configure(
    id: int, args: Mapping[str, Any], loop: ControlledLoop, desk: Desk, parameters: Parameters, parent: ParentPeer
) -> None:
    """Carry out one `configure`, see the module docstring."""
    try:
        if args.get("limits"):
            _limit(loop, args["limits"])
        values = _values(parameters, args.get("params") or {})
    except Exception as exc:
        desk.reply([m.FAULT, id, desk.fault(exc)])
        return
    if values:
        _write(Request(parent.named(CONFIGURED), id, "$set_many", [values], {}), loop)
    else:
        desk.reply([m.REPLY, id, {}])


def _limit(loop: ControlledLoop, limits: Mapping[str, Any]) -> None:
    if unknown := sorted(limits.keys() - LIMITS):
        raise ConfigError(f"a running process cannot be given the limit {unknown[0]!r}; there are {', '.join(sorted(LIMITS))}")
    if "nice" in limits:
        _be_nice(limits["nice"])
    loop.limit({name: value for name, value in limits.items() if name != "nice"})


def _be_nice(nice: int) -> None:
    """Give all threads this priority: Linux has it of threads, and those that come have that of whoever starts them."""
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it ended
            os.setpriority(os.PRIO_PROCESS, int(task), nice)


def _values(parameters: Parameters, params: Mapping[str, Any]) -> dict[str, Any]:
    values, owner = dict(params.get("set") or {}), parameters.owner
    if owner is None:
        if values:
            raise ConfigError(f"it has no parameters, and its `params` set {', '.join(map(repr, values))}")
        return {}
    for name in params.get("unset") or ():
        if name in owner.names() and owner.written(name)[2] == CONFIGURED:
            spec = owner.spec(name)
            if spec.type is not ParameterType.PREDICTOR:  # what that began with, nobody has kept
                values[name] = spec.default
    return values


def _write(request: Request, loop: ControlledLoop) -> None:
    """Write as a client would: at once, or where a check of the user's is to be run, in turn."""
    with loop.lock:
        service = loop.calls.parameters()
        served = service is not None and service.serve(request)
    if not served:
        loop.put(request)
