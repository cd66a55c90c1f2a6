"""The state of a process on its way to the one that takes its place: taken and packed in the old one, read in the new one.

    ["state", {"apart": [field, ...], "table": bool, "blobs": [[name, version], ...], "volatile": bool, "position": int,
               "watched": {...} | None}]
        + descriptors in this order: image (a memfd, `params.image`), apart (a memfd each), table, blobs, volatile

Callers wait meanwhile: large fields of the image stand apart, as they are. In the image they are copied twice more, in memory that
is new to a process: 2 ms for 1 MB.

What is taken is a checkpoint image with more in it: `server` and `down` (`params.image`), and among its facts "configured" (the
encoded configuration that the parameters were given) and "withdrawn" (what is kept and not declared). All are copies: the old
process can go on as if nothing had happened. Runs on the main thread, between two callbacks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import ParameterError, SwapError, UnserialisableError
from dspex_runtime.host import checkpoint_image
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.keeping import contents_of, memfd_of
from dspex_runtime.host.moving import migration
from dspex_runtime.params import image as images
from dspex_runtime.params import values
from dspex_runtime.params.constraints import without_promise
from dspex_runtime.params.holders import Kept
from dspex_runtime.params.image import Image
from dspex_runtime.params.table import Table

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.moving.stream import Frame, Outgoing
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.host.server_loop import ServerLoop
    from dspex_runtime.params.owner import Owner
    from dspex_runtime.wire.codec import Codec

__all__ = ["CANNOT_BE_SENT", "STATE", "Moved", "Way", "copy_of", "differ", "pack_state", "read_state", "take"]

STATE: Final = "state"
MOVING: Final = "swap"  # kind of the image that moves
CONFIGURED: Final = "configured"
WITHDRAWN: Final = "withdrawn"
CANNOT_BE_SENT: Final = b""
NO_CODE_CHANGE: Final = b""
MOVE: Final = "move"  # code of the SwapError
LARGE_BYTES: Final = 65536
COMPARED_BYTES: Final = 65536  # at a time
_OF_THE_USER: Final = ("user", "server", "down")


@dataclass(frozen=True, slots=True)
class Way:
    """Where to.

    Attributes:
        down: To an earlier version: the class that is left makes its state.
        version: Which one.
        extra: For code_change, pickled.
    """

    down: bool = False
    version: str | None = None
    extra: bytes | None = None

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> Way:
        """Return what the arguments of an operation say: has_down, down, extra; each may be missing."""
        return cls(bool(args.get("has_down", False)), args.get("down"), args.get("extra"))


@dataclass(frozen=True, slots=True)
class Moved:
    """What came.

    Attributes:
        image: The final one.
        kept: Table, blobs, journal in memory and configuration of the process before.
        position: Where its journal ends.
        watched: Its `Changes.contents`.
    """

    image: Image
    kept: Kept
    position: int
    watched: dict[str, Any] | None


def take(
    kind: str,
    assignment: Assignment,
    hosted: Hosted,
    parameters: Parameters,
    metrics: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    way: Way | None = None,
) -> Image:
    """Return the image of a process that is to be replaced.

    Raises:
        SwapError: Its state cannot be sent ("move"), or its class's code_change fails on the way down ("migrate").
    """
    codec, owner, id = parameters.codec, parameters.owner, assignment.id
    extra: dict[str, Any] = {CONFIGURED: configured(assignment, codec)}
    if owner is not None and (withdrawn := owner.kept_back()):
        extra[WITHDRAWN] = withdrawn
    try:
        image = checkpoint_image.take(kind, assignment, hosted, owner, codec, metrics, {**(about or {}), **extra})
    except UnserialisableError as exc:
        raise _unsendable(id, exc, has_get_state=True) from None
    except Exception as exc:
        raise migration.refused(exc, f"get_state of {id!r}", id, code=MOVE) from None
    if hosted.serial:
        image = replace(image, server=_server(hosted, codec, image.user, id))
    return replace(image, down=_down(hosted, codec, image, way, id)) if way is not None and way.down else image


def pack_state(hosted: Hosted, parameters: Parameters, loop: ServerLoop, stream: Outgoing, way: Way) -> None:
    """Send everything that this process is, but for its loop. From here on no parameter can be written until `Owner.unseal`.

    What a call has changed is published first. Whoever writes after that waits; what was acknowledged is sent.

    Raises:
        SwapError: As `take`; or the journal takes nothing any more, or the stream is broken ("move"). Parameters may be sealed.
    """
    assignment, owner = parameters.assignment, parameters.owner
    parameters.after_call()
    with loop.lock:
        metrics = loop.tally.metrics.totals()
    image = take(MOVING, assignment, hosted, parameters, metrics, way=way)
    facts: dict[str, Any] = {"apart": [], "table": False, "blobs": [], "volatile": False, "position": 0, "watched": None}
    fds: list[int] = []
    try:
        if owner is not None:
            _seal(owner, assignment.id)
            about = {key: image.facts[key] for key in (CONFIGURED, WITHDRAWN) if key in image.facts}
            image = replace(image, parameters=owner.image(publish=False), facts={**owner.facts(), **about})
        apart: dict[str, Any] = {
            name: data for name in _OF_THE_USER if (data := getattr(image, name)) is not None and len(data) > LARGE_BYTES
        }
        facts["apart"] = list(apart)
        without: dict[str, Any] = dict.fromkeys(apart)
        fds.append(memfd_of(images.encode(replace(image, **without))))
        fds += [memfd_of(data) for data in apart.values()]
        if owner is not None:
            has, changes = owner.descriptors(), parameters.changes
            fds += [has.table, *has.blobs.values(), *([] if has.volatile is None else [has.volatile])]
            facts |= {"table": True, "blobs": [list(key) for key in has.blobs], "volatile": has.volatile is not None}
            facts |= {"position": has.position, "watched": changes.contents() if changes is not None else None}
        stream.send(STATE, facts, fds)
    finally:
        for fd in fds:
            os.close(fd)


def _seal(owner: Owner, id: str) -> None:
    try:
        owner.seal()
    except ParameterError as exc:
        raise SwapError(without_promise(exc), code=MOVE, id=id, hint=exc.hint) from None


def read_state(frame: Frame, like: Image | None = None) -> Moved:
    """Return what is in a frame; its descriptors are taken over, also when this raises.

    What is as in `like` is that very object: 1 MB more costs 0.9 ms, most of it for pages that are new to the process.

    Raises:
        SwapError: "move": it cannot be used here.
    """
    facts, fds = frame.facts, iter(frame.fds)
    try:
        image = images.decode(contents_of(next(fds)))
        apart: dict[str, Any] = {name: _contents_like(next(fds), getattr(like, name, None)) for name in facts["apart"]}
        image = replace(image, **apart)
        table = Table.adopt(next(fds)) if facts["table"] else None
        blobs = {(str(name), int(version)): next(fds) for name, version in facts["blobs"]}
        volatile = next(fds) if facts["volatile"] else None
        kept = Kept(table=table, blobs=blobs, volatile_fd=volatile, configured=image.facts.get(CONFIGURED) or {})
        return Moved(image, kept, int(facts["position"]), facts["watched"])
    except Exception as exc:
        for fd in fds:
            os.close(fd)
        raise SwapError(f"what the old process is cannot be read here: {str(exc) or type(exc).__name__}", code=MOVE) from None


def copy_of(image: Image) -> Kept:
    """Return what an image has as it is kept for a process that has nothing else: for a rehearsal."""
    own = {key: value for key, value in image.facts.items() if key not in checkpoint_image.ABOUT}
    return Kept(
        stored={name: (int(version), data, annex) for name, (version, data, annex) in _stored(image)},
        configured=image.facts.get(CONFIGURED) or {},
        facts=own,
    )


def differ(one: Image, other: Image) -> bool:
    """Return whether there is anything in one of them that a migration could see and that is otherwise in the other."""
    return any(getattr(one, name) != getattr(other, name) for name in ("parameters", "facts", "user", "server", "down", "version"))


def _contents_like(fd: int, like: bytes | None) -> bytes:
    """Return what is in a memfd, which is closed; `like` itself where it is the same."""
    size = os.fstat(fd).st_size
    if like is None or len(like) != size:
        return contents_of(fd)
    for at in range(0, size, COMPARED_BYTES):
        if os.pread(fd, COMPARED_BYTES, at) != like[at : at + COMPARED_BYTES]:
            return contents_of(fd)
    os.close(fd)
    return like


def configured(assignment: Assignment, codec: Codec) -> dict[str, bytes]:
    """Return the configuration of this process, encoded as parameters are."""
    return {name: bytes(values.encode(codec, value)) for name, value in assignment.launch.params.items()}


def _stored(image: Image) -> Iterator[tuple[str, Sequence[Any]]]:
    yield from (image.facts.get(WITHDRAWN) or {}).items()
    yield from image.parameters.items()


def _server(hosted: Hosted, codec: Codec, user: bytes | None, id: str) -> bytes | None:
    """Return a server's state as it is; None where that is what it keeps anyway, and CANNOT_BE_SENT where only it cannot be."""
    if isinstance(hosted, ServerHost) and hosted.keeps_state_itself:
        return None
    try:
        return codec.pack([hosted.get_state()])
    except UnserialisableError as exc:
        if user is None:
            raise _unsendable(id, exc, has_get_state=False) from None
        return CANNOT_BE_SENT


