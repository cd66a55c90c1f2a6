"""An owner's process asks for its parts: the sub-modules that are processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dspex_runtime.errors import ConfigError
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def attach_parts(node: Node, args: Args, responder: Responder) -> None:
    """Have these parts from now on; answers with name, id and kind of each when all that were missing are ready."""
    session = responder.session
    if not isinstance(session, ModuleSession):
        raise ConfigError("parts are declared by a module's class: write `NAME = dx.sub_module(...)` there")
    node.parts.attach(session.process, args, responder)
