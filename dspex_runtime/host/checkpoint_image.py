"""One consistent image of this module, and such an image given back. Called where no callback runs beside it, or under locks.

Owns what belongs to a checkpoint. A restore takes all of it or nothing: what may be refused (a value, the user's own
`set_state`) comes first, and when it is the parameters are put back. What of the rest a restore has changed, or an edit of a
client's, is kept among the facts, in one step with the parameters: the next incarnation has it, too.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import CheckpointError
from dspex_runtime.host.hosted import NO_STATE
from dspex_runtime.params.image import Image

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.params.owner import Owner
    from dspex_runtime.wire.codec import Codec

REST: Final = "rest"  # the fact that holds what of the rest is to outlive the process
ABOUT: Final = frozenset({"note", "compile", "configured", "withdrawn"})  # facts about one checkpoint: not the module's
EDITS: Final = "edits"  # how often what has no version was changed: mirrors of the program look again (`modules.mirror.edits`)
_KEPT: Final = ("config", "frozen")  # maps by name; "compiled", a list, is whole or not there


def take(
    kind: str,
    assignment: Assignment,
    hosted: Hosted,
    owner: Owner | None,
    codec: Codec,
    metrics: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> Image:
    """Return the image of a module as it is now; `about` are facts about the image itself.

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
        facts={**(owner.facts() if owner is not None else {}), **(about or {})},
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
    is_of_another = image.version != hosted.version and hosted.changes_code
    if is_of_another and not hosted.serial:
        from dspex_runtime.host.moving import restoring  # few checkpoints are of another version

        image = restoring.converted(image, hosted, codec)
    state = codec.unpack(image.user)[0] if image.user is not None and hosted.keeps_user_state else NO_STATE
    facts = {key: value for key, value in image.facts.items() if key not in ABOUT | {REST, EDITS}}
    with owner.changing if owner is not None else nullcontext():
        before, old = (owner.image(), owner.facts()) if owner is not None else ({}, {})
        facts = {**old, **facts, **pinned(old, hosted, image.rest)}
        changes = owner.restore(image.parameters, who=who, facts=facts) if owner is not None else []
        try:
            if hosted.serial:
                _give_server(image, hosted, codec, state, is_of_another=is_of_another)
            elif state is not NO_STATE:
                hosted.set_user_state(state)
        except BaseException:
            if owner is not None:
                owner.restore(before, who=who, facts=old)
            raise
        hosted.set_rest(image.rest)
        if owner is not None and image.rest:
            tell_edit(owner)
    hosted.set_mode(image.facts.get("mode", hosted.mode))
    return {change.name: change.version for change in changes}


def _give_server(image: Image, hosted: Hosted, codec: Codec, state: Any, *, is_of_another: bool) -> None:
    """Give a server its state; when that is refused it has the one it had. One that keeps none gets what a swap found in it."""
    if state is NO_STATE and not image.server:
        return
    before = hosted.get_state()
    try:
        found = codec.unpack(image.server)[0] if state is NO_STATE and image.server else state
        if hosted.keeps_user_state:
            hosted.set_user_state(found)
        else:
            hosted.replace_state(lambda _: found)
        if is_of_another:
            from dspex_runtime.host.moving import restoring

            restoring.change_server(image.version, hosted, id=image.id)
    except BaseException:
        hosted.replace_state(lambda _: before)
        raise


def pinned(facts: Mapping[str, Any], hosted: Hosted, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fact REST when a rest is put back, {} where there is nothing to keep: it says only what the rest changes."""
    if not wanted:
        return {}
    now, kept = hosted.get_rest(), facts.get(REST) or {}
    found: dict[str, Any] = {}
    if "compiled" in wanted and (wanted["compiled"] != now.get("compiled") or "compiled" in kept):
        found["compiled"] = wanted["compiled"]
    for key in _KEPT:
        changed = {name: value for name, value in wanted.get(key, {}).items() if value != now.get(key, {}).get(name)}
        if changed or kept.get(key):
            found[key] = {**kept.get(key, {}), **changed}
    return {REST: {**kept, **found}} if found else {}


def tell_edit(owner: Owner) -> None:
    """Say that something without a version was changed just now: whoever looks again finds it."""
    with owner.changing:
        facts = owner.facts()
        owner.set_facts({**facts, EDITS: facts.get(EDITS, 0) + 1})


def without(rest: Mapping[str, Any], parameters: Collection[str]) -> dict[str, Any]:
    """Return what is kept of a rest, but for states of what is a parameter by now: that has its own, which is newer."""
    frozen = {name: state for name, state in rest.get("frozen", {}).items() if name not in parameters}
    return {**rest, "frozen": frozen} if "frozen" in rest else dict(rest)
