"""Checkpoints: taken, listed, looked into, compared, restored, pruned, and carried from one runtime to another as a file.

Each operation is written once, for runtimes and references of threads and of tasks. Restores nothing itself: the module does, or
the runtime for one that is stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.client.asking import QUICK_S, Client, ask
from dspex_runtime.client.ids import Child, looked_up
from dspex_runtime.client.ref_ops import Reference
from dspex_runtime.client.steps import Await, Steps
from dspex_runtime.core.keys import show
from dspex_runtime.errors import CheckpointError, ConfigError, NoProcessError, ParameterNotFoundError, RuntimeUnreachableError
from dspex_runtime.params import image
from dspex_runtime.params.values import Annex, decode, encode
from dspex_runtime.types import CheckpointInfo

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session

#: What `checkpoint` returned, or its number; None: the newest that is whole.
Which: TypeAlias = CheckpointInfo | int | None

MADE_WITHIN_S: Final = 120.0  # a module is asked between two of its callbacks, and both it and the disk may take their time


# -- of a runtime: which module is said


def checkpoint(self: Client, id: Child) -> Steps[CheckpointInfo]:
    """Save a module as it is now, between two of its callbacks: parameters, mode, metrics, and its own `get_state()`.

    An owner is saved with its parts, all in one moment in which nothing runs in any of them: calls wait, those that run have the
    owner's `shutdown.drain` to finish. So a `get_state` (and a `set_state`) cannot call a part: that hears nobody then. Ends when
    it is on the disk. A crash at any moment leaves the checkpoints before it whole.

    Raises:
        CheckpointError: It does not run, or could not be saved; says why. Code "busy": it and its parts did not come to rest.
        Exception: What its `get_state` raised.
    """
    return (yield from taken(self.session, (yield from looked_up(self.session, id))))


def checkpoints(self: Client, id: Child) -> Steps[list[CheckpointInfo]]:
    """Return the checkpoints of a child, newest first; also of one that is stopped or has failed."""
    return (yield from listed(self.session, (yield from looked_up(self.session, id))))


def restore(self: Client, id: Child, checkpoint: Which = None) -> Steps[CheckpointInfo]:
    """Put a child back to a checkpoint, the newest one by default; returns which. What it is now is saved before.

    One that is stopped has it at its next start; its mode and its own state, too. Of an owner that was saved with its parts all
    are put back, or none; a part can be put back alone, too.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged. Code "busy" as `checkpoint`.
        ConstraintViolationError: A value breaks today's limits; nothing changed.
    """
    return (yield from put_back(self.session, (yield from looked_up(self.session, id)), checkpoint))


def prune_checkpoints(
    self: Client, id: Child, keep: int | None = None, checkpoints: Iterable[CheckpointInfo | int] | None = None
) -> Steps[list[int]]:
    """Forget checkpoints of a child; returns the numbers of those that are gone.

    Args:
        self: The runtime.
        id: The child.
        keep: So many of the newest stay.
        checkpoints: Or: which ones go.
    """
    full_id = yield from looked_up(self.session, id)
    asked: dict[str, Any] = {"id": full_id, "keep": keep}
    if checkpoints is not None:
        asked["numbers"] = [_number(full_id, one) for one in checkpoints]
    gone: list[int] = yield from ask(self.session, "prune", asked, QUICK_S)
    return gone


def inspect_checkpoint(self: Client, id: Child, checkpoint: Which = None) -> Steps[dict[str, Any]]:
    """Return what is in a checkpoint.

    Returns:
        number, kind, when, version, incarnation, size; parameters: {name: {value, version, updated_at, who}}; facts (mode, ...);
        metrics; user: the module's own state, or a text where this process cannot read it; parts and of, see `CheckpointInfo`.
    """
    full_id = yield from looked_up(self.session, id)
    info, found = yield from _image(self.session, full_id, checkpoint)
    parameters = {}
    for name, (version, data, packed) in sorted(found.parameters.items()):
        annex = Annex.unpack(packed)
        parameters[name] = {"value": _value(self.session, data), "version": version, "updated_at": annex.when, "who": annex.who}
    head = {"id": full_id, "number": info.number, "kind": info.kind, "when": found.when, "size": info.size}
    head |= {"parts": info.parts, "of": info.of}
    rest = {"version": found.version, "incarnation": found.incarnation, "facts": dict(found.facts), "metrics": dict(found.metrics)}
    return {**head, **rest, "parameters": parameters, "user": _user(self.session, found.user)}


def diff_checkpoints(self: Client, id: Child, old: Which = None, new: Which = None) -> Steps[list[dict[str, Any]]]:
    """Compare a checkpoint with another one, or with what the child has now.

    Args:
        self: The runtime.
        id: The child.
        old: The one to begin with; the newest by default.
        new: The one to compare with; None: the parameters as they are now.

    Returns:
        For each parameter that differs, by name: name, change ("changed", "added", "removed"), old and new. Those of parts that
        were saved with it are there as the owner has them: "retriever.k".
    """
    return (yield from compared(self.session, (yield from looked_up(self.session, id)), old, new))


def export_checkpoint(self: Client, id: Child, path: str | os.PathLike[str], checkpoint: Which = None) -> Steps[CheckpointInfo]:
    """Write a checkpoint into a file, for `import_checkpoint` here or elsewhere; the newest one by default; with its parts.

    The file is whole or not there: it is written under another name first.

    Raises:
        OSError: It cannot be written.
    """
    full_id = yield from looked_up(self.session, id)
    info, data = yield from _contents(self.session, "export", full_id, checkpoint)
    _write_whole(os.fspath(path), data)
    return info


def import_checkpoint(self: Client, id: Child, path: str | os.PathLike[str]) -> Steps[CheckpointInfo]:
    """Take in a file that `export_checkpoint` wrote, as the newest checkpoint of a child; `restore` then puts it back to it.

    Raises:
        OSError: The file cannot be read.
        CheckpointError: It is none, or damaged.
    """
    full_id = yield from looked_up(self.session, id)
    with open(path, "rb") as file:
        data = file.read()
    return _info((yield from ask(self.session, "import", {"id": full_id, "data": data}, MADE_WITHIN_S)))


# -- of a reference: whose it is


def of_ref(self: Reference) -> Steps[CheckpointInfo]:
    """Save the child as it is now; see `rt.checkpoint`."""
    return (yield from taken(self.session, self.id))


def all_of_ref(self: Reference) -> Steps[list[CheckpointInfo]]:
    """Return the child's checkpoints, newest first."""
    return (yield from listed(self.session, self.id))


