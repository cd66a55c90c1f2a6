"""One incarnation seen from the runtime: its start, its requests, and why it is said to have ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec, Readiness, Shutdown
from dspex_runtime.errors import BusyError, StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.node.ending import Ending
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.swapping.holding_back import HoldingBack
from dspex_runtime.types import ChildId, Down, Kind
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.framing import FrameReader, frame
from dspex_runtime.wire.messages import BYE, CANCEL, CONTROL, EVENT, FAULT, READY, REPLY, Message

KILLED = signal.SIGKILL.value  # wait statuses
EXIT_0 = 0
EXIT_3 = 3 << 8


@dataclass
class Module:
    """The process under test and the other end of its control pipe, played by the test."""

    loop: EventLoop
    process: ModuleProcess
    control: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    ready: int = 0
    endings: list[Ending] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Message] = field(default_factory=list)

    def say(self, *messages: Message) -> None:
        self.control.send(b"".join(frame(Codec().pack(message)) for message in messages))
        self.turn()

    def turn(self) -> None:
        self.loop.call_later(0.0, self.loop.stop)
        self.loop.run()

    def heard(self) -> list[Message]:
        """Return what the runtime has sent to the module so far."""
        messages: list[Message] = []
        self.control.setblocking(False)
        try:
            self.reader.feed(self.control.recv(2**20))
        except BlockingIOError:
            pass
        while (body := self.reader.next()) is not None:
            messages.append(Codec().unpack(body))
        return messages

    def reason_after(self, status: int) -> ExitReason:
        self.process.exited(status)
        return self.endings[-1].reason


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def make(loop: EventLoop, *, pid: int, readiness: Readiness | None = None) -> Module:
    ours, control = socket.socketpair()
    spec = ChildSpec(ChildId("qa"), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, target="pkg:X", readiness=readiness))
    holder: list[Module] = []

    def became_ready(_: ModuleProcess) -> None:
        holder[0].ready += 1

    process = ModuleProcess(
        loop,
        id="qa",
        incarnation=1,
        spec=spec,
        on_ready=became_ready,
        on_end=lambda _, ending: holder[0].endings.append(ending),
        on_event=lambda _, event: holder[0].events.append(event),
        on_request=lambda _, message: holder[0].asked.append(message),
    )
    holder.append(Module(loop, process, control))
    process.assign(pid, ours, 1, {"log": "/dev/null"})
    return holder[0]


@pytest.fixture
def module(loop: EventLoop) -> Iterator[Module]:
    """A module whose pid is that of a real child, so that signals have somewhere to go."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    os.setpgid(pid, pid)
    made = make(loop, pid=pid)
    yield made
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    made.process.exited(KILLED)
    made.control.close()


def test_the_assignment_carries_the_launch_spec(module: Module) -> None:
    kind, request, op, spec = module.heard()[0]
    assert (kind, request, op) == (CONTROL, 0, "assign")
    assert (spec["id"], spec["incarnation"], spec["slot"], spec["launch"]["target"]) == ("qa", 1, 1, "pkg:X")


def test_ready_is_told_once_with_what_the_module_says_of_itself(module: Module) -> None:
    module.say([READY, 0, {"version": "2.1", "methods": {"idempotent": ["peek"]}}])
    assert (module.ready, module.process.version, module.process.idempotent) == (1, "2.1", ["peek"])
    assert module.process.serving


def test_what_it_turned_out_to_be_is_told_before_it_counts_as_ready(module: Module) -> None:
    told: list[tuple[Kind, bool, int]] = []
    module.process.on_started = lambda process: told.append((process.kind, process.outgrew, module.ready))
    module.say([READY, 0, {"kind": "module", "outgrew": True}])
    assert told == [(Kind.MODULE, True, 0)]


def test_a_start_for_which_there_is_no_zygote_fails_with_what_was_wrong_with_it(loop: EventLoop) -> None:
    endings: list[Ending] = []
    process = ModuleProcess(
        loop,
        id="qa",
        incarnation=1,
        spec=ChildSpec(ChildId("qa"), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, target="pkg:X")),
        on_ready=lambda _: None,
        on_end=lambda _, ending: endings.append(ending),
        on_event=lambda _, __: None,
        on_request=lambda _, __: None,
    )
    why = StartError("preload of 'x' failed", remote_traceback="Traceback ...", reason=("error", "PreloadError", "x", "Traceback"))
    process.never_forked(why.message, why)
    (ending,) = endings
    assert (ending.reason, ending.ready) == (("error", "PreloadError", "x", "Traceback"), False)
    assert ending.fault is not None
    assert "preload of 'x' failed" in ending.fault["message"]


