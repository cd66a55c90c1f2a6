"""Checkpoints in and out of the keeper, as memfds."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.params import image
from dspex_runtime.state.access import Access
from dspex_runtime.state.checkpoint_service import CheckpointService, contents, operations_of
from dspex_runtime.state.health import Health
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.store import Store
from dspex_runtime.state.vault import Vault, memfd


class Served:
    """The operations, with bytes in the place of descriptors."""

    def __init__(self, state_dir: Path) -> None:
        self.vault = Vault()
        health = Health(lambda _: None)
        self.access = Access(health, lambda: None)
        self.access.path = state_dir / NAME
        self.operations = operations_of(CheckpointService(self.access, self.vault, health))

    def ask(self, op: str, data: bytes | None = None, /, **args: Any) -> Any:
        fds = [] if data is None else [memfd("in", data)]
        try:
            value, out = self.operations[op](args, fds)
        finally:
            for fd in fds:
                os.close(fd)
        brought = [contents(fd) for fd in out]
        for fd in out:
            os.close(fd)
        if op == "images":
            return list(zip(value, brought, strict=True))
        return (value, brought[0]) if brought else value

    def add_all(self, *ids: str, keep: int = 10) -> Any:
        owner, *parts = ids
        for part in parts:
            self.ask("stage", image_of(part, part.encode()), stage=1, id=part)
        return self.ask("checkpoint", image_of(owner, b"user"), id=owner, kind="manual", keep=keep, stage=1, parts=parts)

    def add(self, id: str, user: bytes, *, keep: int = 10) -> Any:
        return self.ask("checkpoint", image_of(id, user), id=id, kind="manual", keep=keep)

    def user(self, id: str) -> bytes:
        _, (fd,) = self.vault.give(id)
        return contents(fd)


def image_of(id: str, user: bytes) -> bytes:
    return image.encode(image.Image(id, "manual", 5.0, "2.1", 1, user=user))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.access.close()
    served.vault.close()


def test_a_checkpoint_says_what_it_is_and_is_what_the_next_incarnation_gets(served: Served) -> None:
    info = served.add("a", b"user")
    assert info == {
        "id": "a",
        "number": 1,
        "created_at": 5.0,
        "kind": "manual",
        "size": info["size"],
        "version": "2.1",
        "note": None,
        "parts": {},
        "of": None,
    }
    assert served.user("a") == b"user"
    assert served.ask("checkpoints", id="a") == [info]


def test_so_many_are_kept(served: Served) -> None:
    for _ in range(4):
        served.add("a", b"user", keep=2)
    assert [info["number"] for info in served.ask("checkpoints", id="a")] == [4, 3]


def test_what_is_no_image_is_not_stored(served: Served) -> None:
    with pytest.raises(CheckpointError, match="5 bytes are no checkpoint"):
        served.ask("checkpoint", b"weird", id="a", kind="manual", keep=10)
    assert served.ask("checkpoints", id="a") == []


def test_an_image_comes_back_as_it_went_in(served: Served) -> None:
    served.add("a", b"one")
    served.add("a", b"two")
    info, data = served.ask("image", id="a", number=1)
    assert (info["number"], data) == (1, image_of("a", b"one"))
    assert served.ask("image", id="a")[0]["number"] == 2
    assert served.ask("saved", members=[["a", 1]]) == [(info, data)]
    assert served.ask("images", id="a", number=1) == [(info, data)]


def test_a_file_is_taken_in_under_any_id(served: Served, tmp_path: Path) -> None:
    served.add("a", b"user")
    info, file = served.ask("export", id="a")
    elsewhere = Served(tmp_path / "other")
    (tmp_path / "other").mkdir()
    taken = elsewhere.ask("import", file, id="b", keep=10)
    assert (taken["id"], taken["kind"], taken["number"], taken["version"]) == ("b", "import", 1, info["version"])
    assert elsewhere.user("b") == b"user"
    with pytest.raises(CheckpointError, match="no exported checkpoint"):
        elsewhere.ask("import", b"something else", id="b", keep=10)
    elsewhere.access.close()
    elsewhere.vault.close()


def test_the_one_that_a_module_was_put_back_to_is_the_newest(served: Served) -> None:
    served.add("a", b"one")
    served.add("a", b"two")
    (info,) = served.ask("restored", members=[["a", 1]], keep=10)
    assert (info["number"], info["kind"]) == (3, "restored")
    assert served.user("a") == b"one"


def test_prune_says_which_are_gone(served: Served) -> None:
    for _ in range(3):
        served.add("a", b"user")
    assert served.ask("prune", id="a", keep=None, numbers=[2]) == [2]
    assert served.ask("prune", id="a", keep=0, numbers=None) == [3, 1]


class TestOfAnOwnerWithItsParts:
    def test_what_was_staged_is_stored_with_the_owners(self, served: Served) -> None:
        info = served.add_all("qa", "qa/r", "qa/s")
        assert (info["number"], info["parts"]) == (1, {"qa/r": 1, "qa/s": 1})
        assert [each["of"] for each in served.ask("checkpoints", id="qa/r")] == [("qa", 1)]
        assert (served.user("qa"), served.user("qa/s")) == (b"user", b"qa/s")
        found = served.ask("images", id="qa")
        assert [(info["id"], data) for info, data in found] == [
            ("qa", image_of("qa", b"user")), ("qa/r", image_of("qa/r", b"qa/r")), ("qa/s", image_of("qa/s", b"qa/s")),
        ]  # fmt: skip

    def test_without_all_of_them_nothing_is_stored(self, served: Served) -> None:
        served.ask("stage", image_of("qa/r", b""), stage=2, id="qa/r")
        with pytest.raises(CheckpointError, match="the image of 'qa/s' was lost: it was given to a keeper that is gone"):
            served.ask("checkpoint", image_of("qa", b""), id="qa", kind="manual", keep=9, stage=2, parts=["qa/r", "qa/s"])
        served.ask("stage", b"weird", stage=3, id="qa/r")
        with pytest.raises(CheckpointError, match="5 bytes are no checkpoint"):
            served.ask("checkpoint", image_of("qa", b""), id="qa", kind="manual", keep=9, stage=3, parts=["qa/r"])
        assert served.ask("checkpoints", id="qa") + served.ask("checkpoints", id="qa/r") == []

    def test_so_many_are_kept_with_their_parts(self, served: Served) -> None:
        for _ in range(3):
            served.add_all("qa", "qa/r", keep=2)
        assert [info["number"] for info in served.ask("checkpoints", id="qa/r")] == [3, 2]

    def test_a_file_of_them_is_taken_in_under_another_owners_id(self, served: Served) -> None:
        served.add_all("qa", "qa/r")
        _, file = served.ask("export", id="qa")
        taken = served.ask("import", file, id="sup/other", keep=10)
        assert (taken["kind"], taken["parts"]) == ("import", {"sup/other/r": 1})
        assert served.user("sup/other/r") == b"qa/r"

    def test_they_were_put_back_together(self, served: Served) -> None:
        served.add_all("qa", "qa/r")
        served.add("qa/r", b"later")
        infos = served.ask("restored", members=[["qa", 1], ["qa/r", 1]], keep=10, was_stopped=True)
        assert [(info["id"], info["kind"]) for info in infos] == [("qa", "restored"), ("qa/r", "restored")]
        assert infos[0]["parts"] == {"qa/r": 3}
        assert contents(served.vault.give("qa/r")[1][0]) == b"qa/r"

    @pytest.mark.parametrize("what", ["row", "descriptor", "directory"])
    def test_they_were_put_back_together_or_not_at_all(
        self, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        served.add_all("qa", "qa/r")
        for id in ("qa", "qa/r"):
            served.add(id, b"later")
        before = {id: served.ask("checkpoints", id=id) for id in ("qa", "qa/r")}
        n_fds = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            _fail_at(what, patch, tmp_path)
            with pytest.raises((CheckpointError, OSError)):
                served.ask("restored", members=[["qa", 1], ["qa/r", 1]], keep=10, was_stopped=True)
        assert {id: served.ask("checkpoints", id=id) for id in before} == before
        assert [served.user(id) for id in before] == [b"later"] * 2
        assert [served.vault.give(id)[0]["rest"] for id in before] == [False] * 2
        assert served.access.run(lambda store, _: [store.unapplied(each) for each in before]) == [None] * 2
        assert len(os.listdir("/proc/self/fd")) == n_fds


def _fail_at(what: str, patch: pytest.MonkeyPatch, state_dir: Path) -> None:
    """Have the second of two not be taken: by the database, for want of a descriptor, or as the directory is gone."""
    match what:
        case "row":
            note = Store.set_unapplied

            def refused(store: Store, id: str, number: int) -> None:
                note(store, id, number)
                if id == "qa/r":
                    raise sqlite3.OperationalError("disk I/O error")

            patch.setattr(Store, "set_unapplied", refused)
        case "descriptor":
            left = iter(range(3))

            def made(label: str, data: bytes) -> int:
                if next(left, None) is None:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return memfd(label, data)

            for module in ("checkpoint_service", "vault"):
                patch.setattr(f"dspex_runtime.state.{module}.memfd", made)
        case _:
            patch.setattr("dspex_runtime.state.access._place", lambda _: None)
