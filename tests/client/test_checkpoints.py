"""Checkpoints as clients ask for them: numbers, images that are looked into and compared, files that come and go whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dspex_runtime.client import checkpoints
from dspex_runtime.client.async_ref import ModuleRef as AsyncModuleRef
from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.runtime import Runtime
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CheckpointError, ConfigError, NoProcessError
from dspex_runtime.params import image, values
from dspex_runtime.types import CheckpointInfo
from helpers.descriptor import Descriptor
from helpers.param_tables import CODEC, tables

if TYPE_CHECKING:
    from client.conftest import FakeRuntime


def info(number: int, id: str = "qa", kind: str = "manual") -> dict[str, Any]:
    return {"id": id, "number": number, "created_at": 5.0, "kind": kind, "size": 7, "version": None}


def packed(when: float = 5.0, who: str = "me") -> bytes:
    return values.Annex(when, who, 1.0).pack()


def made(number: int, user: Any = ..., **parameters: Any) -> bytes:
    """The bytes of an image with these parameters; each of the version that is the image's number."""
    kept = {name: [number, bytes(values.encode(CODEC, value)), packed()] for name, value in parameters.items()}
    state = None if user is ... else CODEC.pack([user])
    return image.encode(image.Image("qa", "manual", 5.0, "2.1.0", 3, kept, {"mode": "train"}, {"calls": 4}, user=state))


def memfd(data: bytes) -> int:
    fd = os.memfd_create("image")
    os.write(fd, data)
    return fd


@pytest.fixture
def client(session: Session) -> Runtime:
    runtime = Runtime.__new__(Runtime)
    runtime._session = session
    return runtime


@pytest.fixture
def images(runtime: FakeRuntime) -> Iterator[dict[int | None, bytes]]:
    """Images that the runtime gives, by number; None: the newest."""
    kept: dict[int | None, bytes] = {}

    def give(args: dict[str, Any]) -> Descriptor:
        if args["number"] not in kept:
            raise CheckpointError(f"there is no checkpoint {args['number']}")
        return Descriptor(
            memfd(kept[args["number"]]), {key: value for key, value in info(args["number"] or 9).items() if key != "id"}
        )

    runtime.handlers["image"] = runtime.handlers["export"] = give
    return kept


# -- taking, listing, restoring


def test_a_checkpoint_is_taken_and_listed(client: Runtime, runtime: FakeRuntime) -> None:
    runtime.handlers["checkpoint"] = lambda args: info(2, args["id"])
    runtime.handlers["checkpoints"] = lambda args: [info(2), info(1)]
    taken = run(checkpoints.checkpoint(client, "qa"))
    assert taken == CheckpointInfo("qa", 2, 5.0, "manual", 7)
    assert run(checkpoints.checkpoints(client, "qa")) == [taken, CheckpointInfo("qa", 1, 5.0, "manual", 7)]


@pytest.mark.parametrize(("given", "number"), [(None, None), (3, 3), (CheckpointInfo("qa", 4, 5.0, "manual", 7), 4)])
def test_a_checkpoint_is_meant_by_what_was_returned_or_by_its_number(
    client: Runtime, runtime: FakeRuntime, given: Any, number: int | None
) -> None:
    asked: list[dict[str, Any]] = []
    runtime.handlers["restore"] = lambda args: asked.append(args) or info(number or 9)
    assert run(checkpoints.restore(client, "qa", given)).number == (number or 9)
    assert asked == [{"id": "qa", "number": number}]