def test_a_request_is_answered_by_its_number(module: Module) -> None:
    answers: list[Any] = []
    module.process.request("metrics", {}, None, lambda value, fault: answers.append((value, fault)))
    module.process.request("ping", {}, None, lambda value, fault: answers.append((value, fault)))
    module.say([REPLY, 2, "pong"], [REPLY, 1, {"calls": 3}], [REPLY, 1, "late"])
    assert answers == [("pong", None), ({"calls": 3}, None)]


def test_a_request_without_an_answer_ends_as_busy(module: Module) -> None:
    faults: list[Any] = []

    def answer(_: Any, fault: Any) -> None:
        faults.append(from_fault(fault))
        module.loop.stop()

    module.process.request("ping", {}, 0.001, answer)
    module.loop.run()
    assert isinstance(faults[0], BusyError)


def test_requests_that_are_open_when_it_ends_are_answered(module: Module) -> None:
    faults: list[Any] = []
    module.process.request("ping", {}, None, lambda _, fault: faults.append(from_fault(fault)))
    module.process.exited(KILLED)
    assert isinstance(faults[0], BusyError)


def test_events_of_the_module_are_passed_on(module: Module) -> None:
    module.say([EVENT, 0, {"type": "log_full"}])
    assert module.events == [{"type": "log_full"}]


def test_changes_of_its_parameters_go_to_whoever_passes_them_on(module: Module) -> None:
    told: list[Any] = []
    change = {"type": "changed", "name": "k", "version": 1, "when": 1.0, "who": "me", "value": None}
    module.say([EVENT, 0, change])  # nobody is there who would
    module.process.on_changed = lambda *event: told.append(event)
    module.say([EVENT, 0, change])
    assert told == [("qa", change)]
    assert change not in module.events


@pytest.mark.parametrize(
    ("status", "reason"),
    [(EXIT_0, "normal"), (EXIT_3, ("exit_status", 3)), (KILLED, "killed"), (signal.SIGSEGV.value, ("signal", "SEGV"))],
)
def test_without_a_word_the_wait_status_is_the_reason(module: Module, status: int, reason: ExitReason) -> None:
    module.say([READY, 0, {}])
    assert module.reason_after(status) == reason


def test_what_the_module_said_last_is_the_reason_even_if_it_then_exits_otherwise(module: Module) -> None:
    module.say([READY, 0, {}], [BYE, 0, ("shutdown", "done")])
    assert module.reason_after(EXIT_3) == ("shutdown", "done")


def test_last_words_that_were_not_read_yet_are_heard_before_the_end_is_told(module: Module) -> None:
    module.control.send(frame(Codec().pack([READY, 0, {}])) + frame(Codec().pack([BYE, 0, "shutdown"])))
    module.process.exited(EXIT_0)
    assert module.ready == 1
    assert module.endings[0].reason == "shutdown"


def test_why_we_killed_it_is_the_reason(module: Module) -> None:
    module.say([READY, 0, {}])
    module.process.kill(("limit", "memory", "2 MiB"))
    assert module.reason_after(KILLED) == ("limit", "memory", "2 MiB")


def test_a_start_that_failed_says_why_in_the_childs_own_words(module: Module) -> None:
    try:
        raise ImportError("no module named nowhere")
    except ImportError as exc:
        module.say([FAULT, 0, to_fault(exc, id="qa", incarnation=1, codec=Codec())])
    reason = module.reason_after(1 << 8)
    assert not module.endings[0].ready
    assert reason[:1] == ("error",)
    assert "no module named nowhere" in str(reason)


def test_garbage_on_the_control_pipe_is_fatal_and_named(module: Module) -> None:
    module.say([READY, 0, {}])
    module.say(["what", "is", "this"])
    reason = module.reason_after(KILLED)
    assert isinstance(reason, tuple)
    assert reason[:2] == ("error", "ProtocolError")


def test_a_bye_that_is_no_exit_reason_is_garbage(module: Module) -> None:
    module.say([READY, 0, {}], [BYE, 0, {"not": "a reason"}])
    reason = module.reason_after(KILLED)
    assert isinstance(reason, tuple)
    assert reason[1] == "ProtocolError"


