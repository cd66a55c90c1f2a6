"""A compile in the process that was started for it: this one is made the snapshot, the optimizer runs, the answer is a patch.

The patch is an image that holds only what the optimizer changed: what was set meanwhile in the module that serves stays set.
Never commits anything: the parent gives the patch to that module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import CompileError
from dspex_runtime.host import checkpoint_image, composite_image
from dspex_runtime.host.causes import error_text
from dspex_runtime.params import image
from dspex_runtime.params.image import Image
from dspex_runtime.params.values import encode

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.wire.codec import Codec

__all__ = ["become", "compiled", "snapshot_failed"]


def compiled(
    hosted: Hosted, codec: Codec, job: bytes, tell: Callable[[dict[str, Any]], None], *, id: str, version: str | None
) -> tuple[dict[str, Any], Image]:
    """Run an optimizer over a copy of the hosted program; return what is known of the run, and the patch.

    Args:
        hosted: The snapshot.
        codec: Encodes the states.
        job: See `modules.compiling.driver`.
        tell: Told how it goes.
        id: Of the module that is compiled.
        version: Of it.

    Raises:
        CompileError: There is no result; says why, with the traceback of whatever raised.
    """
    from dspex_runtime.modules.compiling.driver import compile_program
    from dspex_runtime.modules.hosting import ModuleHost

    if not isinstance(hosted, ModuleHost):
        raise CompileError(f"{id!r} is no dspy program: a GenServer has nothing to compile", id=id)
    try:
        found = compile_program(*hosted.program, job, tell, id=id)
    except CompileError as exc:
        exc.id = exc.id or id
        raise
    patch = Image(
        id=id,
        kind="compile",
        when=time.time(),
        version=version,
        incarnation=0,
        parameters={name: [0, bytes(encode(codec, state)), b""] for name, state in found.states.items()},
        rest=found.rest,
    )
    return {**found.facts, "changed": sorted(found.states)}, patch


def become(snapshot: Mapping[str, bytes], hosted: Hosted, parameters: Parameters, *, who: str) -> None:
    """Make this process what a module is, with its parts in it, by the paths at which it has them; "" is the module itself.

    Raises:
        Exception: What a user's `set_state` raised, or as `checkpoint_image.give_back`.
    """
    images = {path: image.decode(data) for path, data in snapshot.items()}
    whole = images.pop(composite_image.OWNER)
    if images:
        whole = composite_image.merged(whole, images)
    checkpoint_image.give_back(whole, hosted, parameters.owner, parameters.codec, who=who)
    states = {path: parameters.codec.unpack(part.user)[0] for path, part in images.items() if part.user is not None}
    if states:
        from dspex_runtime.modules.hosting import ModuleHost

        assert isinstance(hosted, ModuleHost)  # what has parts is one
        hosted.set_states_inside(states)
    parameters.after_call()


def snapshot_failed(exc: BaseException, id: str) -> CompileError:
    """Return why this process did not become what the module is."""
    return CompileError(f"a process with the state of {id!r} could not be made: {error_text(exc)}", id=id)