@pytest.mark.parametrize("wrong", ["3", 3.0, True, CheckpointInfo("other", 4, 5.0, "manual", 7)])
def test_what_is_no_checkpoint_of_this_module_is_refused(client: Runtime, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        run(checkpoints.restore(client, "qa", wrong))


def test_pruning_says_how_many_stay_or_which_go(client: Runtime, runtime: FakeRuntime) -> None:
    asked: list[dict[str, Any]] = []
    runtime.handlers["prune"] = lambda args: asked.append(args) or [1]
    assert run(checkpoints.prune_checkpoints(client, "qa", keep=3)) == [1]
    assert run(checkpoints.prune_checkpoints(client, "qa", checkpoints=[1, CheckpointInfo("qa", 2, 5.0, "manual", 7)])) == [1]
    assert asked == [{"id": "qa", "keep": 3}, {"id": "qa", "keep": None, "numbers": [1, 2]}]


def test_references_have_them_as_well(session: Session, runtime: FakeRuntime) -> None:
    runtime.handlers["checkpoint"] = lambda args: info(2, args["id"])
    runtime.handlers["restore"] = lambda args: info(args["number"], args["id"])
    runtime.handlers["checkpoints"] = lambda args: [info(2)]
    for reference in (ModuleRef(session, "qa"), ServerRef(session, "counter")):
        assert reference.restore(reference.checkpoint()).id == reference.id
        assert [one.number for one in reference.checkpoints()] == [2]

    async def main() -> None:
        reference = AsyncModuleRef(session, "qa")
        assert (await reference.restore(await reference.checkpoint())).number == 2  # type: ignore[misc]
        assert len(await reference.checkpoints()) == 1  # type: ignore[misc]

    asyncio.run(main())


# -- looking into them


def test_what_is_in_a_checkpoint(client: Runtime, images: dict[int | None, bytes]) -> None:
    images[2] = made(2, {"seen": 4}, temperature=0.3, style="brief")
    found = run(checkpoints.inspect_checkpoint(client, "qa", 2))
    assert found == {
        "id": "qa", "number": 2, "kind": "manual", "when": 5.0, "size": 7, "version": "2.1.0", "incarnation": 3,
        "facts": {"mode": "train"}, "metrics": {"calls": 4}, "user": {"seen": 4}, "parts": {}, "of": None,
        "parameters": {
            "style": {"value": "brief", "version": 2, "updated_at": 5.0, "who": "me"},
            "temperature": {"value": 0.3, "version": 2, "updated_at": 5.0, "who": "me"},
        },
    }  # fmt: skip


def test_what_this_process_cannot_read_is_said_and_hides_nothing_else(client: Runtime, images: dict[int | None, bytes]) -> None:
    whole = image.decode(made(1, temperature=0.3))
    images[None] = image.encode(image.Image(**{**{f: getattr(whole, f) for f in whole.__slots__}, "user": b"\xc1"}))
    found = run(checkpoints.inspect_checkpoint(client, "qa"))
    assert found["user"].startswith("<1 bytes that this process cannot read")
    assert found["parameters"]["temperature"]["value"] == 0.3


def test_two_checkpoints_are_compared_by_parameter(client: Runtime, images: dict[int | None, bytes]) -> None:
    images[1] = made(1, same=[1], changed=0.2, gone="x")
    images[2] = made(2, same=[1], changed=0.3, new=None)
    assert run(checkpoints.diff_checkpoints(client, "qa", 1, 2)) == [
        {"name": "changed", "change": "changed", "old": 0.2, "new": 0.3},
        {"name": "gone", "change": "removed", "old": "x", "new": None},
        {"name": "new", "change": "added", "old": None, "new": None},
    ]
    assert run(checkpoints.diff_checkpoints(client, "qa", 1, 1)) == []


def test_a_checkpoint_is_compared_with_what_is_now(client: Runtime, runtime: FakeRuntime, images: dict[int | None, bytes]) -> None:
    images[None] = made(1, temperature=0.2, style="brief")
    with tables() as kept:
        table = kept.new()
        kept.put(table, "temperature", 0.5)
        kept.put(table, "style", "brief")
        runtime.handlers["param_table"] = lambda args: Descriptor(os.dup(table.fd), {})
        assert run(checkpoints.diff_checkpoints(client, "qa")) == [
            {"name": "temperature", "change": "changed", "old": 0.2, "new": 0.5}
        ]


def test_an_owners_are_compared_with_those_of_its_parts(client: Runtime, runtime: FakeRuntime) -> None:
    kept = {
        ("qa", 1): (made(1, k=1), {"qa/far/rank": 4, "qa/gone": 1}),
        ("qa", 2): (made(2, k=1), {"qa/far/rank": 5}),
        ("qa/far/rank", 4): (made(4, k=1), {}),
        ("qa/far/rank", 5): (made(5, k=2), {}),
    }

    def give(args: dict[str, Any]) -> Descriptor:
        if args["id"] == "qa/gone":
            raise NoProcessError("there is no 'qa/gone'")
        data, parts = kept[args["id"], args["number"]]
        return Descriptor(memfd(data), {**info(args["number"], args["id"]), "parts": parts})

    runtime.handlers["image"] = give
    assert run(checkpoints.diff_checkpoints(client, "qa", 1, 2)) == [
        {"name": "far.rank.k", "change": "changed", "old": 1, "new": 2}
    ]


def test_one_that_is_not_there_is_said(client: Runtime, images: dict[int | None, bytes], runtime: FakeRuntime) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint 7"):
        run(checkpoints.inspect_checkpoint(client, "qa", 7))
    runtime.handlers["image"] = lambda args: None
    with pytest.raises(CheckpointError, match="has no such checkpoint"):
        run(checkpoints.inspect_checkpoint(client, "qa", 7))


# -- files


def test_a_file_is_written_whole_and_taken_in_again(
    client: Runtime, images: dict[int | None, bytes], runtime: FakeRuntime, tmp_path: Path
) -> None:
    images[None] = b"the image and its proof"
    file = tmp_path / "qa.ckpt"
    assert run(checkpoints.export_checkpoint(client, "qa", file)).number == 9
    assert file.read_bytes() == b"the image and its proof"
    assert os.listdir(tmp_path) == ["qa.ckpt"]
    asked: list[dict[str, Any]] = []
    runtime.handlers["import"] = lambda args: asked.append(args) or info(10, kind="import")
    assert run(checkpoints.import_checkpoint(client, "qa", file)).kind == "import"
    assert asked == [{"id": "qa", "data": b"the image and its proof"}]


def test_a_file_that_cannot_be_written_leaves_nothing(
    client: Runtime, images: dict[int | None, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    images[None] = b"the image"
    (tmp_path / "qa.ckpt").write_bytes(b"the one before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(checkpoints.export_checkpoint(client, "qa", tmp_path / "qa.ckpt"))
    assert os.listdir(tmp_path) == ["qa.ckpt"]
    assert (tmp_path / "qa.ckpt").read_bytes() == b"the one before"


@pytest.mark.parametrize(
    ("path", "why"), [("qa.ckpt", "No space left"), ("nowhere/qa.ckpt", "No such file"), ("directory", "Is a directory")]
)
def test_a_file_that_cannot_be_written_is_named_as_it_was_asked_for(
    client: Runtime, images: dict[int | None, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, why: str
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    images[None] = b"the image"
    (tmp_path / "directory").mkdir()
    if path == "qa.ckpt":
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=why) as caught:
        run(checkpoints.export_checkpoint(client, "qa", tmp_path / path))
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / path), None)
    assert ".part" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_of_the_caller(client: Runtime, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(checkpoints.import_checkpoint(client, "qa", tmp_path / "nothing"))
