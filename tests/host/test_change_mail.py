"""Changes on their way into the mailbox of a module process that subscribed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from dspex_runtime.host import change_mail
from dspex_runtime.host.change_mail import IN_MAILBOX, KEEP, ChangeMail
from dspex_runtime.host.loop_control import ControlledLoop
from dspex_runtime.params import values
from dspex_runtime.params.view import Entry
from dspex_runtime.types import Change
from helpers.leaks import Threads
from helpers.param_tables import CODEC
from helpers.waiting import PATIENCE_S, wait_until


class Loop:
    """A mailbox that the test empties."""

    def __init__(self) -> None:
        self.mailbox: queue.Queue[Any] = queue.Queue()
        self.full = 0

    def deliver(self, message: Any) -> None:
        self.mailbox.put(message)

    def count_messages(self, wanted: Callable[[Any], bool]) -> int:
        count = sum(map(wanted, list(self.mailbox.queue)))
        self.full += count >= IN_MAILBOX
        return count

    def next(self) -> Change:
        return cast(Change, self.mailbox.get(timeout=PATIENCE_S))


class Table:
    """What the table of another module has by the time it is read."""

    found: Entry | Exception

    def __init__(self, codec: Any, id: str) -> None:
        self.id = id

    def entry(self, name: str) -> Entry:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def mail(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChangeMail]:
    monkeypatch.setattr(change_mail, "OthersTable", Table)
    mail = ChangeMail(cast(ControlledLoop, loop), CODEC)
    yield mail
    mail.close()


def came(version: int, value: Any = ..., *, name: str = "k") -> dict[str, Any]:
    data = None if value is None else bytes(values.encode(CODEC, version * 10 if value is ... else value))
    return {"type": "changed", "id": "qa", "name": name, "version": version, "when": 1.5, "who": "me", "value": data, "skipped": 0}


def test_a_change_becomes_a_message_with_its_value(mail: ChangeMail, loop: Loop) -> None:
    mail.came(came(1, [1, {"a": 2}]))
    mail.came(came(2))
    assert loop.next() == Change("qa", "k", 1, [1, {"a": 2}], 1.5, "me")
    assert loop.next() == Change("qa", "k", 2, 20, 1.5, "me")


def test_a_large_value_is_read_from_the_table_as_it_is_by_then(mail: ChangeMail, loop: Loop) -> None:
    Table.found = Entry(3, "large", 2.5, "you", None, 0.0)
    mail.came(came(1, None))
    assert loop.next() == Change("qa", "k", 3, "large", 2.5, "you", 2)
    mail.came(came(2, None))
    mail.came(came(3, None))
    mail.came(came(4))
    assert loop.next() == Change("qa", "k", 4, 40, 1.5, "me")


@pytest.mark.parametrize(
    "error", [change_mail.ParameterNotFoundError("gone"), RuntimeError("the runtime is gone")], ids=["gone", "unreadable"]
)
def test_one_that_cannot_be_read_holds_up_no_other(mail: ChangeMail, loop: Loop, error: Exception) -> None:
    Table.found = error
    mail.came(came(1, None))
    mail.came(came(1, name="other"))
    assert loop.next().name == "other"


def test_a_slow_process_gets_the_latest_and_a_count(mail: ChangeMail, loop: Loop) -> None:
    last = IN_MAILBOX + KEEP + 50
    for version in range(1, last + 1):
        mail.came(came(version))
    seen: list[Change] = []
    while not seen or seen[-1].version < last:
        seen.append(loop.next())
    versions = [change.version for change in seen]
    assert versions == sorted(set(versions))
    assert sum(change.skipped + 1 for change in seen) == last
    assert loop.mailbox.qsize() <= IN_MAILBOX


def test_what_a_module_did_not_tell_before_it_ended_is_told(mail: ChangeMail, loop: Loop) -> None:
    Table.found = Entry(2, "new", 2.5, "you", None, 0.0)
    mail.came({"type": "versions", "id": "qa", "versions": {"k": [1, 1.0, "yaml"]}})
    mail.came({"type": "versions", "id": "qa", "versions": {"k": [2, 2.5, "you"]}})
    assert loop.next() == Change("qa", "k", 2, "new", 2.5, "you")


def test_after_a_module_is_deleted_another_one_counts_anew(mail: ChangeMail, loop: Loop) -> None:
    mail.came(came(50))
    assert loop.next().version == 50
    mail.came({"type": "forgotten", "id": "qa"})
    mail.came(came(1))
    assert loop.next().version == 1


def test_what_is_not_wanted_any_more_is_dropped_before_it_is_in_the_mailbox(mail: ChangeMail, loop: Loop) -> None:
    for version in range(1, IN_MAILBOX + 1):
        mail.came(came(version))
    for change in [loop.next() for _ in range(IN_MAILBOX)]:
        loop.mailbox.put(change)  # the mailbox has its share again
    mail.came(came(IN_MAILBOX + 1))
    mail.drop(lambda news: news.name == "k")
    mail.came(came(1, name="other"))
    rest = [loop.next() for _ in range(IN_MAILBOX + 1)]
    assert rest[-1].name == "other"


def test_one_that_is_closed_delivers_nothing_more_and_ends_its_thread(mail: ChangeMail, loop: Loop) -> None:
    before = Threads.take()
    mail.came(came(1))
    assert loop.next().version == 1
    mail.close()
    assert before.leaks_since(deadline=time.monotonic() + PATIENCE_S) == []
    mail.came(came(2))
    assert (loop.mailbox.qsize(), before.leaks_since(deadline=0)) == (0, [])


def test_one_whose_mailbox_is_full_is_closed_all_the_same(mail: ChangeMail, loop: Loop) -> None:
    before = Threads.take()
    for version in range(1, IN_MAILBOX + 2):
        mail.came(came(version))
    wait_until(lambda: loop.full, what="it to find the mailbox full")
    mail.close()
    assert before.leaks_since(deadline=time.monotonic() + PATIENCE_S) == []
    assert loop.mailbox.qsize() == IN_MAILBOX


def test_paused_it_delivers_nothing_and_another_one_goes_on_with_its_contents(loop: Loop, mail: ChangeMail) -> None:
    mail.came(came(1))
    assert loop.next().version == 1
    assert mail.pause(PATIENCE_S)
    mail.came(came(2))
    contents = mail.contents()
    other = ChangeMail(cast(ControlledLoop, Loop()), CODEC)
    other.adopt(**contents)
    other.came(came(2))
    other.came(came(3))
    elsewhere = cast(Loop, other._loop)
    assert [elsewhere.next().version for _ in range(2)] == [2, 3]
    other.close()
    assert loop.mailbox.empty()
    mail.resume()
    assert loop.next().version == 2


def test_a_pause_waits_for_what_is_being_delivered(mail: ChangeMail, loop: Loop) -> None:
    entered, leave = threading.Event(), threading.Event()

    def deliver(message: Any) -> None:
        entered.set()
        leave.wait(PATIENCE_S)
        loop.mailbox.put(message)

    loop.deliver = deliver  # type: ignore[method-assign]
    mail.came(came(1))
    assert entered.wait(PATIENCE_S)
    assert not mail.pause(0.01)
    leave.set()
    assert mail.pause(PATIENCE_S)
    assert loop.mailbox.qsize() == 1
