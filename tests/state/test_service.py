"""What the keeper does with its disk, with real journals and a real database."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dspex_runtime.errors import CheckpointError, ParameterError, StartError
from dspex_runtime.params import image, values
from dspex_runtime.params.blob import Blob
from dspex_runtime.params.journal import EXECUTIONS, FACTS, SET, Journal, segments
from dspex_runtime.params.volatile import VolatileJournal
from dspex_runtime.state.health import Health
from dspex_runtime.state.layout import NAME, journal_directory
from dspex_runtime.state.loading import BLOB_FROM_BYTES
from dspex_runtime.state.migrations import SCHEMA_VERSION
from dspex_runtime.state.service import RETRY_S, Service
from dspex_runtime.state.store import Store, packed
from dspex_runtime.state.vault import Vault, memfd
from dspex_runtime.wire.codec import Codec
from helpers.kept_module import KeptModule


class Disk:
    """A service with its vault, and what it told."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.events: list[dict[str, Any]] = []
        self.vault = Vault()
        self.service = Service(self.vault, Health(self.events.append))
        self.journals: dict[str, Any] = {}

    def ask(self, op: str, /, **args: Any) -> Any:
        value, fds = self.service.handle(op, args, [])
        for fd in fds:
            os.close(fd)
        return value

    def open(self, **args: Any) -> Any:
        return self.ask("open", state_dir=str(self.state_dir), **args)

    def journal(self, id: str) -> Any:
        if id not in self.journals:
            self.journals[id] = Journal.at(journal_directory(self.state_dir, id))
        return self.journals[id]

    def set(self, id: str, version: int, data: bytes = b"v", name: str = "x") -> None:
        self.journal(id).append([SET, name, version, float(version), "me", data, b"annex", False])

    def checkpoint(self, id: str, user: bytes | None = None, **parameters: list[Any]) -> Any:
        data = image.encode(image.Image(id, "manual", 5.0, "2.1", 1, parameters=parameters, user=user))
        fd = memfd("image", data)
        try:
            return self.service.handle("checkpoint", {"id": id, "kind": "manual", "keep": 10}, [fd])[0]
        finally:
            os.close(fd)

    def alarm(self) -> str | None:
        last = [each for each in self.events if each["type"].startswith("alarm")][-1:]
        return last[0].get("description") if last else None

    @property
    def connection(self) -> sqlite3.Connection:
        connection = self.service._access._db
        assert connection is not None
        return connection

    def again(self, **args: Any) -> tuple[Disk, Any]:
        """Return another one on the same directory, as after a kill."""
        self.close()
        other = Disk(self.state_dir)
        return other, other.open(**args)

    def close(self) -> None:
        for journal in self.journals.values():
            journal.close()
        self.service._access.close()
        self.vault.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = [Disk(tmp_path)]
    again = Disk.again

    def noted(self: Disk, **args: Any) -> tuple[Disk, Any]:
        other, value = again(self, **args)
        made.append(other)
        return other, value

    Disk.again = noted  # type: ignore[method-assign]
    yield made[0]
    Disk.again = again  # type: ignore[method-assign]
    for each in made:
        each.close()


