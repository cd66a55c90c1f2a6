"""DSPy programs and other stateful Python workers as supervised OS processes.

Public are the names in `__all__`, used as `import dspex_runtime as dx`. They are imported at their first use: a module
process, a CLI command and a client each load only what they need, and dspy not before something asks for it.
"""

# The layers, in the order of the arrows of import:
#   errors exit_reason types | core wire | osproc config | host modules node | client

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex_runtime.client import aio as aio
    from dspex_runtime.client.compiling import CompileResult as CompileResult
    from dspex_runtime.client.orchestration import gather as gather
    from dspex_runtime.client.orchestration import map as map
    from dspex_runtime.client.orchestration import pipeline as pipeline
    from dspex_runtime.client.own_names import lookup as lookup
    from dspex_runtime.client.own_names import whereis as whereis
    from dspex_runtime.client.own_refs import module as module
    from dspex_runtime.client.own_refs import server as server
    from dspex_runtime.client.ref import ModuleRef as ModuleRef
    from dspex_runtime.client.ref import ServerRef as ServerRef
    from dspex_runtime.client.requests import Requests as Requests
    from dspex_runtime.client.runtime import Monitor as Monitor
    from dspex_runtime.client.runtime import Runtime as Runtime
    from dspex_runtime.client.runtime import connect as connect
    from dspex_runtime.client.via import Via as Via
    from dspex_runtime.errors import BusyError as BusyError
    from dspex_runtime.errors import CallError as CallError
    from dspex_runtime.errors import CallTimeoutError as CallTimeoutError
    from dspex_runtime.errors import CheckpointError as CheckpointError
    from dspex_runtime.errors import CompileError as CompileError
    from dspex_runtime.errors import ConfigError as ConfigError
    from dspex_runtime.errors import ConstraintViolationError as ConstraintViolationError
    from dspex_runtime.errors import DeadlockError as DeadlockError
    from dspex_runtime.errors import DependencyDownError as DependencyDownError
    from dspex_runtime.errors import DspexError as DspexError
    from dspex_runtime.errors import GradientNotRequiredError as GradientNotRequiredError
    from dspex_runtime.errors import NoProcessError as NoProcessError
    from dspex_runtime.errors import OverloadedError as OverloadedError
    from dspex_runtime.errors import ParameterError as ParameterError
    from dspex_runtime.errors import ParameterNotFoundError as ParameterNotFoundError
    from dspex_runtime.errors import ProcessDownError as ProcessDownError
    from dspex_runtime.errors import ProtocolError as ProtocolError
    from dspex_runtime.errors import RegistryError as RegistryError
    from dspex_runtime.errors import ReloadError as ReloadError
    from dspex_runtime.errors import RemoteError as RemoteError
    from dspex_runtime.errors import RuntimeUnreachableError as RuntimeUnreachableError
    from dspex_runtime.errors import StartError as StartError
    from dspex_runtime.errors import SupervisorError as SupervisorError
    from dspex_runtime.errors import SwapError as SwapError
    from dspex_runtime.errors import UnserialisableError as UnserialisableError
    from dspex_runtime.host.alarms import clear_alarm as clear_alarm
    from dspex_runtime.host.alarms import set_alarm as set_alarm
    from dspex_runtime.host.behaviours import Fail as Fail
    from dspex_runtime.host.behaviours import GenServer as GenServer
    from dspex_runtime.host.behaviours import Ignore as Ignore
    from dspex_runtime.host.behaviours import NoReply as NoReply
    from dspex_runtime.host.behaviours import Reply as Reply
    from dspex_runtime.host.behaviours import Stop as Stop
    from dspex_runtime.host.behaviours import cancel_timer as cancel_timer
    from dspex_runtime.host.behaviours import idempotent as idempotent
    from dspex_runtime.host.behaviours import reply as reply
    from dspex_runtime.host.behaviours import self_id as self_id
    from dspex_runtime.host.behaviours import send_after as send_after
    from dspex_runtime.host.names import listen as listen
    from dspex_runtime.host.names import lock as lock
    from dspex_runtime.host.names import register as register
    from dspex_runtime.host.names import unlisten as unlisten
    from dspex_runtime.host.names import unregister as unregister
    from dspex_runtime.host.names import update_value as update_value
    from dspex_runtime.host.signals import demonitor as demonitor
    from dspex_runtime.host.signals import exit as exit
    from dspex_runtime.host.signals import link as link
    from dspex_runtime.host.signals import monitor as monitor
    from dspex_runtime.host.signals import unlink as unlink
    from dspex_runtime.host.watching import subscribe as subscribe
    from dspex_runtime.host.watching import unsubscribe as unsubscribe
    from dspex_runtime.modules.members import predictor as predictor
    from dspex_runtime.modules.members import sub_module as sub_module
    from dspex_runtime.modules.module import Module as Module
    from dspex_runtime.modules.parts_process import Parts as Parts
    from dspex_runtime.params.parameter import Parameter as Parameter
    from dspex_runtime.params.parameter import Shared as Shared
    from dspex_runtime.types import Change as Change
    from dspex_runtime.types import CheckpointInfo as CheckpointInfo
    from dspex_runtime.types import Down as Down
    from dspex_runtime.types import Durability as Durability
    from dspex_runtime.types import Exit as Exit
    from dspex_runtime.types import ModuleInfo as ModuleInfo
    from dspex_runtime.types import Registered as Registered
    from dspex_runtime.types import ReloadResult as ReloadResult
    from dspex_runtime.types import ReloadStep as ReloadStep
    from dspex_runtime.types import SwapResult as SwapResult
    from dspex_runtime.types import Unregistered as Unregistered
    from dspex_runtime.types import VersionInfo as VersionInfo

