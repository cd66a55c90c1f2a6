"""The one place where a client meets dspy: a module's proxy, made when somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.client.session import Session
from dspex_runtime.client.values import know_dspy

if TYPE_CHECKING:
    from dspex_runtime.modules.mirror.proxy import ModuleProxy


def module_proxy(session: Session, id: str) -> ModuleProxy:
    """Return a module as a `dspy.Module`. Imports dspy."""
    return proxy_of(session, ModuleRef(session, id))


def proxy_of(session: Session, ref: Any) -> ModuleProxy:
    """Return the `dspy.Module` over any reference to a module. Imports dspy."""
    from dspex_runtime.modules.mirror.proxy import ModuleProxy

    if not session.plain:
        know_dspy(session.codec)  # its values go as fields from now on, no longer as pickles
    return ModuleProxy(ref)


def keep_callbacks(reference: Any, instance: Any) -> None:
    """Give a proxy the callbacks of the instance that is hosted behind it: they are the caller's, and no pickle carries them."""
    if isinstance(instance, type) or not hasattr(type(instance), "named_sub_modules") or not hasattr(reference, "callbacks"):
        return
    having = {name: list(part.callbacks) for name, part in instance.named_sub_modules() if getattr(part, "callbacks", None)}
    reference.callbacks.extend(having.pop("self", ()))
    if having:  # only these need to be fetched
        parts = dict(reference.named_sub_modules())
        for name in having.keys() & parts.keys():
            parts[name].callbacks.extend(having[name])
