"""`dx.module` and `dx.server`: references, inside a module's process, to whatever else runs in its runtime.

Asks over the process's own control pipe, so that it works while the module is built, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.client.proxies import module_proxy
from dspex_runtime.client.ref import ServerRef
from dspex_runtime.client.session import session_at
from dspex_runtime.client.target import child_spec
from dspex_runtime.core.keys import show
from dspex_runtime.errors import ConfigError
from dspex_runtime.host import sub_modules
from dspex_runtime.host.context import Process
from dspex_runtime.host.parent import ask

if TYPE_CHECKING:
    from dspex_runtime.modules.mirror.proxy import ModuleProxy

__all__ = ["module", "server"]


def module(id: str) -> ModuleProxy:
    """Return a module of the own runtime as a `dspy.Module`, as `rt.module(id)` does; valid across its restarts.

    Raises:
        NoProcessError: There is none.
        ConfigError: It is no module.
        RuntimeError: This is no module process.
    """
    return module_proxy(session_at(_own_socket("module")), _full_id(id, "module"))


def server(id: str) -> ServerRef:
    """Return a GenServer of the own runtime, as `rt.server(id)` does. Raises as `module`."""
    return ServerRef(None, _full_id(id, "server"), _own_socket("server"))


def _own_socket(word: str) -> str:
    if Process.assignment is None:
        raise RuntimeError(f"dx.{word}(id) works only inside a module process; a client has rt.{word}(id)")
    return Process.assignment.socket


def _full_id(id: Any, kind: str) -> str:
    _own_socket(kind)
    if not isinstance(id, str):
        raise ConfigError(f"dx.{kind}(id) takes the id of a {kind}; got {show(id)}")
    found = ask("info", {"id": id})
    if found["kind"] != kind:
        raise ConfigError(f"{found['id']!r} is a {found['kind']}, not a {kind}", id=found["id"])
    return str(found["id"])


sub_modules.described = child_spec  # a process that has references can have sub-modules in processes of their own