def test_its_end_is_told_once(module: Module) -> None:
    module.process.exited(KILLED)
    module.process.exited(EXIT_0)
    assert [ending.reason for ending in module.endings] == ["killed"]


def test_what_the_module_asks_is_passed_on_by_its_negative_number(module: Module) -> None:
    module.say([CONTROL, -1, "status", {}], [CANCEL, -1])
    assert module.asked == [[CONTROL, -1, "status", {}], [CANCEL, -1]]


def test_what_the_module_asked_before_it_ended_is_passed_on_before_its_end(module: Module) -> None:
    module.control.send(frame(Codec().pack([CONTROL, -1, "exit", {"id": "b", "reason": "kill"}])))
    assert module.reason_after(EXIT_3) == ("exit_status", 3)
    assert [message[2] for message in module.asked] == ["exit"]


def test_a_message_is_for_the_mailbox(module: Module) -> None:
    module.heard()
    module.process.message(Down("a", 1, "killed", 5))
    assert module.heard() == [[EVENT, 0, {"type": "message", "message": Down("a", 1, "killed", 5)}]]


def test_messages_for_one_that_has_no_process_yet_wait_for_it(loop: EventLoop) -> None:
    ours, control = socket.socketpair()
    spec = ChildSpec(ChildId("qa"), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, target="pkg:X"))
    process = ModuleProcess(
        loop,
        id="qa",
        incarnation=1,
        spec=spec,
        on_ready=lambda _: None,
        on_end=lambda _, __: None,
        on_event=lambda _, __: None,
        on_request=lambda _, __: None,
    )
    process.message("early")
    process.assign(os.getpid(), ours, 1, {"log": "/dev/null"})
    module = Module(loop, process, control)
    assert [message[:3] for message in module.heard()][1:] == [[EVENT, 0, {"type": "message", "message": "early"}]]
    process.exited(EXIT_0)
    control.close()


def test_stop_sends_how_long_it_may_take(module: Module) -> None:
    module.heard()
    module.process.stop(Shutdown(timeout_s=3.0, drain_s=1.0), "shutdown")
    assert module.heard() == [[CONTROL, 0, "stop", {"reason": "shutdown", "drain_s": 1.0, "timeout_s": 3.0}]]
    assert not module.process.serving


def test_a_start_that_never_got_a_process_is_a_failed_start(loop: EventLoop) -> None:
    endings: list[Ending] = []
    spec = ChildSpec(ChildId("qa"), Kind.SERVER, launch=LaunchSpec(Kind.SERVER, target="pkg:X"))
    process = ModuleProcess(
        loop,
        id="qa",
        incarnation=1,
        spec=spec,
        on_ready=lambda _: None,
        on_end=lambda _, ending: endings.append(ending),
        on_event=lambda _, __: None,
        on_request=lambda _, __: None,
    )
    process.stop(Shutdown(), "shutdown")
    process.never_forked("stopped before it had a process")
    assert (endings[0].reason, endings[0].ready) == ("shutdown", False)


class TestReadinessCall:
    """With a readiness call, READY of the process is not yet ready."""

    @pytest.fixture
    def checked(self, loop: EventLoop) -> Iterator[Module]:
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        os.setpgid(pid, pid)
        made = make(loop, pid=pid, readiness=Readiness("selftest", 5.0))
        made.heard()
        made.say([READY, 0, {}])
        yield made
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        made.process.exited(KILLED)
        made.control.close()

    def test_is_made_and_must_not_fail(self, checked: Module) -> None:
        assert checked.ready == 0
        assert checked.heard() == [[CONTROL, 1, "call", {"method": "selftest", "timeout_s": 5.0}]]
        checked.say([REPLY, 1, None])
        assert checked.ready == 1

    @pytest.mark.parametrize(
        "answer", [[REPLY, 1, False], [FAULT, 1, to_fault(ValueError("index is empty"), id="qa", incarnation=1, codec=Codec())]]
    )
    def test_that_fails_is_a_failed_start(self, checked: Module, answer: Message) -> None:
        checked.say(answer)
        assert checked.ready == 0
        reason = checked.reason_after(KILLED)
        assert isinstance(reason, tuple)
        assert reason[1] == "ReadinessFailed"
        assert checked.endings[0].fault is not None


