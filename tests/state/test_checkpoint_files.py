"""Checkpoints as files: what they say, and that no byte of them is another one."""

from __future__ import annotations

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.state.checkpoint_files import from_file, to_file
from dspex_runtime.types import CheckpointInfo


def test_a_file_says_what_it_is_and_holds_the_image() -> None:
    info = CheckpointInfo("sup/a", 3, 1.5, "manual", 5, "2.1", "best so far", of=("sup", 9))
    ((head, image),) = from_file(to_file([(info, b"image")]))
    assert image == b"image"
    assert head == {"id": "sup/a", "number": 3, "created_at": 1.5, "kind": "manual", "version": "2.1", "note": "best so far"}


def test_one_of_an_owner_holds_its_parts() -> None:
    owner = CheckpointInfo("qa", 3, 1.5, "manual", 5, parts={"qa/r": 7, "qa/s": 8})
    parts = [
        (CheckpointInfo(id, number, 1.5, "manual", 2, of=("qa", 3)), data)
        for id, number, data in [("qa/r", 7, b"R"), ("qa/s", 8, b"")]
    ]
    found = from_file(to_file([(owner, b"image"), *parts]))
    assert [(head["id"], head["number"], image) for head, image in found] == [
        ("qa", 3, b"image"),
        ("qa/r", 7, b"R"),
        ("qa/s", 8, b""),
    ]


@pytest.mark.parametrize("length", [0, 7, 40, 48, 60, -1])
def test_a_file_that_is_cut_off_is_refused(length: int) -> None:
    whole = to_file([(CheckpointInfo("a", 1, 0.0, "manual", 5), b"image")])
    with pytest.raises(CheckpointError):
        from_file(whole[:length])


def test_a_file_of_which_any_byte_is_another_one_is_refused() -> None:
    whole = to_file([(CheckpointInfo("a", 1, 0.0, "manual", 5), b"image")])
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(CheckpointError):
            from_file(bytes(changed))
