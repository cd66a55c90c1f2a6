"""A real keeper process: what it holds, what it survives, and what it leaves when it is killed at any moment."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError, DspexError, ParameterError
from dspex_runtime.params import values
from dspex_runtime.params.journal import SET, Journal
from dspex_runtime.params.view import View
from dspex_runtime.state.layout import journal_directory
from dspex_runtime.state.protocol import BLOBS_KEPT, FDS_AT_ONCE, SHARED
from dspex_runtime.state.vault import memfd
from dspex_runtime.wire.codec import Codec
from helpers.keeper_parent import KeeperParent
from helpers.kept_module import SPECS, KeptModule
from helpers.waiting import wait_gone

pytestmark = pytest.mark.process


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[KeeperParent]:
    parent = KeeperParent(tmp_path)
    yield parent
    parent.close()


def module(parent: KeeperParent, id: str = "a", *, incarnation: int = 1, **options: Any) -> KeptModule:
    def offer(kind: str, facts: dict[str, Any], fd: int) -> None:
        parent.tell(kind, (fd,), id=id, incarnation=incarnation, **facts)

    return KeptModule(parent.state_dir, id, offer, incarnation=incarnation, **options)


def restarted(parent: KeeperParent, id: str = "a", *, incarnation: int, **options: Any) -> KeptModule:
    info, fds = parent.ask_fds("give", id=id, incarnation=incarnation)
    return module(parent, id, incarnation=incarnation, **options).open(info, fds)


def read(parent: KeeperParent, id: str, name: str) -> Any:
    _, (fd,) = parent.ask_fds("reader", id=id)
    view = View(fd, Codec(), lambda _, __: None)
    try:
        return view.get(name)
    finally:
        view.close()


class TestHolding:
    def test_a_table_outlives_its_module_and_is_the_next_ones(self, parent: KeeperParent) -> None:
        assert parent.start() == {"ids": {}, "kept": []}
        first = module(parent).open()
        first.owner.set("temperature", 0.7, who="test")
        first.die()
        parent.tell("ended", id="a", incarnation=1, facts={"last_exit": "killed"})
        second = restarted(parent, incarnation=2)
        assert (second.owner.get("temperature"), second.owner.version("temperature")) == (0.7, 2)
        second.die()

    def test_readers_get_a_table_that_they_cannot_write(self, parent: KeeperParent) -> None:
        parent.start()
        kept = module(parent).open()
        assert read(parent, "a", "temperature") == 0.2
        _, (fd,) = parent.ask_fds("reader", id="a")
        with pytest.raises(OSError, match=r"Bad file descriptor|not permitted"):
            os.write(fd, b"x")
        os.close(fd)
        kept.die()

    def test_what_is_not_held_is_none(self, parent: KeeperParent) -> None:
        parent.start()
        assert parent.ask_fds("reader", id="nobody") == (None, [])
        assert parent.ask_fds("blob_of", id="nobody", name="x", version=1) == (None, [])

    def test_more_descriptors_than_a_message_takes_come_in_several(self, parent: KeeperParent) -> None:
        parent.start()
        names = [f"x{number:02}" for number in range(FDS_AT_ONCE)]
        for name in names:
            for version in range(1, BLOBS_KEPT + 2):
                parent.tell("blob", (memfd("b", f"{name} {version}".encode()),), id="a", incarnation=1, name=name, version=version)
        info, fds = parent.ask_fds("give", id="a", incarnation=2)
        found = {(name, version): os.pread(fd, 100, 0).decode() for (name, version), fd in zip(info["blobs"], fds, strict=True)}
        assert found == {(name, version): f"{name} {version}" for name in names for version in (2, 3)}
        for fd in fds:
            os.close(fd)

    def test_a_stuck_disk_holds_up_nobody_who_needs_none(self, parent: KeeperParent) -> None:
        parent.start()
        kept = module(parent).open()
        os.mkfifo(parent.state_dir / "stuck")
        directory = journal_directory(parent.state_dir, "b")
        directory.mkdir(parents=True)
        os.mkfifo(directory / "1.journal")  # whoever opens it to read waits for a writer
        stuck = parent.begin("history", id="b", name="x", n=1)
        info, fds = parent.ask_fds("give", id="a", incarnation=2)
        assert info["table"]
        assert read(parent, "a", "temperature") == 0.2
        with open(directory / "1.journal", "wb"):
            pass
        with pytest.raises(CheckpointError, match=r"'x' of 'b' was cannot be had now: .*Illegal seek"):
            parent.answer(stuck)
        for fd in fds:
            os.close(fd)
        kept.die()

    def test_the_runtimes_own_parameters_are_there_from_the_start(self, parent: KeeperParent) -> None:
        parent.start(shared={"style": SPECS["style"]})
        assert read(parent, SHARED, "style") == "brief"
        data = bytes(values.encode(Codec(), "full"))
        assert parent.ask("shared_set", name="style", value=data, who="me", expect=None)[0] == 2
        assert read(parent, SHARED, "style") == "full"
        assert [facts["name"] for facts in parent.events if facts["type"] == "changed"] == ["style"]

    def test_a_stopped_modules_parameter_is_set_and_a_living_ones_is_not(self, parent: KeeperParent) -> None:
        parent.start()
        first = module(parent).open()
        one = bytes(values.encode(Codec(), 1.0))
        with pytest.raises(ParameterError, match="it writes its parameters itself"):
            parent.ask("set", id="a", name="temperature", value=one, who="me", expect=None)
        first.die()
        parent.tell("ended", id="a", incarnation=1, facts={})
        assert parent.ask("set", id="a", name="temperature", value=one, who="me", expect=None)[0] == 2
        second = restarted(parent, incarnation=2)
        assert second.owner.get("temperature") == 1.0
        second.die()

    def test_of_a_deleted_id_nothing_is_left(self, parent: KeeperParent) -> None:
        parent.start()
        kept = module(parent).open()
        kept.owner.set("temperature", 0.7, who="test")
        kept.die()
        parent.ask("drop", id="a")
        assert parent.ask("figures")["ids"] == 0
        assert not journal_directory(parent.state_dir, "a").exists()
        info, fds = parent.ask_fds("give", id="a", incarnation=1)
        assert (info["table"], info["stored"], fds) == (False, {}, [])

    @pytest.mark.parametrize(("op", "args"), [("dance", {}), ("history", {"id": "a"}), ("image", {"id": "a", "number": 7})])
    def test_what_cannot_be_done_is_answered_and_ends_nothing(self, parent: KeeperParent, op: str, args: dict[str, Any]) -> None:
        parent.start()
        with pytest.raises((DspexError, KeyError)):
            parent.ask(op, **args)
        assert parent.ask("figures")["queued"] == 0


class TestEnd:
    def test_told_to_close_it_takes_in_every_journal_and_goes(self, parent: KeeperParent) -> None:
        parent.start()
        kept = module(parent).open()
        kept.owner.set("temperature", 0.7, who="test")
        kept.die()
        parent.tell("close")
        with pytest.raises((EOFError, ConnectionError)):
            parent.channel.recv(time.monotonic() + 20)
        assert os.waitpid(parent.pid, 0)[1] == 0
        parent.channel.close()
        parent.process = None
        known = parent.start()
        assert known["kept"] == ["a"]
        assert restarted_value(parent) == 0.7
        assert parent.log() == ""

    def test_it_goes_with_its_socket(self, parent: KeeperParent) -> None:
        parent.start()
        parent.channel.close()
        assert os.waitpid(parent.pid, 0)[1] == 0
        parent.process = None

    def test_it_goes_with_the_runtime_however_that_ends(self, parent: KeeperParent) -> None:
        parent.start()
        os.close(parent.lifeline[1])
        assert wait_gone([parent.pid]) == []
        assert os.WTERMSIG(os.waitpid(parent.pid, 0)[1]) == 9
        parent.channel.close()
        parent.process = None

    def test_a_terminals_signals_do_not_end_it(self, parent: KeeperParent) -> None:
        parent.start()
        for signo in (1, 2, 15):
            os.kill(parent.pid, signo)
        assert parent.ask("figures")["ids"] == 0


def restarted_value(parent: KeeperParent) -> Any:
    kept = restarted(parent, incarnation=2)
    try:
        return kept.owner.get("temperature")
    finally:
        kept.die()


class TestKilled:
    """kill -9 of the keeper at random moments: whatever was acknowledged is there again."""

    def test_a_living_module_hands_over_what_only_the_dead_one_held(self, parent: KeeperParent) -> None:
        parent.start()
        kept = module(parent).open()
        kept.owner.set("temperature", 0.7, who="test")
        kept.owner.set("notes", "in memory only", who="test")
        parent.kill()
        parent.start()
        kept.owner.hand_over()
        assert read(parent, "a", "notes") == "in memory only"
        kept.die()
        second = restarted(parent, incarnation=2)
        assert (second.owner.get("temperature"), second.owner.get("notes")) == (0.7, "in memory only")
        second.die()

    def test_with_no_module_to_hand_over_the_journal_has_every_acknowledged_write(self, parent: KeeperParent) -> None:
        parent.start()
        kept = module(parent).open()
        for number in range(100):
            kept.owner.set("temperature", number / 100, who="test")
        kept.die()
        parent.kill()
        assert parent.start()["kept"] == ["a"]
        second = restarted(parent, incarnation=2)
        assert (second.owner.get("temperature"), second.owner.version("temperature")) == (0.99, 101)
        second.die()

    def test_during_folds_and_checkpoints_nothing_that_was_acknowledged_is_lost(self, parent: KeeperParent) -> None:
        seed = random.SystemRandom().randrange(2**32)
        chance = random.Random(seed)
        directory = journal_directory(parent.state_dir, "a")
        written, checkpoints = 0, dict[int, bytes]()
        for incarnation in range(1, 13):
            parent.start()
            journal = Journal.at(directory)
            killer = threading.Timer(chance.uniform(0.0, 0.06), os.kill, (parent.pid, 9))
            killer.start()
            try:
                while True:
                    for _ in range(chance.randrange(1, 20)):
                        written += 1
                        journal.append([SET, "x", written, 1.0, "me", b"%d" % written, b"", False])
                    parent.tell("ended", id="a", incarnation=incarnation, facts={})
                    user = os.urandom(chance.randrange(1, 50_000))
                    image = KeptImage(user).data
                    info = parent.ask("checkpoint", (memfd("image", image),), id="a", kind="manual", keep=10_000)
                    checkpoints[info["number"]] = image
            except (EOFError, OSError):
                pass  # it was killed
            killer.join()
            journal.close()
            parent.kill()
            check(parent, written, checkpoints, seed)

    def test_its_descriptors_and_memory_do_not_grow_with_restarts_of_modules(self, parent: KeeperParent) -> None:
        parent.start()
        counts = []
        for incarnation in range(1, 40):
            kept = restarted(parent, incarnation=incarnation) if incarnation > 1 else module(parent).open()
            kept.owner.set("notes", "x" * 1000, who="test")
            kept.die()
            parent.ask("figures")
            counts.append(len(os.listdir(f"/proc/{parent.pid}/fd")))
        assert max(counts[5:]) <= counts[4]


class KeptImage:
    """A checkpoint with nothing but a user's state."""

    def __init__(self, user: bytes) -> None:
        from dspex_runtime.params import image

        self.data = image.encode(image.Image("a", "manual", 1.0, None, 1, user=user))


def check(parent: KeeperParent, written: int, checkpoints: dict[int, bytes], seed: int) -> None:
    parent.start()
    newest = parent.ask("history", id="a", name="x", n=1)
    assert [each["version"] for each in newest] == [written], f"seed {seed}"
    listed = {info["number"] for info in parent.ask("checkpoints", id="a")}
    assert checkpoints.keys() <= listed, f"seed {seed}"
    for number in sorted(listed)[-3:]:
        try:
            _, (fd,) = parent.ask_fds("image", id="a", number=number)
        except CheckpointError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc
        image = os.pread(fd, 10**6, 0)
        os.close(fd)
        assert checkpoints.get(number, image) == image, f"seed {seed}"
    parent.kill()