class TestOpen:
    def test_nothing_is_known_of_a_new_directory(self, disk: Disk) -> None:
        assert disk.open() == {"ids": {}, "kept": []}

    def test_what_was_only_in_journals_is_known(self, disk: Disk) -> None:
        disk.set("a", 7, b"seven")
        disk.journal("b").append([EXECUTIONS, 1.0, [{"n": 1}], {"calls": 3}])
        disk, known = disk.again()
        assert known == {"ids": {"a": {}, "b": {"metrics": {"calls": 3}}}, "kept": ["a"]}
        assert disk.ask("value_at", id="a", name="x", version=7) == b"seven"

    def test_what_the_parent_noted_is_known_again(self, disk: Disk) -> None:
        disk.open()
        disk.ask("note", id="a", facts={"restarts": 3})
        disk.ask("ended", id="a", incarnation=4, facts={"last_exit": ("signal", "SEGV")})
        assert disk.service.settle() is None
        _, known = disk.again()
        assert known["ids"] == {"a": {"restarts": 3, "last_exit": ("signal", "SEGV")}}
        assert known["kept"] == []

    @pytest.mark.parametrize(("noted", "journal", "shown"), [(5, 9, 9), (9, 5, 9), (None, 5, 5)])
    def test_the_larger_figures_are_shown(self, disk: Disk, noted: int | None, journal: int, shown: int) -> None:
        disk.open()
        if noted is not None:
            disk.ask("note", id="a", facts={"metrics": {"calls": noted}})
            disk.service.settle()
        disk.journal("a").append([EXECUTIONS, 1.0, [{}], {"calls": journal}])
        _, known = disk.again()
        assert known["ids"]["a"]["metrics"]["calls"] == shown

    def test_fresh_discards_all_of_it(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1)
        disk.checkpoint("a")
        disk, known = disk.again(fresh=True)
        assert known == {"ids": {}, "kept": []}
        assert disk.ask("checkpoints", id="a") == []


class TestGive:
    def test_a_first_start_after_up_gets_what_is_stored(self, disk: Disk) -> None:
        disk.set("a", 2, b"two")
        disk.journal("a").append([FACTS, 1.0, {"mode": "eval"}])
        disk, _ = disk.again()
        info = disk.ask("give", id="a")
        assert info["stored"] == {"x": [2, b"two", b"annex"]}
        assert (info["table"], info["facts"]["mode"]) == (False, "eval")

    def test_it_gets_the_user_state_of_the_newest_checkpoint(self, disk: Disk) -> None:
        disk.open()
        disk.checkpoint("a", b"old")
        disk.checkpoint("a", b"new")
        disk, known = disk.again()
        assert known["kept"] == ["a"]
        info, (fd,) = disk.service.handle("give", {"id": "a"}, [])
        assert (info["user"], os.pread(fd, 100, 0)) == (True, b"new")
        os.close(fd)

    def test_of_what_no_journal_had_it_gets_the_checkpoints_value(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 5, b"five")
        disk.checkpoint("a", None, x=[4, b"four", b""], volatile=[9, b"nine", b""])
        disk, _ = disk.again()
        assert {name: value[:2] for name, value in disk.ask("give", id="a")["stored"].items()} == {
            "x": [5, b"five"],
            "volatile": [9, b"nine"],
        }

    def test_a_large_value_comes_as_a_blob(self, disk: Disk) -> None:
        disk.set("a", 3, b"x" * (BLOB_FROM_BYTES + 1))
        disk, _ = disk.again()
        info, (fd,) = disk.service.handle("give", {"id": "a"}, [])
        assert info["stored"] == {"x": [3, True, b"annex"]}
        assert info["blobs"] == [["x", 3]]
        data, annex = Blob.map(fd)
        assert (len(data), annex) == (BLOB_FROM_BYTES + 1, b"annex")
        os.close(fd)

    def test_what_was_told_meanwhile_is_newer_than_what_is_stored(self, disk: Disk) -> None:
        disk.open()
        disk.ask("configured", id="a", data={"x": b"old"})
        disk.set("a", 1)
        disk.service.settle()
        disk, _ = disk.again()
        disk.vault.of("a").configured = {"x": b"new"}
        assert disk.ask("give", id="a")["configured"] == {"x": b"new"}

    def test_a_corrupt_checkpoint_is_left_out_with_a_report(self, disk: Disk) -> None:
        disk.open()
        disk.checkpoint("a", b"whole")
        disk.checkpoint("a", b"damaged")
        disk.connection.execute("UPDATE checkpoints SET image = X'00' WHERE number = 2")
        disk, _ = disk.again()
        _, (fd,) = disk.service.handle("give", {"id": "a"}, [])
        assert os.pread(fd, 100, 0) == b"whole"
        os.close(fd)
        assert [each["text"] for each in disk.events if each["type"] == "report"] == [
            "checkpoint 2 of 'a' is corrupt and left out: its bytes are not those that were written"
        ]


