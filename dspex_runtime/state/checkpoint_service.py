"""What the keeper does with checkpoints: images as memfds in and out, files for other machines. On the disk's thread.

The newest checkpoint is also what the next incarnation gets its user's state from, so it is in the vault from when it is stored.
What an owner is saved with comes before its own image ("staged"), and is stored with that in one transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.access import Access
from dspex_runtime.state.checkpoint_files import from_file, to_file
from dspex_runtime.state.checkpoints import Checkpoints
from dspex_runtime.state.health import Health
from dspex_runtime.state.store import Store, packed
from dspex_runtime.state.vault import Vault, memfd
from dspex_runtime.types import CheckpointInfo

if TYPE_CHECKING:
    from dspex_runtime.params.image import Image

__all__ = ["Answer", "Args", "CheckpointService", "contents", "operations_of", "rest_fd", "user_fd"]

Args: TypeAlias = dict[str, Any]
Answer: TypeAlias = tuple[Any, list[int]]  # (value, descriptors, which are whoever's that sends it)
Members: TypeAlias = Sequence[tuple[str, bytes]]  # ids and images, of an owner first


def operations_of(served: object) -> dict[str, Callable[[Args, list[int]], Answer]]:
    """Return the operations of an object by name: its methods that begin with `op_`."""
    return {name.removeprefix("op_"): getattr(served, name) for name in dir(served) if name.startswith("op_")}


class CheckpointService:
    """The operations that concern checkpoints; see `protocol`. Descriptors that come in stay the caller's."""

    def __init__(self, access: Access, vault: Vault, health: Health) -> None:
        self._access = access
        self._vault = vault
        self._health = health
        self._staged: dict[int, dict[str, bytes]] = {}

    def op_stage(self, args: Args, fds: list[int]) -> Answer:
        """Take the image of a part, of which the owner's follows."""
        self._staged.setdefault(args["stage"], {})[args["id"]] = contents(fds[0])
        return None, []

    def op_checkpoint(self, args: Args, fds: list[int]) -> Answer:
        """Store an image, with what was staged for it; answer what it is then."""
        id, parts = args["id"], args.get("parts") or []
        staged = self._staged.pop(args["stage"], {}) if parts else {}
        lost = [part for part in parts if part not in staged]
        if lost:
            raise CheckpointError(f"the image of {lost[0]!r} was lost: it was given to a keeper that is gone", id=id)
        return self._add([(id, contents(fds[0])), *((part, staged[part]) for part in parts)], args["kind"], args["keep"])[0], []

    def _add(self, members: Members, kind: str, keep: int, *, were_stopped: bool = False) -> list[dict[str, Any]]:
        """Store them, all or none; return what they are.

        Args:
            members: Ids and images.
            kind: Of checkpoint.
            keep: How many of the owner's.
            were_stopped: They are put back to this: their next incarnations do with it what running ones do at once.
        """
        from dspex_runtime.params import image

        read = {id: image.decode(data) for id, data in members}

        def add(store: Store, rows: Checkpoints) -> list[CheckpointInfo]:
            with store.writing():
                numbers = {}
                for id, data in members:
                    its, note = read[id], read[id].facts.get("note")
                    said = None if note is None else str(note)
                    numbers[id] = rows.add(id, data, kind=kind, when=its.when, version=its.version, note=said)
                    if were_stopped:
                        store.set_unapplied(id, numbers[id])
                rows.join(numbers)
                rows.prune_by_itself(members[0][0], keep=keep)
                found = {(id, info.number): info for id in numbers for info in rows.infos(id)}
                self._access.check_in_place()
            return [found[each] for each in numbers.items()]

        fds: list[int | None] = []  # made first: once the rows are there, nothing may fail any more
        try:
            for id, data in members:
                fds.append(user_fd(read[id]))
                fds.append(rest_fd(data) if were_stopped else None)
            infos = self._access.run(add)
        except BaseException:
            for fd in fds:
                if fd is not None:
                    os.close(fd)
            raise
        for (id, its), user, rest in zip(read.items(), fds[::2], fds[1::2], strict=True):
            self._vault.take_user(id, user, its.version)
            if were_stopped:
                self._vault.take_rest(id, rest)
        self._health.well()
        return [asdict(info) for info in infos]

    def op_checkpoints(self, args: Args, _fds: list[int]) -> Answer:
        """The checkpoints of an id."""
        return [asdict(info) for info in self._access.run(lambda _, rows: rows.infos(args["id"]))], []

    def op_image(self, args: Args, _fds: list[int]) -> Answer:
        """The image of one."""
        info, data = self._access.run(lambda _, rows: rows.get(args["id"], args.get("number")))
        return asdict(info), [memfd("dspex-checkpoint", data)]

    def op_images(self, args: Args, _fds: list[int]) -> Answer:
        """The images of one and of those that it names of its parts."""
        found = self._access.run(lambda _, rows: rows.get_all(args["id"], args.get("number")))
        return [asdict(info) for info, _ in found], [memfd("dspex-checkpoint", data) for _, data in found]

    def op_saved(self, args: Args, _fds: list[int]) -> Answer:
        """What some are, and their images: for who is in this process."""
        found = self._access.run(lambda _, rows: [rows.get(id, number) for id, number in args["members"]])
        return [(asdict(info), data) for info, data in found], []

    def op_export(self, args: Args, _fds: list[int]) -> Answer:
        """One as a file, with its parts."""
        found = self._access.run(lambda _, rows: rows.get_all(args["id"], args.get("number")))
        return asdict(found[0][0]), [memfd("dspex-export", to_file(found))]

    def op_import(self, args: Args, fds: list[int]) -> Answer:
        """A file as a checkpoint of an id, whoever's it was; of parts, as those of that id."""
        found = from_file(contents(fds[0]))
        was = found[0][0]["id"]
        members = [(args["id"] + head["id"].removeprefix(was), data) for head, data in found]
        return self._add(members, "import", args["keep"])[0], []

    def op_restored(self, args: Args, _fds: list[int]) -> Answer:
        """Modules are what some say again: what their next incarnations get must be that, so those are the newest from now on."""
        images = self._access.run(lambda _, rows: [(id, rows.get(id, number)[1]) for id, number in args["members"]])
        return self._add(images, "restored", args["keep"], were_stopped=bool(args.get("was_stopped"))), []

    def op_prune(self, args: Args, _fds: list[int]) -> Answer:
        """Forget some."""
        keep, numbers = args.get("keep"), args.get("numbers") or ()

        def prune(store: Store, rows: Checkpoints) -> list[int]:
            with store.writing():
                return rows.prune(args["id"], keep=keep, numbers=numbers)

        return self._access.run(prune), []


def user_fd(image: Image) -> int | None:
    """Return a memfd with the user's state in an image; None: it has none."""
    return None if image.user is None else memfd("dspex-user", image.user)


def rest_fd(data: bytes) -> int:
    """Return a memfd with what an image has beside parameters and the user's state, as it is kept for the next incarnation."""
    from dspex_runtime.params import image

    read = image.decode(data)
    return memfd("dspex-rest", packed({"rest": dict(read.rest), "mode": read.facts.get("mode")}))


def contents(fd: int) -> bytes:
    """Return all bytes of a memfd."""
    size, parts, at = os.fstat(fd).st_size, [], 0
    while at < size:
        part = os.pread(fd, size - at, at)  # 2 GB at most at a time
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)
