"""Alarms, for clients and for modules: each set and each clear is an event, so that whoever follows them is the handler."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING

from dspex_runtime.core.alarms import Alarm
from dspex_runtime.node.handing_on import packed_size
from dspex_runtime.node.module_session import ModuleSession
from dspex_runtime.node.operations.answers import Args
from dspex_runtime.node.reports import shown
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node


def set_alarm(node: Node, args: Args, responder: Responder) -> None:
    """Set an alarm, or replace its description."""
    session = responder.session
    by = session.process.id if isinstance(session, ModuleSession) else None
    size = packed_size(args.get("description"))  # what cannot be handed out is not taken
    alarm = node.alarms.set(args["alarm"], args.get("description"), now=time.time(), by=by)
    node.reports.emit("alarm_set", by, alarm=alarm.id, **shown("description", alarm.description, size))
    responder.reply(None)


def clear_alarm(node: Node, args: Args, responder: Responder) -> None:
    """Clear an alarm; answers whether it was set."""
    alarm = node.alarms.clear(args["alarm"])
    if alarm is not None:
        node.reports.emit("alarm_cleared", alarm.set_by, alarm=alarm.id)
    responder.reply(alarm is not None)


def alarms(node: Node, _args: Args, responder: Responder) -> None:
    """The alarms that are set, the newest first."""
    names = [field.name for field in fields(Alarm)]  # not asdict, which takes a pickled description apart
    responder.reply([{name: getattr(alarm, name) for name in names} for alarm in node.alarms.all()])
