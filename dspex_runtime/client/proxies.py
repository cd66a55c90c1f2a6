"""The one place where a client meets dspy: a module's proxy, made when somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.client.session import Session
from dspex_runtime.client.values import know_dspy

if TYPE_CHECKING:
    from dspex_runtime.modules.proxy import ModuleProxy


def module_proxy(session: Session, id: str) -> ModuleProxy:
    """Return a module as a `dspy.Module`. Imports dspy."""
    return proxy_of(session, ModuleRef(session, id))


def proxy_of(session: Session, ref: Any) -> ModuleProxy:
    """Return the `dspy.Module` over any reference to a module. Imports dspy."""
    from dspex_runtime.modules.proxy import ModuleProxy

    if not session.plain:
        know_dspy(session.codec)  # its values go as fields from now on, no longer as pickles
    return ModuleProxy(ref)
