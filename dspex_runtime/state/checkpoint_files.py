"""Checkpoints as files that another machine takes in.

    file    0        8                         40                        48      48 + head bytes
            MAGIC    sha256 of all behind it   head bytes u32, zeros     head    image [, images of parts]
                                                                         map of id, number, kind, created_at, version; of one
                                                                         with parts also size, and parts: a map like it of each

Owns the proof; never looks into an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from struct import Struct
from typing import Any, Final

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.checkpoints import sha256
from dspex_runtime.state.store import packed, unpacked
from dspex_runtime.types import CheckpointInfo

__all__ = ["from_file", "to_file"]

_MAGIC: Final = b"dspexckp"
_HEAD: Final = Struct("<8s32s")
_LENGTH: Final = Struct("<I4x")
_OF_THE_STORE: Final = frozenset({"size", "parts", "of"})  # said of a checkpoint, and nothing of its own


def to_file(members: Sequence[tuple[CheckpointInfo, bytes]]) -> bytes:
    """Return a checkpoint as a file that `from_file` takes in on any machine.

    Args:
        members: What it is and its image; of an owner that was saved with its parts, those behind it.
    """
    (info, image), *parts = members
    told = _told(info)
    if parts:
        told |= {"size": len(image), "parts": [{**_told(info), "size": len(image)} for info, image in parts]}
    head = packed(told)
    body = b"".join((_LENGTH.pack(len(head)), head, image, *(image for _, image in parts)))
    return _HEAD.pack(_MAGIC, sha256(body)) + body


def from_file(data: bytes) -> list[tuple[Mapping[str, Any], bytes]]:
    """Return what the head says (id, number, kind, created_at, version) and the image, of the owner first and then of its parts.

    Raises:
        CheckpointError: It is no such file, or not whole.
    """
    if len(data) < _HEAD.size or data[: len(_MAGIC)] != _MAGIC:
        raise CheckpointError(f"these {len(data)} bytes are no exported checkpoint")
    _, proof = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if sha256(body) != proof:
        raise CheckpointError(f"the exported checkpoint is not whole: its {len(data)} bytes are not those that were written")
    (head_bytes,) = _LENGTH.unpack_from(body)
    at = _LENGTH.size + head_bytes
    head = unpacked(body[_LENGTH.size : at])
    found = []
    for each in (head, *head.get("parts", ())):
        until = at + each["size"] if "size" in each else len(body)
        found.append((each, body[at:until]))
        at = until
    return found


def _told(info: CheckpointInfo) -> dict[str, Any]:
    return {key: value for key, value in asdict(info).items() if key not in _OF_THE_STORE}
