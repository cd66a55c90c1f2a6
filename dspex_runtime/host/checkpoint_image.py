"""One consistent image of this module, and such an image given back. Called where no callback runs beside it, or under locks.

Owns what belongs to a checkpoint. A restore takes all of it or nothing: what may be refused (a value, the user's own
`set_state`) comes first, and when it is the parameters are put back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import CheckpointError
from dspex_runtime.host.hosted import NO_STATE
from dspex_runtime.params.image import Image

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.params.owner import Owner
    from dspex_runtime.wire.codec import Codec


def take(kind: str, assignment: Assignment, hosted: Hosted, owner: Owner | None, codec: Codec, metrics: Mapping[str, Any]) -> Image:
    """Return the image of a module as it is now.

    Raises:
        UnserialisableError: The user's state cannot be packed.
        Exception: Whatever the user's `get_state` raises.
    """
    state = hosted.get_user_state() if hosted.keeps_user_state else NO_STATE
    return Image(
        id=assignment.id,
        kind=kind,
        when=time.time(),
        version=hosted.version,
        incarnation=assignment.incarnation,
        parameters=owner.image() if owner is not None else {},
        facts=owner.facts() if owner is not None else {},
        metrics=metrics,
        rest=hosted.get_rest(),
        user=None if state is NO_STATE else codec.pack([state]),
    )


def give_back(image: Image, hosted: Hosted, owner: Owner | None, codec: Codec, *, who: str) -> dict[str, int]:
    """Make a module what it was; return the new version of every parameter that changed.

    Raises:
        CheckpointError: It has parameters and this module declares none.
        ConstraintViolationError: A value breaks today's constraints. Nothing changed.
        Exception: What the user's `set_state` raised. Nothing changed but what it has done itself.
    """
    if image.parameters and owner is None:
        raise CheckpointError(f"the checkpoint of {image.id!r} has parameters; this module declares none")
    state = codec.unpack(image.user)[0] if image.user is not None and hosted.keeps_user_state else NO_STATE
    before = owner.image() if owner is not None else {}
    changes = owner.restore(image.parameters, who=who) if owner is not None else []
    try:
        if state is not NO_STATE:
            hosted.set_user_state(state)
    except BaseException:
        if owner is not None:
            owner.restore(before, who=who)
        raise
    hosted.set_rest(image.rest)
    hosted.set_mode(image.facts.get("mode", hosted.mode))
    if owner is not None:
        owner.set_facts({**owner.facts(), **image.facts})
    return {change.name: change.version for change in changes}
