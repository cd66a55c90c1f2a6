"""The steps from a launch to what is built of it: those of a process that is to be one module, and those of a template.

`settle_in` and `host` make what all processes of one spec may share; `settle_again` makes it one process's own.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.errors import StartError
from dspex_runtime.host import context, sources, targets
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.behaviours import GenServer
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Hosted
from dspex_runtime.types import Kind
from dspex_runtime.wire.codec import Codec


def settle_in(launch: LaunchSpec, cwd: str) -> None:
    """Have the surroundings that the user's code is imported in: folder, environment, paths, texts."""
    os.chdir(cwd)  # the folder of the YAML: what a module is told to read is relative to it
    os.environ.update(launch.env)
    if launch.sys_path:
        targets.prepend_paths(launch.sys_path)
    sources.prepare(launch.sources)


def settle_again(assignment: Assignment) -> None:
    """Make this process its own: who it is, randomness, priority."""
    context.Process.assignment, context.Process.pid = assignment, os.getpid()
    os.environ.update(assignment.own_environment())
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    if assignment.launch.limits.nice:
        os.setpriority(os.PRIO_PROCESS, 0, assignment.launch.limits.nice)


def host(found: Any, launch: LaunchSpec, codec: Codec) -> Hosted:
    """Return what hosts a class or an instance; dspy is as the launch says from then on.

    Raises:
        StartError: It cannot be hosted, or the LM or a setting cannot be made.
    """
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
