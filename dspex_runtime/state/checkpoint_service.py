"""What the keeper does with checkpoints: images as memfds in and out, files for other machines. On the disk's thread.

The newest checkpoint is also what the next incarnation gets its user's state from, so it is in the vault from when it is stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

from dspex_runtime.state.access import Access
from dspex_runtime.state.checkpoints import Checkpoints, from_file, to_file
from dspex_runtime.state.health import Health
from dspex_runtime.state.store import Store, packed
from dspex_runtime.state.vault import Vault, memfd
from dspex_runtime.types import CheckpointInfo

__all__ = ["Answer", "Args", "CheckpointService", "contents", "operations_of", "packed_rest"]

Args: TypeAlias = dict[str, Any]
Answer: TypeAlias = tuple[Any, list[int]]  # (value, descriptors, which are whoever's that sends it)


def operations_of(served: object) -> dict[str, Callable[[Args, list[int]], Answer]]:
    """Return the operations of an object by name: its methods that begin with `op_`."""
    return {name.removeprefix("op_"): getattr(served, name) for name in dir(served) if name.startswith("op_")}


class CheckpointService:
    """The operations that concern checkpoints; see `protocol`. Descriptors that come in stay the caller's."""

    def __init__(self, access: Access, vault: Vault, health: Health) -> None:
        self._access = access
        self._vault = vault
        self._health = health

    def op_checkpoint(self, args: Args, fds: list[int]) -> Answer:
        """Store an image; answer what it is then."""
        return self._add(args["id"], contents(fds[0]), args["kind"], args["keep"]), []

    def _add(self, id: str, data: bytes, kind: str, keep: int) -> dict[str, Any]:
        from dspex_runtime.params import image

        read = image.decode(data)
        said = read.facts.get("note")
        note = None if said is None else str(said)

        def add(store: Store, rows: Checkpoints) -> CheckpointInfo:
            with store.writing():
                number = rows.add(id, data, kind=kind, when=read.when, version=read.version, note=note)
                rows.prune_by_itself(id, keep=keep)
            return CheckpointInfo(id, number, read.when, kind, len(data), read.version, note)

        info = self._access.run(add)
        self._access.check_in_place()
        self._vault.take_user(id, read.user, read.version)
        self._health.well()
        return asdict(info)

    def op_checkpoints(self, args: Args, _fds: list[int]) -> Answer:
        """The checkpoints of an id."""
        return [asdict(info) for info in self._access.run(lambda _, rows: rows.infos(args["id"]))], []

    def op_image(self, args: Args, _fds: list[int]) -> Answer:
        """The image of one."""
        info, data = self._access.run(lambda _, rows: rows.get(args["id"], args.get("number")))
        return asdict(info), [memfd("dspex-checkpoint", data)]

    def op_saved(self, args: Args, _fds: list[int]) -> Answer:
        """What one is and its image, for who is in this process."""
        info, data = self._access.run(lambda _, rows: rows.get(args["id"], args.get("number")))
        return (asdict(info), data), []

    def op_export(self, args: Args, _fds: list[int]) -> Answer:
        """One as a file."""
        info, data = self._access.run(lambda _, rows: rows.get(args["id"], args.get("number")))
        return asdict(info), [memfd("dspex-export", to_file(info, data))]

    def op_import(self, args: Args, fds: list[int]) -> Answer:
        """A file as a checkpoint of an id, whoever's it was."""
        _, data = from_file(contents(fds[0]))
        return self._add(args["id"], data, "import", args["keep"]), []

    def op_restored(self, args: Args, _fds: list[int]) -> Answer:
        """A module is what one says again: what its next incarnation gets must be that, so it is the newest from now on."""
        _, data = self._access.run(lambda _, rows: rows.get(args["id"], args["number"]))
        info = self._add(args["id"], data, "restored", args["keep"])
        if args.get("was_stopped"):  # its next incarnation does with it what a running one does at once
            self._access.run(lambda store, _: store.set_unapplied(args["id"], info["number"]))
            self._vault.take_rest(args["id"], packed_rest(data))
        return info, []

    def op_prune(self, args: Args, _fds: list[int]) -> Answer:
        """Forget some."""
        keep, numbers = args.get("keep"), args.get("numbers") or ()

        def prune(store: Store, rows: Checkpoints) -> list[int]:
            with store.writing():
                return rows.prune(args["id"], keep=keep, numbers=numbers)

        return self._access.run(prune), []


def packed_rest(data: bytes) -> bytes:
    """Return what an image has beside parameters and the user's state, as it is kept for the next incarnation."""
    from dspex_runtime.params import image

    read = image.decode(data)
    return packed({"rest": dict(read.rest), "mode": read.facts.get("mode")})


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