_HOMES = {
    "client.compiling": ["CompileResult"],
    "client.own_names": ["lookup", "whereis"],
    "client.orchestration": ["gather", "map", "pipeline"],
    "client.own_refs": ["module", "server"],
    "client.ref": ["ModuleRef", "ServerRef"],
    "client.requests": ["Requests"],
    "client.runtime": ["Monitor", "Runtime", "connect"],
    "client.via": ["Via"],
    "errors": [
        "BusyError",
        "CallError",
        "CallTimeoutError",
        "CheckpointError",
        "CompileError",
        "ConfigError",
        "ConstraintViolationError",
        "DeadlockError",
        "DependencyDownError",
        "DspexError",
        "GradientNotRequiredError",
        "NoProcessError",
        "OverloadedError",
        "ParameterError",
        "ParameterNotFoundError",
        "ProcessDownError",
        "ProtocolError",
        "RegistryError",
        "ReloadError",
        "RemoteError",
        "RuntimeUnreachableError",
        "StartError",
        "SupervisorError",
        "SwapError",
        "UnserialisableError",
    ],
    "host.alarms": ["clear_alarm", "set_alarm"],
    "host.behaviours": [
        "Fail", "GenServer", "Ignore", "NoReply", "Reply", "Stop", "cancel_timer", "idempotent", "reply", "self_id", "send_after",
    ],
    "host.names": ["listen", "lock", "register", "unlisten", "unregister", "update_value"],
    "host.signals": ["demonitor", "exit", "link", "monitor", "unlink"],
    "host.watching": ["subscribe", "unsubscribe"],
    "modules.members": ["predictor", "sub_module"],
    "modules.module": ["Module"],
    "modules.parts_process": ["Parts"],
    "params.parameter": ["Parameter", "Shared"],
    "types": [
        "Change",
        "CheckpointInfo",
        "Down",
        "Durability",
        "Exit",
        "ModuleInfo",
        "Registered",
        "ReloadResult",
        "ReloadStep",
        "SwapResult",
        "Unregistered",
        "VersionInfo",
    ],
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["aio", *_HOME_OF]  # the one list of public names, also for star imports

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "aio":
        value: Any = import_module("dspex_runtime.client.aio")
    elif name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