def restored_ref(self: Reference, checkpoint: Which = None) -> Steps[CheckpointInfo]:
    """Put the child back to a checkpoint, the newest one by default; see `rt.restore`."""
    return (yield from put_back(self.session, self.id, checkpoint))


# -- what both are made of


def taken(session: Session, id: str) -> Steps[CheckpointInfo]:
    """Take a checkpoint."""
    yield from session.edits.pushed(id)
    return _info((yield from ask(session, "checkpoint", {"id": id}, MADE_WITHIN_S)))


def listed(session: Session, id: str) -> Steps[list[CheckpointInfo]]:
    """List them."""
    return [_info(data) for data in (yield from ask(session, "checkpoints", {"id": id}, QUICK_S))]


def put_back(session: Session, id: str, checkpoint: Which) -> Steps[CheckpointInfo]:
    """Restore one."""
    yield from session.edits.pushed(id)
    asked = {"id": id, "number": _number(id, checkpoint)}
    return _info((yield from ask(session, "restore", asked, MADE_WITHIN_S)))


def compared(session: Session, id: str, old: Which, new: Which) -> Steps[list[dict[str, Any]]]:
    """Compare two, or one with what the child has now; those of its parts with it."""
    first, before = yield from _saved(session, id, old)
    if new is None:
        after = yield from _now(session, id, "")
        for part in first.parts:
            after |= yield from _now(session, part, _prefix(id, part))
    else:
        _, after = yield from _saved(session, id, new)
    differing = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return [_difference(session, name, before.get(name), after.get(name)) for name in differing]


