"""The images of several processes: all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from dspex_runtime.node.checkpointing import IMAGE_TIMEOUT_S
from dspex_runtime.node.module_process import ModuleProcess

__all__ = ["Images", "close_images", "copied_images", "take_images"]

Facts: TypeAlias = dict[str, Any]
Images: TypeAlias = dict[str, int]  #: descriptors by full id, whose they are that holds them


def take_images(
    processes: Mapping[str, ModuleProcess],
    kind: str,
    done: Callable[[Images, Facts | None], None],
    about: Mapping[str, Facts] | None = None,
    *,
    held: bool = True,
) -> None:
    """Have processes each make an image; `done` gets them in this order, or why there are none.

    Args:
        processes: By full id.
        kind: Why, see `types.CheckpointInfo.kind`.
        done: Called once, when all have answered.
        about: Facts about the checkpoint, by whose image they are put in.
        held: Whether the processes are at rest; else each makes its own between two of its callbacks.
    """
    images: Images = {}
    faults: list[Facts] = []
    missing = len(processes)

    def imaged(id: str, _value: Any, fault: Facts | None, fd: int | None) -> None:
        nonlocal missing
        missing -= 1
        if fault is not None or fd is None:
            faults.append(fault or {"message": f"{id!r} answered without an image"})
        else:
            images[id] = fd
        if missing:
            return
        if faults:
            close_images(images)
            done({}, faults[0])
        else:
            done({id: images[id] for id in processes}, None)

    for id, process in processes.items():
        asked: Facts = {"kind": kind, "held": True} if held else {"kind": kind}
        if about is not None and id in about:
            asked["about"] = about[id]
        ask = process.request_fd_now if held else process.request_fd
        ask("checkpoint", asked, IMAGE_TIMEOUT_S, partial(imaged, id))


def copied_images(images: Mapping[str, int], ids: Iterable[str]) -> Images:
    """Return descriptors of the same images for somebody else."""
    return {id: os.dup(images[id]) for id in ids if id in images}


def close_images(images: Images) -> None:
    """Let go of images. Idempotent."""
    while images:
        os.close(images.popitem()[1])