def test_a_reason_that_could_not_be_told_is_replaced_by_one_that_says_so(module: Module) -> None:
    reason: Any = 1
    for _ in range(31):
        reason = (reason,)
    module.say([BYE, 0, ("shutdown", reason)])
    assert module.reason_after(EXIT_0)[:2] == ("error", "ExitReason")


class Kept:
    """A keeper that notes what it hears."""

    def __init__(self, module: Module) -> None:
        self.heard: list[Any] = []
        self.descriptors: list[int] = []
        self._module = module
        module.process.keeper = self

    def offered(self, process: ModuleProcess, event: dict[str, Any], fd: int) -> None:
        self.heard.append((event["type"], os.pread(fd, 100, 0)))
        os.close(fd)

    def rotated(self, process: ModuleProcess) -> None:
        self.heard.append("rotated")

    def ready(self, process: ModuleProcess) -> None:
        self.heard.append(("ready", self._module.ready))

    def ended(self, process: ModuleProcess, ending: Ending) -> None:
        self.heard.append(("ended", ending.reason, len(self._module.endings)))


def say_with(module: Module, message: Message, *contents: bytes) -> None:
    fds = []
    for content in contents:
        fds.append(os.memfd_create("test"))
        os.write(fds[-1], content)
    socket.send_fds(module.control, [frame(Codec().pack(message))], fds)
    for fd in fds:
        os.close(fd)
    module.turn()


def test_its_keeper_hears_of_its_life_before_anybody_else(module: Module) -> None:
    keeper = Kept(module)
    say_with(module, [EVENT, 0, {"type": "table"}], b"table")
    module.say([READY, 0, {}])
    module.say([EVENT, 0, {"type": "rotated", "segment": 1}])
    socket.send_fds(module.control, [frame(Codec().pack([EVENT, 0, {"type": "blob", "name": "x", "version": 1}]))], [0])
    module.process.exited(KILLED)
    assert keeper.heard[:3] == [("table", b"table"), ("ready", 0), "rotated"]
    assert [heard[0] for heard in keeper.heard[3:]] == ["blob", "ended"], "what it had sent is handled first"
    assert keeper.heard[-1] == ("ended", "killed", 0)
    assert module.events == []


def test_what_it_offers_without_a_descriptor_is_illegal(module: Module) -> None:
    Kept(module)
    module.say([EVENT, 0, {"type": "table"}])
    reason = module.reason_after(KILLED)
    assert isinstance(reason, tuple)
    assert reason[1] == "ProtocolError"


def test_what_is_offered_to_nobody_is_closed(module: Module) -> None:
    before = len(os.listdir("/proc/self/fd"))
    say_with(module, [EVENT, 0, {"type": "table"}], b"table")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("n", "messages"), [(0, [0]), (3, [3]), (16, [16]), (40, [16, 8, 16])])
def test_what_is_kept_comes_in_messages_that_its_pipe_takes(module: Module, n: int, messages: list[int]) -> None:
    module.heard()
    module.process.give_kept({"table": True}, [os.memfd_create("test") for _ in range(n)])
    module.turn()
    found = []
    for _ in messages:
        data, fds, _, _ = socket.recv_fds(module.control, 2**16, 64)
        found.append(len(fds))
        for fd in fds:
            os.close(fd)
        module.reader.feed(data)
    told = [Codec().unpack(body) for body in iter(module.reader.next, None)]
    assert found == messages
    assert told[-1] == [CONTROL, 0, "kept", {"table": True}]
    assert [message[2:] for message in told[:-1]] == [["kept_part", {"fds": count}] for count in messages[:-1]]


def test_an_answer_brings_its_descriptor_also_when_nobody_waits_any_more(module: Module) -> None:
    answers: list[tuple[Any, bool, int | None]] = []

    def answer(value: Any, fault: dict[str, Any] | None, fd: int | None) -> None:
        answers.append((value, fault is None, fd))

    module.process.request_fd("checkpoint", {}, 0.0, answer)
    module.turn()
    module.process.request_fd("checkpoint", {}, None, answer)
    before = len(os.listdir("/proc/self/fd"))
    say_with(module, [REPLY, 1, {"size": 1}], b"late")
    assert [(fine, fd) for _, fine, fd in answers] == [(False, None)]
    assert len(os.listdir("/proc/self/fd")) == before
    say_with(module, [REPLY, 2, {"size": 2}], b"image")
    _, fine, fd = answers[-1]
    assert fine
    assert fd is not None
    assert os.pread(fd, 100, 0) == b"image"
    os.close(fd)