def _down(hosted: Hosted, codec: Codec, image: Image, way: Way, id: str) -> bytes:
    """Return what the class makes of a copy of its own state for an earlier version; NO_CODE_CHANGE: as it is."""
    if not hosted.changes_code:
        return NO_CODE_CHANGE
    old_version = ("down", way.version)
    change = migration.chosen(None, hosted, old_version, way.extra, id)
    assert change is not None
    what = f"code_change({old_version!r}, ...) of {id!r}"
    if hosted.serial:
        packed = image.user if image.user is not None else image.server
        assert packed
        state = codec.unpack(packed)[0]
        result = migration.run(lambda: change(state), what, id)
    else:
        params = {name: values.decode(codec, data) for name, (_, data, _) in image.parameters.items()}
        state = {"params": params, "state": None if image.user is None else codec.unpack(image.user)[0]}
        result = migration.checked(migration.run(lambda: change(state), what, id), what, id)
    try:
        return codec.pack([result])
    except UnserialisableError as exc:
        raise SwapError(f"what {what} returned cannot be sent: {exc.message}", code=migration.MIGRATE, id=id) from None


def _unsendable(id: str, exc: UnserialisableError, *, has_get_state: bool) -> SwapError:
    if has_get_state:
        what, hint = f"what get_state of {id!r} returned", "return plain data from get_state"
    else:
        what = f"the state of {id!r}"
        hint = "define get_state(state) and set_state(saved, state): they say what of it moves, and init makes the rest"
    why = exc.message.replace("message[0]", "state")
    return SwapError(f"{what} cannot be moved to the new process: {why}", code=MOVE, id=id, hint=hint)