class TestAsked:
    def test_history_has_what_the_journal_has_by_now(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1, b"one")
        disk.set("a", 2, b"two")
        found = disk.ask("history", id="a", name="x", n=10)
        assert [(each["version"], each["value"], each["old"]) for each in found] == [(2, b"two", b"one"), (1, b"one", None)]

    def test_history_has_what_only_a_journal_in_memory_has(self, disk: Disk) -> None:
        disk.open()
        volatile = VolatileJournal()
        volatile.append([SET, "x", 1, 1.0, "me", b"one", b"", False])
        disk.vault.take_volatile("a", os.dup(volatile.fd))
        volatile.close()
        assert [each["version"] for each in disk.ask("history", id="a", name="x", n=10)] == [1]
        assert disk.ask("value_at", id="a", name="x", version=1) == b"one"
        assert disk.ask("value_at", id="a", name="x", version=2) is None

    def test_history_has_what_a_table_shows_and_nobody_has_set(self, tmp_path: Path) -> None:
        disk = Disk(tmp_path)
        disk.open()
        module = KeptModule(tmp_path, "a", lambda kind, facts, fd: disk.vault.take_table("a", fd)).open()
        (first,) = disk.ask("history", id="a", name="temperature")
        assert (first["version"], first["who"], values.decode(Codec(), first["value"])) == (1, "default", 0.2)
        module.owner.set("temperature", 0.7, who="me")
        assert [each["version"] for each in disk.ask("history", id="a", name="temperature")] == [2, 1]
        assert disk.ask("history", id="a", name="nothing") == []
        module.die()
        disk.close()

    @pytest.mark.parametrize("n", [0, -1])
    def test_a_history_of_no_versions_is_refused(self, disk: Disk, n: int) -> None:
        disk.open()
        with pytest.raises(ParameterError, match=f"n is 1 or more; got {n}"):
            disk.ask("history", id="a", name="x", n=n)

    def test_executions_and_figures_of_one_that_does_not_run(self, disk: Disk) -> None:
        disk.open()
        disk.journal("a").append([EXECUTIONS, 1.0, [{"n": 1}, {"n": 2}], {"calls": 2}])
        assert disk.ask("executions", id="a", n=1) == [{"n": 2}]
        assert disk.ask("metrics", id="a") == {"calls": 2}
        assert disk.ask("metrics", id="nobody") == {}

    def test_events_are_there_after_the_end(self, disk: Disk) -> None:
        disk.open()
        disk.ask("events", records=[packed({"seq": 1}), packed({"seq": 2})])
        assert disk.ask("past_events", n=1) == [{"seq": 2}]
        disk, _ = disk.again()
        assert disk.ask("past_events", n=9) == [{"seq": 1}, {"seq": 2}]

    def test_of_a_dropped_id_nothing_is_left(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1)
        disk.checkpoint("a", b"user")
        disk.ask("history", id="a", name="x", n=1)
        disk.ask("drop", id="a")
        disk, known = disk.again()
        assert known == {"ids": {}, "kept": []}
        assert disk.ask("history", id="a", name="x", n=1) == []

    def test_an_operation_that_there_is_not_is_refused(self, disk: Disk) -> None:
        with pytest.raises(CheckpointError, match="no operation 'dance'"):
            disk.ask("dance")


class TestClose:
    def test_all_of_it_is_taken_in_and_the_journals_are_empty(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1)
        disk.set("b", 1)
        disk.ask("close")
        sizes = [path.stat().st_size for id in ("a", "b") for _, path in segments(journal_directory(disk.state_dir, id))]
        assert sizes == [0, 0]
        assert not (disk.state_dir / f"{NAME}-wal").exists()
        _, known = disk.again()
        assert known["kept"] == ["a", "b"]


