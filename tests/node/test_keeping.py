"""The parent's keeper: what it is asked and told, what becomes of that when it dies, and what its modules notice (nothing)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import CheckpointError, StartError, UnserialisableError
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.keeper_link import ASK_TIMEOUT_S, CLOSE_TIMEOUT_S, PROBE_S, SILENT_S, TRIES_TO_OPEN
from dspex_runtime.node.keeping import ON_ITS_WAY_S, Keeping
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.types import ChildId, Kind
from dspex_runtime.wire.faults import from_fault
from helpers.fake_keeper import FakeKeeper
from helpers.fake_tree import FakeProcess, ManualLoop

Answered = list[tuple[Any, Any, int]]


class Parent:
    """A Keeping with a fake keeper, and what it did."""

    def __init__(self, room: int = 100) -> None:
        self.loop = ManualLoop()
        self.keeper = FakeKeeper()
        self.living: list[FakeProcess] = []
        self.events: list[dict[str, Any]] = []
        self.reports: list[str] = []
        self.opened = 0
        self.failed: list[StartError] = []
        self.closed = 0
        self.keeping = Keeping(
            cast(Any, self.loop),
            spawn=cast(Any, self.keeper.spawn),
            living=lambda: cast(Any, self.living),
            figures=lambda process: {"calls": 10, "failures": 1, "busy_ns": 5},
            on_event=self.events.append,
            report=lambda kind, **facts: self.reports.append(kind),
            room=room,
        )

    def open(self, **args: Any) -> Parent:
        options = {"fresh": False, "shared": {}, **args}
        self.keeping.open("/state", **options, on_opened=self._opened, on_failed=self.failed.append)
        self.turn()
        return self

    def _opened(self) -> None:
        self.opened += 1

    def turn(self) -> None:
        for _ in range(3):
            self.loop.turn()
            self.keeper.turn()
        self.loop.turn()

    def die(self) -> None:
        self.keeper.die()
        self.turn()

    def ask(self, op: str = "history", **args: Any) -> Answered:
        answers: Answered = []

        def answer(value: Any, fault: Any, fds: list[int]) -> None:
            for fd in fds:
                os.close(fd)
            answers.append((value, None if fault is None else from_fault(fault), len(fds)))

        self.keeping.ask(op, args, answer)
        self.turn()
        return answers

    def process(self, id: str = "a", *, incarnation: int = 1, serving: bool = True, **launch: Any) -> FakeProcess:
        spec = ChildSpec(ChildId(id), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, "m:N", **launch))
        nothing: Any = None
        process = FakeProcess(
            self.loop,
            id=id,
            incarnation=incarnation,
            spec=spec,
            on_ready=nothing,
            on_end=nothing,
            on_event=nothing,
            on_request=nothing,
        )
        process.serving = serving
        self.living.append(process)
        return process

    def offer(self, process: FakeProcess, kind: str = "table", **facts: Any) -> None:
        self.keeping.offered(cast(ModuleProcess, process), {"type": kind, **facts}, os.memfd_create("t"))
        self.turn()

    def close(self) -> None:
        self.keeping.kill()
        self.keeper.close()
        self.loop.close()


@pytest.fixture
def parent() -> Iterator[Parent]:
    parent = Parent()
    yield parent
    parent.close()


def module(process: FakeProcess) -> ModuleProcess:
    return cast(ModuleProcess, process)


class TestOpen:
    def test_what_is_kept_is_known_when_it_is_open(self, parent: Parent) -> None:
        parent.keeper.answers["open"] = {"ids": {"a": {"restarts": 3}, "b": {"metrics": {"calls": 7}}}, "kept": ["a"]}
        parent.open(fresh=True, shared={"k": {"type": "int", "default": 3}})
        assert parent.keeper.of("open") == [{"state_dir": "/state", "fresh": True, "shared": {"k": {"type": "int", "default": 3}}}]
        assert (parent.opened, parent.keeping.opened) == (1, True)
        assert (parent.keeping.holds("a"), parent.keeping.holds("b")) == (True, False)
        assert parent.keeping.noted("a") == {"restarts": 3}
        assert parent.keeping.base("b") == {"calls": 7}
        assert (parent.keeping.noted("c"), parent.keeping.base("c")) == ({}, {})

    def test_what_is_asked_before_waits_until_it_is_open(self, parent: Parent) -> None:
        del parent.keeper.answers["open"]
        parent.open()
        answers = parent.ask(id="a")
        assert parent.keeper.of("history") == []
        parent.keeper.answer(parent.keeper.question("open"), {"ids": {}, "kept": []})
        parent.turn()
        parent.keeper.answer(parent.keeper.question("history"), ["then"])
        parent.turn()
        assert answers == [(["then"], None, 0)]

    def test_keepers_that_die_before_they_are_open_fail_the_boot(self, parent: Parent) -> None:
        del parent.keeper.answers["open"]
        parent.open()
        for _ in range(TRIES_TO_OPEN):
            parent.die()
            parent.loop.advance(10.0)
        (error,) = parent.failed
        assert str(error).startswith(f"the keeper of /state ended {TRIES_TO_OPEN} times before it had read what is there")
        assert (parent.opened, parent.keeper.spawns) == (0, TRIES_TO_OPEN)

    def test_a_store_that_cannot_be_read_fails_the_boot_with_the_keepers_words(self, parent: Parent) -> None:
        del parent.keeper.answers["open"]
        parent.open()
        parent.keeper.refuse(parent.keeper.question("open"), StartError("state.db cannot be read", hint="name another"))
        parent.turn()
        (error,) = parent.failed
        assert (str(error), error.hint) == ("state.db cannot be read", "name another")
        assert parent.opened == 0

    def test_any_other_refusal_to_open_fails_the_boot_too(self, parent: Parent) -> None:
        del parent.keeper.answers["open"]
        parent.open()
        parent.keeper.refuse(parent.keeper.question("open"), CheckpointError("disk I/O error"))
        parent.turn()
        assert str(parent.failed[0]) == "what is kept in /state cannot be read: disk I/O error"

    def test_a_later_keeper_that_cannot_open_it_is_replaced(self, parent: Parent) -> None:
        parent.open()
        opened = parent.keeper.answers.pop("open")
        parent.die()
        parent.loop.advance(1.0)
        parent.turn()
        assert parent.keeper.of("open")[-1]["again"] is True
        parent.keeper.refuse(parent.keeper.question("open"), CheckpointError("disk I/O error"))
        parent.keeper.answers["open"] = opened
        for _ in range(5):
            parent.turn()
            parent.loop.advance(10.0)
        assert (parent.failed, parent.keeper.spawns) == ([], 3)


class TestAlarm:
    def test_without_a_keeper_there_is_an_alarm_until_the_next_one_is_open(self, parent: Parent) -> None:
        parent.open()
        parent.keeper.send([0, "event", {"type": "alarm_set", "alarm": "state_store", "description": "disk full"}])
        parent.turn()
        del parent.keeper.answers["figures"]
        answers = parent.ask(id="a")
        for delay_s in (SILENT_S, PROBE_S):
            parent.loop.advance(delay_s + 0.1)
            parent.turn()
        for _ in range(3):
            parent.loop.advance(0.1)
            parent.turn()
        told = [(event["type"], event["alarm"]) for event in parent.events[1:]]
        assert told == [("alarm_set", "state_keeper"), ("alarm_cleared", "state_store"), ("alarm_cleared", "state_keeper")]
        assert f"it did not answer within {SILENT_S + PROBE_S:g} s" in parent.events[1]["description"]
        assert answers == []  # of the next one it is asked again


class TestAsking:
    def test_an_answer_brings_its_descriptors(self, parent: Parent) -> None:
        parent.open()
        answers = parent.ask("image", id="a")
        number = parent.keeper.question("image")
        fds = [os.memfd_create("i") for _ in range(3)]
        parent.keeper.send([number, "fds", 2], fds[:2])
        parent.keeper.answer(number, {"number": 1}, fds[2:])
        parent.turn()
        assert answers == [({"number": 1}, None, 3)]
        for fd in fds:
            os.close(fd)

    def test_a_fault_is_an_answer(self, parent: Parent) -> None:
        parent.open()
        answers = parent.ask(id="a")
        parent.keeper.refuse(parent.keeper.question("history"), CheckpointError("no"))
        parent.turn()
        assert str(answers[0][1]) == "no"

    def test_a_disk_that_does_not_answer_is_told_and_what_comes_late_is_dropped(self, parent: Parent) -> None:
        parent.open()
        answers = parent.ask("image", id="a")
        parent.loop.advance(ASK_TIMEOUT_S + 1)
        parent.turn()
        assert "the keeper did not answer 'image' within 30 s" in str(answers[0][1])
        fd = os.memfd_create("i")
        parent.keeper.send([parent.keeper.question("image"), "fds", 1], [fd])
        parent.keeper.answer(parent.keeper.question("image"), {}, [fd])
        os.close(fd)
        parent.turn()
        assert len(answers) == 1

    def test_what_cannot_be_sent_is_answered(self, parent: Parent) -> None:
        parent.open()
        answers = parent.ask(id=object())
        assert isinstance(answers[0][1], UnserialisableError)

    @pytest.mark.parametrize("message", [["what"], [1, "ok"], ["x", "ok", 1, 0], [0, "event", "text"]])
    def test_what_is_no_message_of_a_keeper_is_logged(
        self, parent: Parent, message: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        parent.open()
        parent.keeper.send(message)
        parent.turn()
        assert "illegal message from the keeper" in caplog.text

    def test_its_events_are_passed_on(self, parent: Parent) -> None:
        parent.open()
        parent.keeper.send([0, "event", {"type": "report", "text": "x"}])
        parent.turn()
        assert parent.events == [{"type": "report", "text": "x"}]


class TestModules:
    def test_what_a_module_offers_is_forwarded_with_its_descriptor_and_held_from_then_on(self, parent: Parent) -> None:
        parent.open()
        process = parent.process(incarnation=4)
        parent.offer(process)
        parent.offer(process, "blob", name="x", version=2)
        parent.offer(process, "volatile")
        assert [(op, args) for op, args in parent.keeper.told if op != "open"] == [
            ("table", {"id": "a", "incarnation": 4}),
            ("blob", {"id": "a", "incarnation": 4, "name": "x", "version": 2}),
            ("volatile", {"id": "a", "incarnation": 4}),
        ]
        assert len(parent.keeper.descriptors) == 3
        assert parent.keeping.holds("a")
        assert parent.keeping.holds_table("a")

    def test_what_is_kept_is_given_with_its_descriptors(self, parent: Parent) -> None:
        parent.open()
        process = parent.process(incarnation=2)
        parent.keeping.give(module(process))
        parent.turn()
        fd = os.memfd_create("t")
        parent.keeper.answer(parent.keeper.question("give"), {"table": True}, [fd])
        os.close(fd)
        parent.turn()
        assert parent.keeper.of("give") == [{"id": "a", "incarnation": 2}]
        assert process.kept == [({"table": True}, 1)]

    def test_nothing_is_asked_for_a_process_that_has_ended(self, parent: Parent) -> None:
        parent.open()
        process = parent.process()
        process.ended = True
        parent.keeping.give(module(process))
        parent.offer(process)
        assert [op for op, _ in parent.keeper.told] == ["open"]

    def test_a_module_starts_with_its_own_journal_when_nothing_can_be_given(
        self, parent: Parent, caplog: pytest.LogCaptureFixture
    ) -> None:
        parent.open()
        process = parent.process()
        parent.keeping.give(module(process))
        parent.turn()
        parent.keeper.refuse(parent.keeper.question("give"), CheckpointError("damaged"))
        parent.turn()
        assert process.kept == [({}, 0)]
        assert "nothing kept of a could be given: damaged" in caplog.text

    def test_what_the_parent_holds_it_gives_readers_itself(self, parent: Parent) -> None:
        parent.open()
        process = parent.process()
        parent.offer(process)
        parent.offer(process, "blob", name="x", version=2)
        answers: Answered = []

        def answer(value: Any, fault: Any, fds: list[int]) -> None:
            answers.append((value, fault, len(fds)))
            for fd in fds:
                os.close(fd)

        parent.keeping.reader("a", answer)
        parent.keeping.blob_of("a", "x", 2, answer)
        parent.keeping.blob_of("a", "x", 1, answer)
        assert answers == [(None, None, 1), (None, None, 1), (None, None, 0)]
        assert [op for op, _ in parent.keeper.told] == ["open", "table", "blob"]

    def test_a_large_value_that_is_on_its_way_from_its_module_is_waited_for_then_the_keeper_is_asked(self, parent: Parent) -> None:
        parent.open()
        process = parent.process()
        answers: Answered = []

        def answer(value: Any, fault: Any, fds: list[int]) -> None:
            answers.append((value, fault, len(fds)))
            for fd in fds:
                os.close(fd)

        parent.keeping.blob_of("a", "x", 1, answer)
        parent.offer(process, "blob", name="x", version=1)
        parent.loop.advance(ON_ITS_WAY_S)
        assert answers == [(None, None, 1)]
        parent.keeping.blob_of("a", "x", 2, answer)
        parent.loop.advance(ON_ITS_WAY_S)
        parent.turn()
        assert parent.keeper.of("blob_of") == [{"id": "a", "name": "x", "version": 2}]

    def test_figures_are_summed_over_incarnations(self, parent: Parent) -> None:
        parent.keeper.answers["open"] = {"ids": {"a": {"metrics": {"calls": 5, "last_error": "no"}}}, "kept": []}
        parent.open()
        process = parent.process(incarnation=3)
        parent.keeping.ended(module(process), Ending("killed", True, False, None))
        parent.turn()
        sums = {"calls": 15, "failures": 1, "busy_ns": 5, "last_error": "no"}
        assert parent.keeping.base("a") == sums
        assert parent.keeper.of("ended") == [{"id": "a", "incarnation": 3, "facts": {"last_exit": "killed", "metrics": sums}}]

    def test_what_did_not_change_is_not_noted_again(self, parent: Parent) -> None:
        parent.open()
        for restarts in (0, 1, 1, 2):
            parent.keeping.note("a", {"restarts": restarts})
        parent.turn()
        assert [args["facts"]["restarts"] for args in parent.keeper.of("note")] == [0, 1, 2]

    def test_configured_values_are_kept_once_a_process_has_taken_them_over_also_when_there_are_none_any_more(
        self, parent: Parent
    ) -> None:
        parent.open()
        parent.keeping.ready(module(parent.process("b")))
        parent.keeping.ready(module(parent.process(params={"x": 1})))
        parent.keeping.ready(module(parent.process()))
        parent.turn()
        assert parent.keeper.of("configured") == [{"id": "a", "values": {"x": 1}}, {"id": "a", "values": {}}]

    def test_of_what_an_earlier_runtime_kept_no_configuration_is_kept_too_and_once(self, parent: Parent) -> None:
        parent.keeper.answers["open"] = {"ids": {}, "kept": ["a"]}
        parent.open()
        for process in (parent.process("a"), parent.process("a", incarnation=2), parent.process("b")):
            parent.keeping.ready(module(process))
        parent.turn()
        assert parent.keeper.of("configured") == [{"id": "a", "values": {}}]

    def test_a_segment_that_is_complete_is_folded(self, parent: Parent) -> None:
        parent.open()
        parent.keeping.rotated(module(parent.process()))
        parent.turn()
        assert parent.keeper.of("fold") == [{"id": "a"}]

    def test_of_a_forgotten_id_nothing_is_kept_and_of_one_never_heard_of_nothing_is_said(self, parent: Parent) -> None:
        parent.open()
        parent.offer(parent.process())
        parent.keeping.note("a", {"restarts": 1})
        parent.keeping.forget("a")
        parent.keeping.forget("stranger")
        parent.turn()
        assert parent.keeper.of("drop") == [{"id": "a"}]
        assert (parent.keeping.holds("a"), parent.keeping.holds_table("a"), parent.keeping.noted("a")) == (False, False, {})

    def test_a_checkpoint_is_something_that_is_kept(self, parent: Parent) -> None:
        parent.open()
        parent.keeping.kept("a")
        assert parent.keeping.holds("a")


class TestDeath:
    def test_another_one_is_started_and_gets_what_only_the_dead_one_held(self, parent: Parent) -> None:
        parent.open(fresh=True)
        living = parent.process(params={"x": 1})
        parent.keeping.ready(module(living))
        parent.keeping.note("a", {"restarts": 2})
        parent.offer(living)
        parent.offer(living, "blob", name="x", version=2)
        parent.offer(parent.process("stopped"))
        del parent.living[-1]
        parent.turn()
        parent.keeper.told.clear()
        parent.die()
        parent.loop.advance(0.0)
        parent.turn()
        assert parent.keeper.of("open")[0]["fresh"] is False, "what was kept since is not discarded"
        assert parent.keeper.of("note") == [{"id": "a", "facts": {"restarts": 2}}]
        assert parent.keeper.of("configured") == [{"id": "a", "values": {"x": 1}}]
        assert parent.keeper.of("blob") == [{"id": "a", "incarnation": 1, "name": "x", "version": 2}]
        assert parent.keeper.of("table") == [{"id": "a", "incarnation": 1}, {"id": "stopped", "incarnation": 0}]
        assert living.requests == [], "no module has to do with it"
        assert (parent.keeper.spawns, parent.opened, parent.reports) == (2, 1, ["keeper_lost"])

    def test_what_there_was_no_room_for_its_module_hands_over_itself(self) -> None:
        parent = Parent(room=1).open()
        processes = [parent.process(id) for id in ("a", "b")]
        for process in processes:
            parent.offer(process)
        parent.keeper.told.clear()
        parent.die()
        parent.loop.advance(0.0)
        parent.turn()
        assert [args["id"] for args in parent.keeper.of("table")] == ["a"]
        assert [[op for op, *_ in process.requests] for process in processes] == [[], ["hand_over"]]
        parent.close()

    def test_what_was_asked_is_answered_and_what_a_start_waits_for_is_asked_again(self, parent: Parent) -> None:
        parent.open()
        answers, process = parent.ask("checkpoint", id="a"), parent.process()
        parent.keeping.give(module(process))
        parent.turn()
        parent.die()
        assert "the keeper died while it was asked 'checkpoint'" in str(answers[0][1])
        parent.keeper.answers["give"] = {"table": False}
        parent.loop.advance(0.0)
        parent.turn()
        assert process.kept == [({"table": False}, 0)]

    def test_what_only_reads_is_asked_again(self, parent: Parent) -> None:
        parent.open()
        answers = parent.ask("history", id="a")
        parent.die()
        parent.keeper.answers["history"] = ["then"]
        parent.loop.advance(0.0)
        parent.turn()
        assert answers == [(["then"], None, 0)]

    def test_what_the_dead_one_had_made_itself_is_the_next_ones(self, parent: Parent) -> None:
        parent.open()
        fd = os.memfd_create("t")
        parent.keeper.send([0, "event", {"type": "table", "id": "$shared"}], [fd])
        os.close(fd)
        parent.turn()
        parent.die()
        parent.loop.advance(0.0)
        parent.turn()
        assert parent.keeper.of("table") == [{"id": "$shared", "incarnation": 0}]
        assert "table" not in [event["type"] for event in parent.events]

    def test_what_is_asked_while_there_is_none_waits_for_the_next(self, parent: Parent) -> None:
        parent.open()
        parent.keeper.refuses_to_start = True
        parent.die()
        parent.loop.advance(0.0)
        answers = parent.ask(id="a")
        parent.offer(parent.process())
        assert answers == []
        parent.keeper.refuses_to_start = False
        parent.keeper.answers["history"] = ["then"]
        for _ in range(3):
            parent.loop.advance(10.0)
            parent.turn()
        assert answers == [(["then"], None, 0)]
        assert parent.reports == ["keeper_lost", "keeper_failed"]

    def test_one_that_answers_nobody_is_replaced_and_a_start_gets_what_it_waits_for(self, parent: Parent) -> None:
        parent.open()
        process = parent.process()
        del parent.keeper.answers["figures"]
        parent.keeping.give(module(process))
        parent.loop.advance(SILENT_S)
        parent.turn()
        assert parent.keeper.spawns == 1
        parent.keeper.answers |= {"give": {"table": False}}
        parent.keeper.asked.clear()  # it hears, and says nothing
        parent.loop.advance(PROBE_S)
        parent.turn()
        parent.loop.advance(0.0)
        parent.turn()
        assert (parent.keeper.spawns, process.kept) == (2, [({"table": False}, 0)])

    def test_one_whose_disk_is_stuck_is_left_alone_as_long_as_it_says_that_it_is_there(self, parent: Parent) -> None:
        parent.open()
        answers = parent.ask("history", id="a")
        for _ in range(8):
            parent.loop.advance(SILENT_S)
            parent.turn()
            parent.loop.advance(1.0)
            parent.turn()
        assert (parent.keeper.spawns, answers) == (1, [])
        assert len(parent.keeper.of("figures")) >= 3

    def test_one_that_is_asked_nothing_is_not_disturbed(self, parent: Parent) -> None:
        parent.open()
        parent.loop.advance(SILENT_S)
        parent.loop.advance(3600.0)
        parent.turn()
        assert [op for op, _ in parent.keeper.told] == ["open"]

    def test_a_deletion_is_not_lost(self, parent: Parent) -> None:
        parent.open()
        parent.keeping.kept("a")
        del parent.keeper.answers["drop"]
        parent.keeping.forget("a")
        parent.turn()
        parent.die()
        parent.loop.advance(0.0)
        parent.turn()
        assert parent.keeper.of("drop") == [{"id": "a"}, {"id": "a"}]


class TestEnd:
    def closed(self, parent: Parent) -> list[int]:
        done: list[int] = []
        parent.keeping.close(lambda: done.append(1))
        return done

    def test_it_is_told_to_close_and_its_end_is_waited_for(self, parent: Parent) -> None:
        parent.open()
        done = self.closed(parent)
        assert done == []
        parent.turn()
        assert (done, parent.keeper.of("close"), parent.keeper.ends) == ([1], [{}], 1)

    def test_one_that_does_not_end_is_killed(self, parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
        parent.open()
        monkeypatch.setattr(parent.keeper, "turn", lambda: None)
        done = self.closed(parent)
        parent.loop.advance(CLOSE_TIMEOUT_S + 1)
        assert done == [1]

    def test_one_that_is_gone_already_is_closed(self, parent: Parent) -> None:
        assert self.closed(parent) == [1]
        parent.open()
        parent.keeping.kill()
        parent.keeping.kill()
        assert self.closed(parent) == [1]
        assert parent.keeper.ends == 1
        parent.loop.advance(20.0)
        assert parent.keeper.spawns == 1
