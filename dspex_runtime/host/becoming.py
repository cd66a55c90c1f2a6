"""The steps by which a forked process becomes a module: it settles in, builds, tells what it is, opens for calls.

`bootstrap` takes them when it is told to, `prefault` rehearses them with nobody. Each may be taken once more in a process that
has rehearsed; none ends the process or decides what follows.
"""

from __future__ import annotations

import _thread
import os
import select
import sys
import time
from typing import Any

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.errors import StartError
from dspex_runtime.host import context, sources, targets
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.behaviours import GenServer
from dspex_runtime.host.channels import DataChannels
from dspex_runtime.host.control import Control
from dspex_runtime.host.dependencies import check
from dspex_runtime.host.ending import Ending
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.host.logs import ProcessLog
from dspex_runtime.host.param_service import ParamService
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.host.server_loop import ServerLoop
from dspex_runtime.host.uplink import Uplink
from dspex_runtime.osproc.board import Slot
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.types import Kind
from dspex_runtime.wire.codec import Codec

__all__ = ["build", "facts", "open_for_calls", "settle_in"]


def settle_in(assignment: Assignment) -> None:
    """Make this process its own: environment, paths, randomness, priority."""
    context.Process.assignment, context.Process.pid = assignment, os.getpid()
    os.chdir(assignment.cwd)  # the folder of the YAML: what a module is told to read is relative to it
    os.environ.update(assignment.environment())
    if assignment.launch.sys_path:
        targets.prepend_paths(assignment.launch.sys_path)
    sources.prepare(assignment.launch.sources)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    if assignment.launch.limits.nice:
        os.setpriority(os.PRIO_PROCESS, 0, assignment.launch.limits.nice)


def build(assignment: Assignment, codec: Codec, parameters: Parameters, uplink: Uplink) -> Hosted | None:
    """Find, build and initialise what is to be hosted, with what is kept for it; None when it chose to be ignored."""
    launch = assignment.launch
    hosted = _host(targets.find(launch), launch, codec)
    check(hosted, assignment.dependencies, assignment.id)
    context.Process.server = hosted if isinstance(hosted, ServerHost) else None
    args, kwargs = targets.arguments(launch)
    hosted.build(args, kwargs)
    parameters.adopt(hosted, uplink)
    if assignment.rehearsal and isinstance(hosted, ServerHost) and not hosted.keeps_user_state:
        hosted.check_start(args, kwargs)  # its state comes from the process whose place it takes
    elif not hosted.start(args, kwargs):
        return None
    parameters.adopt_what_setup_added(hosted, uplink)
    parameters.give_user_state()
    parameters.give_rest()
    return hosted


def _host(found: Any, launch: LaunchSpec, codec: Codec) -> Hosted:
    # First the class that needs no dspy: a server's process never imports or configures it.
    if isinstance(found, GenServer):
        return ServerHost(found)
    if isinstance(found, type) and issubclass(found, GenServer):
        return ServerHost(found())
    if launch.kind is Kind.SERVER:
        name = getattr(found, "__qualname__", None) or type(found).__qualname__
        raise StartError(f"{name} is not hostable as a server: expected a dx.GenServer subclass; a dspy.Module goes under `module`")
    from dspex_runtime.modules import hosting, runtime_env, values

    hosted = hosting.ModuleHost(found, launch.load)
    values.register(codec)
    # After the import of the user's file and before the constructor: the config has the last word over a dspy.configure
    # at the top of the file, and the constructor finds the LM.
    runtime_env.prepare(launch.lm, launch.dspy)
    return hosted


def facts(hosted: Hosted, started: float, *, had_dspy: bool) -> dict[str, Any]:
    """Return what READY tells the parent.

    Args:
        hosted: What was built.
        started: When the assignment was there, on the monotonic clock.
        had_dspy: Whether dspy had been imported before the user's code was.
    """
    return {
        "kind": str(hosted.kind),
        "version": hosted.version,
        "methods": {"idempotent": hosted.idempotent_methods(), **hosted.call_facts()},
        "outgrew": not had_dspy and ("dspy" in sys.modules or "numpy" in sys.modules),  # forked from where they are next
        "files": sources.loaded(),
        "main": f"thread {_thread.get_ident()}",  # as `names.this_thread` has it: what callbacks lock goes along in a swap
        "seconds": time.monotonic() - started,
    }


def open_for_calls(
    hosted: Hosted,
    assignment: Assignment,
    control: FdChannel,
    codec: Codec,
    slot: Slot,
    logs: ProcessLog,
    uplink: Uplink,
    parameters: Parameters,
) -> tuple[ServerLoop, Control, Ending]:
    """Make the loop that is to run on this thread, who is to serve the parent beside it, and who ends both."""
    epoll = select.epoll()
    ending = Ending(control)
    service = Control(control, epoll, assignment, codec, ending, logs, uplink, parameters)
    loop = ServerLoop(
        hosted,
        assignment.launch,
        DataChannels(epoll),
        slot,
        codec,
        id=assignment.id,
        incarnation=assignment.incarnation,
        on_max_calls=lambda n: service.event({"type": "max_calls", "calls": n}),
        on_idle=service.wake,
        on_end=ending.exit,
        base=assignment.base,
    )
    _serve_parameters(loop, hosted, assignment, parameters, service)
    if assignment.dependencies:
        loop.depend(assignment.dependencies)
    ending.hosted, ending.loop, ending.closing = hosted, loop, service.close
    context.Process.loop = loop
    return loop, service, ending


def _serve_parameters(loop: ServerLoop, hosted: Hosted, assignment: Assignment, parameters: Parameters, service: Control) -> None:
    """Have calls read and write what the parameters hold, and what a call changed published before it is answered."""
    loop.calls.make_service = lambda: ParamService(
        assignment.id, parameters.owner, assignment.launch.durability, loop.calls, getattr(hosted, "mirrored", None)
    )
    if parameters.watches_calls:
        loop.calls.before_reply = parameters.after_call
    parameters.attach(service.wake)