def test_a_fault_brings_none(module: Module) -> None:
    answers: list[tuple[Any, Any, int | None]] = []
    module.process.request_fd("checkpoint", {}, None, lambda *answer: answers.append(answer))
    module.say([FAULT, 1, {"message": "no"}])
    assert answers == [(None, {"message": "no"}, None)]


class TestSwaps:
    """What a process that is swapped is told, and the one that takes its place."""

    def test_a_rehearsal_is_ready_without_what_makes_it_so(self, loop: EventLoop) -> None:
        made = make(loop, pid=os.getpid(), readiness=Readiness("check"))
        made.process.rehearsal = True
        made.say([READY, 0, {"main": "thread 1"}])
        assert (made.ready, made.process.main) == (1, "thread 1")
        assert [message[2] for message in made.heard()] == ["assign"]
        made.process.exited(EXIT_0)
        made.control.close()

    def test_what_is_kept_is_said_to_whoever_it_is_released_to(self, module: Module, loop: EventLoop) -> None:
        process = module.process
        process.held_back = held = HoldingBack(loop)
        answers: list[Any] = []
        process.request("get_state", {}, None, lambda value, _: answers.append(value))
        process.request("ping", {}, None, lambda value, _: answers.append(value))
        process.message("mail")
        assert [message[2] for message in module.heard() if message[0] == CONTROL] == ["assign", "ping"]
        held.everything = True
        process.request_fd("checkpoint", {}, None, lambda value, _, fd: answers.append((value, fd)))
        process.request("ping", {}, None, lambda value, _: answers.append(value))
        process.message("more")
        process.check_log()
        process.request_now("pack", {}, None, lambda value, _: answers.append(value))
        read_fd, write_fd = os.pipe()
        process.send_channel({}, write_fd)
        assert [message[2] for message in module.heard()] == ["pack"]
        process.held_back = None
        held.release(process)
        os.close(read_fd)
        said = [message[2]["message"] if message[0] == EVENT else message[2] for message in module.heard()]
        assert said == ["get_state", "checkpoint", "ping", "more", {}]
        module.say([REPLY, 1, "pong"], [REPLY, 2, "packed"], [REPLY, 3, 42])
        assert answers == ["pong", "packed", 42]

    def test_one_that_is_kept_too_long_is_busy(self, module: Module, loop: EventLoop) -> None:
        module.process.held_back = HoldingBack(loop)
        faults: list[Any] = []
        module.process.request("get_state", {}, 0.0, lambda _, fault: faults.append(fault))
        module.process.request_fd("checkpoint", {}, 0.0, lambda _, fault, __: faults.append(fault))
        module.turn()
        assert ["it is being swapped" in fault["message"] for fault in faults] == [True, True]

    def test_it_says_when_it_has_answered_all_but_some(self, module: Module) -> None:
        done: list[str] = []
        module.process.request("ping", {}, None, lambda *_: None)
        module.process.request("restore", {}, None, lambda *_: None)
        module.process.when_answered({"ping"}, lambda: done.append("quiet"))
        assert (done, module.process.asked) == ([], ["ping", "restore"])
        module.say([REPLY, 2, None])
        assert done == ["quiet"]
        module.say([REPLY, 1, None])
        module.process.when_answered((), lambda: done.append("again"))
        assert done == ["quiet", "again"]

    def test_one_that_was_replaced_tells_its_end_to_another(self, module: Module) -> None:
        ends: list[Ending] = []
        faults: list[Any] = []
        module.say([READY, 0, {}])
        module.process.request("get_state", {}, None, lambda _, fault: faults.append(fault))
        module.process.replaced(lambda _, ending: ends.append(ending))
        assert (module.process.serving, len(faults)) == (False, 1)
        module.heard()
        module.process.leave(Shutdown(3.0, drain_s=1.0), ("shutdown", "swapped"))
        ((_, _, op, args),) = module.heard()
        assert (op, args) == ("leave", {"reason": ("shutdown", "swapped"), "drain_s": 1.0, "timeout_s": 3.0})
        module.process.exited(EXIT_0)
        assert (len(ends), module.endings) == (1, [])