class TestFaults:
    @pytest.mark.parametrize("fault", ["PRAGMA max_page_count = 20", "PRAGMA query_only = 1"])
    def test_what_the_disk_does_not_take_is_owed_and_written_when_it_does(self, disk: Disk, fault: str) -> None:
        disk.open()
        disk.connection.execute(fault)
        disk.set("a", 1, bytes(200_000))
        disk.ask("ended", id="a", incarnation=1, facts={"last_exit": "killed", "text": "x" * 200_000})
        assert disk.service.settle() == RETRY_S
        assert "does not work" in str(disk.alarm())
        assert len(segments(journal_directory(disk.state_dir, "a"))) == 1, "the journal has what is owed"
        disk.connection.execute("PRAGMA max_page_count = 1000000")
        disk.connection.execute("PRAGMA query_only = 0")
        assert disk.service.settle() is None
        assert disk.alarm() is None
        assert disk.ask("value_at", id="a", name="x", version=1) == bytes(200_000)

    @pytest.mark.parametrize("fault", ["PRAGMA max_page_count = 20", "PRAGMA query_only = 1"])
    def test_a_checkpoint_that_cannot_be_written_is_refused_and_the_one_before_is_whole(self, disk: Disk, fault: str) -> None:
        disk.open()
        disk.checkpoint("a", b"before")
        disk.connection.execute(fault)
        with pytest.raises(CheckpointError, match="does not work"):
            disk.checkpoint("a", bytes(300_000))
        assert [info["number"] for info in disk.ask("checkpoints", id="a")] == [1]
        _, fds = disk.service.handle("give", {"id": "a"}, [])
        assert os.pread(fds[-1], 100, 0) == b"before"
        for fd in fds:
            os.close(fd)

    def test_a_later_version_of_the_database_is_left_alone_and_the_journals_are_known(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1)
        disk.service._access.close()
        connection = sqlite3.connect(disk.state_dir / NAME)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.close()
        with pytest.raises(StartError, match="cannot be read: its schema has version"):
            disk.again()
        disk, known = disk.again(again=True)
        assert known == {"ids": {}, "kept": ["a"]}, "a keeper that takes the place of one that could read it"
        assert "is left alone" in str(disk.alarm())
        assert disk.ask("give", id="a")["stored"] == {}
        assert len(segments(journal_directory(disk.state_dir, "a"))) == 1
        assert disk.service.settle() is None, "nothing is tried again"
        with pytest.raises(CheckpointError, match="is left alone"):
            disk.ask("checkpoints", id="a")

    def test_a_database_that_is_damaged_is_replaced_and_the_journals_are_read_again(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1, b"one")
        disk.ask("history", id="a", name="x", n=1)
        disk.close()
        (disk.state_dir / NAME).write_bytes(b"damaged" * 5000)
        disk, known = disk.again()
        assert known["kept"] == ["a"]
        assert disk.ask("value_at", id="a", name="x", version=1) == b"one"
        assert any("is corrupt" in each.get("text", "") for each in disk.events)
        assert len(list(disk.state_dir.glob(f"{NAME}.corrupt-*"))) >= 1

    def test_one_that_is_damaged_while_it_is_used_is_replaced_and_what_was_asked_is_done(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1, b"one")
        disk.checkpoint("a", b"user")
        disk.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        disk.connection.execute("PRAGMA cache_size = 0")
        with open(disk.state_dir / NAME, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (os.path.getsize(disk.state_dir / NAME) - 4096))
        disk.connection.execute("PRAGMA shrink_memory")
        disk.ask("checkpoints", id="a")  # some of them could be read, or none
        assert disk.ask("value_at", id="a", name="x", version=1) == b"one"

    def test_a_history_whose_newest_versions_the_disk_does_not_take_is_refused(self, disk: Disk) -> None:
        disk.open()
        disk.connection.execute("PRAGMA query_only = 1")
        disk.set("a", 1)
        for op, args in (("history", {"n": 5}), ("value_at", {"version": 1})):
            with pytest.raises(CheckpointError, match=r"cannot be had now: .*readonly"):
                disk.ask(op, id="a", name="x", **args)

    def test_a_default_that_is_an_array_is_compared_as_it_is_kept(self, tmp_path: Path) -> None:
        disk = Disk(tmp_path)
        disk.open()
        specs = {"w": {"type": "array", "default": np.array([1.0, 2.0])}}
        module = KeptModule(tmp_path, "a", lambda kind, facts, fd: disk.vault.take_table("a", fd), specs=specs).open()
        for value in (3.0, 4.0):
            module.owner.set("w", [value, value], who="me")
            assert disk.ask("history", id="a", name="w", n=1)[0]["version"] == value - 1
        assert disk.events == []
        module.die()
        disk.close()

    def test_specs_that_cannot_be_kept_hold_up_no_fold(self, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> None:
            raise ValueError("ambiguous")

        disk.open()
        monkeypatch.setattr(disk.service._loader, "keep_specs", broken)
        disk.set("a", 1)
        assert len(disk.ask("history", id="a", name="x", n=5)) == 1
        assert disk.events == [{"type": "report", "text": "the specs of 'a' cannot be kept: ambiguous", "id": "a"}]

    def test_an_error_that_nobody_thought_of_is_an_alarm_and_what_is_owed_is_tried_again(
        self, disk: Disk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any) -> None:
            raise ValueError("ambiguous")

        disk.open()
        disk.ask("note", id="a", facts={"restarts": 3})
        with monkeypatch.context() as patch:
            patch.setattr(Store, "merge_noted", broken)
            assert disk.service.settle() == RETRY_S
        assert "does not work: ambiguous" in str(disk.alarm())
        assert disk.service.settle() is None
        assert disk.alarm() is None

    @pytest.mark.parametrize("how", ["unexpected", "expected"])
    def test_what_is_not_taken_in_at_the_end_is_logged(
        self, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        def broken(*_: Any) -> None:
            raise ValueError("ambiguous")

        disk.open()
        disk.set("a", 1)
        if how == "unexpected":
            monkeypatch.setattr(disk.service._files, "empty", broken)
        else:
            disk.connection.execute("PRAGMA query_only = 1")
        disk.ask("close")
        assert "it stays in the journals" in caplog.text
        assert disk.service._access._db is None

    def test_a_checkpoint_in_a_directory_that_is_gone_is_refused_with_an_alarm(self, disk: Disk) -> None:
        disk.open()
        disk.checkpoint("a")
        shutil.rmtree(disk.state_dir)
        with pytest.raises(CheckpointError, match="its directory was deleted or moved"):
            disk.checkpoint("a")
        assert f"{disk.state_dir} was deleted or moved" in str(disk.alarm())

    def test_a_table_that_is_none_holds_up_no_fold(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1, b"one")
        disk.vault.take_table("a", memfd("table", b"nothing of the kind"))
        disk.ask("ended", id="a", incarnation=1, facts={})
        assert disk.service.settle() is None
        assert "the table of 'a' cannot be read" in disk.events[-1]["text"]
        assert disk.ask("value_at", id="a", name="x", version=1) == b"one"

    def test_a_journal_of_a_later_version_is_reported_and_left_alone(self, disk: Disk) -> None:
        disk.open()
        disk.set("a", 1)
        ((_, path),) = segments(journal_directory(disk.state_dir, "a"))
        data = bytearray(path.read_bytes())
        data[8] = 99
        path.write_bytes(data)
        disk.ask("fold", id="a")
        assert disk.service.settle() is None
        assert "journal format 99" in disk.events[-1]["text"]
        assert path.exists()