def _saved(session: Session, id: str, checkpoint: Which) -> Steps[tuple[CheckpointInfo, dict[str, bytes]]]:
    """Return what a checkpoint is, and the values in it, those of its parts with it, as the owner names them."""
    info, found = yield from _image(session, id, checkpoint)
    values = {name: bytes(data) for name, (_, data, _) in found.parameters.items()}
    for part, number in info.parts.items():
        try:
            _, of_part = yield from _image(session, part, number)
        except NoProcessError:
            continue  # the owner has no such part any more
        values |= {_prefix(id, part) + name: bytes(data) for name, (_, data, _) in of_part.parameters.items()}
    return info, values


def _prefix(owner: str, part: str) -> str:
    """Return what goes before the name of a part's parameter where the owner has it: "retriever." or "far.rank.", say."""
    return part.removeprefix(f"{owner}/").replace("/", ".") + "."


def _number(id: str, checkpoint: Which) -> int | None:
    if isinstance(checkpoint, CheckpointInfo):
        if id not in (checkpoint.id, checkpoint.id.rpartition("#")[0]):  # a group's are those of its lowest replica
            raise ConfigError(f"checkpoint {checkpoint.number} is one of {checkpoint.id!r}, not of {id!r}", id=id)
        return checkpoint.number
    if type(checkpoint) not in (int, type(None)):
        raise ConfigError(f"a checkpoint is what rt.checkpoint returned, or its number; got {show(checkpoint)}", id=id)
    return checkpoint


def _info(data: Mapping[str, Any]) -> CheckpointInfo:
    return CheckpointInfo(**{name: data[name] for name in CheckpointInfo.__slots__ if name in data})


def _image(session: Session, id: str, checkpoint: Which) -> Steps[tuple[CheckpointInfo, image.Image]]:
    info, data = yield from _contents(session, "image", id, checkpoint)
    return info, image.decode(data)


def _contents(session: Session, op: str, id: str, checkpoint: Which) -> Steps[tuple[CheckpointInfo, bytes]]:
    """Return what the runtime gives as a descriptor."""
    answer = session.connection.request(op, {"id": id, "number": _number(id, checkpoint)})
    try:
        found = yield Await(answer, QUICK_S)
    except TimeoutError as exc:
        if type(exc) is not TimeoutError:
            raise
        raise RuntimeUnreachableError(f"the runtime has not answered {op!r} for {QUICK_S:g} s") from None
    if found is None:
        raise CheckpointError(f"{id!r} has no such checkpoint", id=id)
    with open(found[1], "rb") as file:
        file.seek(0)
        return _info({"id": id, **found[0]}), file.read()


def _now(session: Session, id: str, prefix: str) -> Steps[dict[str, bytes]]:
    codec = session.codec
    try:
        return (
            yield from session.tables.reading(
                id, lambda view: {prefix + name: bytes(encode(codec, view.get(name))) for name in view.names()}
            )
        )
    except (ParameterNotFoundError, NoProcessError):
        return {}


def _difference(session: Session, name: str, old: bytes | None, new: bytes | None) -> dict[str, Any]:
    change = "added" if old is None else "removed" if new is None else "changed"
    values = {key: None if data is None else _value(session, data) for key, data in (("old", old), ("new", new))}
    return {"name": name, "change": change, **values}


def _user(session: Session, packed: bytes | None) -> Any:
    return None if packed is None else _value(session, packed)


def _value(session: Session, data: bytes) -> Any:
    try:
        return decode(session.codec, data)
    except Exception as exc:  # of a class that is not found here, say: all else can still be shown
        return f"<{len(data)} bytes that this process cannot read: {type(exc).__name__}: {exc}>"


def _write_whole(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as exc:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # it was never made
        if isinstance(exc, OSError):
            raise OSError(exc.errno, exc.strerror, path) from None  # the name of the other one is nobody's business
        raise
