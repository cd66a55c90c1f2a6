"""A state that another version of the class has kept, given to this one: at a start, and when a checkpoint is restored.

Only where the class has a code_change; always up: old_version is what the kept state says. Never decides whether a state is given:
`parameters` and `checkpoint_image` do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.host.moving import migration
from dspex_runtime.params import values

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.params.image import Image
    from dspex_runtime.params.owner import Owner
    from dspex_runtime.wire.codec import Codec

__all__ = ["change_server", "converted", "give_user_state"]

CODE_CHANGE: Final = "code_change"


def give_user_state(saved: Any, version: str | None, hosted: Hosted, owner: Owner | None, *, id: str) -> None:
    """Give a user's state of another version to a process that starts.

    What a module's code_change returns of the parameters is left out: they have moved on since, maybe as far as this version.

    Raises:
        SwapError: code_change raised, or returned something else than it is to.
        Exception: What the user's set_state raises.
    """
    if hosted.serial:
        before = hosted.get_state()
        try:
            hosted.set_user_state(saved)
            change_server(version, hosted, id=id)
        except BaseException:
            hosted.replace_state(lambda _: before)
            raise
        return
    params = {name: owner.get(name) for name in owner.names()} if owner is not None else {}
    result = migration.run(
        lambda: hosted.code_change(version, {"params": params, "state": saved}, None), f"{CODE_CHANGE} of {id!r}", id
    )
    hosted.set_user_state(migration.checked(result, CODE_CHANGE, id)["state"])


def change_server(version: str | None, hosted: Hosted, *, id: str) -> None:
    """Make the state that a server has, which another version has kept, one of this version. Raises SwapError."""
    state = hosted.get_state()
    changed = migration.run(lambda: hosted.code_change(version, state, None), f"{CODE_CHANGE} of {id!r}", id)
    hosted.replace_state(lambda _: changed)


def converted(image: Image, hosted: Hosted, codec: Codec) -> Image:
    """Return a module's checkpoint as one of this version.

    Raises:
        SwapError: code_change raised, or returned something else than it is to.
        UnserialisableError: What it returned cannot be kept.
    """
    state = None if image.user is None else codec.unpack(image.user)[0]
    data = {name: entry[1] for name, entry in image.parameters.items()}

    def change(before: Any) -> Any:
        return hosted.code_change(image.version, before, None)

    made = migration.migrated(change, data, state, codec, what=CODE_CHANGE, id=image.id)
    parameters = {name: entry for name, entry in image.parameters.items() if name not in made.dropped}
    parameters |= {name: [0, bytes(values.encode(codec, value)), b""] for name, value in made.params.items()}
    keeps = image.user is not None or made.state is not None
    return replace(image, parameters=parameters, user=codec.pack([made.state]) if keeps else None)
