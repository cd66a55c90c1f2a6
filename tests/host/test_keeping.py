"""What the parent asks of a module's state: when each is done, what is answered, and that no descriptor is left."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from dspex_runtime.errors import CheckpointError
from dspex_runtime.host.hosted import NO_STATE
from dspex_runtime.host.keeping import KEEPING_OPS, Keeping
from dspex_runtime.params import image
from dspex_runtime.params.image import Image
from dspex_runtime.state.protocol import KEPT, KEPT_PART
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)
ASSIGNMENT: Any = SimpleNamespace(id="sup/qa", incarnation=3)


class Owner:
    changing = nullcontext()

    def __init__(self) -> None:
        self.restored: list[Any] = []
        self.handed_over = 0

    def image(self) -> dict[str, Any]:
        return {"k": 1}

    def facts(self) -> dict[str, Any]:
        return {"mode": "eval"}

    def set_facts(self, facts: Any) -> None:
        pass

    def restore(self, parameters: Any, *, who: str, facts: Any) -> list[Any]:
        self.restored.append((parameters, who))
        return [SimpleNamespace(name="k", version=8)]

    def hand_over(self) -> None:
        self.handed_over += 1

    def names(self) -> list[str]:
        return ["k"]

    def written(self, name: str) -> tuple[int, float, str]:
        return 7, 1.5, "me"


class Host:
    """What is hosted: a server or a module, with or without a state of its own."""

    version = "2.1"
    mode = "eval"
    changes_code = False

    def __init__(self, *, serial: bool, state: Any = NO_STATE) -> None:
        self.serial = serial
        self.state = state
        self.raises: BaseException | None = None

    @property
    def keeps_user_state(self) -> bool:
        return self.state is not NO_STATE

    def get_user_state(self) -> Any:
        if self.raises is not None:
            raise self.raises
        return self.state

    def set_user_state(self, state: Any) -> None:
        self.state = state

    def get_state(self) -> Any:
        return self.state

    def get_rest(self) -> dict[str, Any]:
        return {}

    def set_rest(self, rest: Any) -> None:
        pass

    def set_mode(self, mode: str) -> None:
        pass


class Desk:
    """The loop, the parameters and the control pipe."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.brought: list[int] = []
        self.heard: list[list[Any]] = []
        self.sent: list[bytes] = []
        self.later: list[tuple[str, Callable[[], None]]] = []
        self.watched: list[Any] = []
        self.published = 0
        self.running: dict[Any, int] = {}
        self.lock = threading.Lock()
        self.calls: list[str] = []
        self.tally = SimpleNamespace(
            metrics=SimpleNamespace(totals=lambda: {"calls": 4}),
            running=self.running,
            begin=lambda call: self.calls.append(f"begin {call.method}"),
            end=lambda call, _error: self.calls.append(f"end {call.method}"),
        )
        self.parameters = SimpleNamespace(
            owner=self.owner, codec=CODEC, changes=SimpleNamespace(watch=self.watched.append), after_call=self._publish
        )

    def keeping(self, host: Any) -> Keeping:
        desk: Any = self
        return Keeping(desk, host, desk.parameters, ASSIGNMENT, desk)

    def _publish(self) -> None:
        self.published += 1

    def run_on_main(self, function: Callable[[], None]) -> None:
        self.later.append(("main", function))

    def run_behind(self, client: str, function: Callable[[], None]) -> None:
        self.later.append((client, function))

    def take_fd(self) -> int:
        return self.brought.pop(0)

    def reply(self, message: list[Any], fds: Sequence[int] = ()) -> None:
        self.heard.append(message)
        self.sent += [os.pread(fd, 100_000, 0) for fd in fds]

    def fault(self, exc: BaseException) -> Any:
        return {"type": type(exc).__name__, "message": str(exc)}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def file_of(data: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_what_is_kept_and_not_needed_is_closed_without_a_word(desk: Desk) -> None:
    fds = [file_of(b""), file_of(b"")]
    desk.brought = list(fds)
    keeping = desk.keeping(Host(serial=True))
    keeping.serve(0, KEPT_PART, {"fds": 1})
    keeping.serve(0, KEPT, {"table": True, "user": True})
    assert not any(map(is_open, fds))
    assert desk.heard == []


@pytest.mark.parametrize("names", [True, False, ["k*"]])
def test_the_parent_says_what_it_wants_to_hear_of(desk: Desk, names: Any) -> None:
    desk.keeping(Host(serial=False)).serve(5, "watched", {"names": names})
    assert desk.watched == [names]
    assert desk.heard == [[m.REPLY, 5, {"k": [7, 1.5, "me"]}]]


def test_a_hand_over_is_answered_when_all_was_sent_again(desk: Desk) -> None:
    desk.keeping(Host(serial=False)).serve(5, "hand_over", {})
    assert (desk.owner.handed_over, desk.heard) == (1, [[m.REPLY, 5, None]])


def test_a_module_without_a_state_of_its_own_is_saved_at_once_whatever_runs(desk: Desk) -> None:
    desk.running["a call"] = 0
    desk.keeping(Host(serial=False)).serve(5, "checkpoint", {"kind": "periodic"})
    assert desk.later == []
    (data,) = desk.sent
    saved = image.decode(data)
    assert desk.heard == [[m.REPLY, 5, {"size": len(data)}]]
    assert (saved.id, saved.incarnation, saved.kind, saved.version) == ("sup/qa", 3, "periodic", "2.1")
    assert (saved.parameters, saved.facts, saved.metrics, saved.user) == ({"k": 1}, {"mode": "eval"}, {"calls": 4}, None)
    assert desk.published == 0  # the call may be half through with a predictor


def test_what_changed_unsaid_is_published_first_while_nothing_runs(desk: Desk) -> None:
    desk.keeping(Host(serial=False)).serve(5, "checkpoint", {})
    assert desk.published == 1


MOMENTS = [
    ("between two callbacks, behind the client's own", Host(serial=True), "c1"),
    ("between two callbacks, with its state", Host(serial=True, state={"n": 1}), "c1"),
    ("on the main thread", Host(serial=False, state={"n": 1}), "main"),
]


@pytest.mark.parametrize(("_", "host", "where"), MOMENTS)
def test_others_are_saved_between_two_callbacks(desk: Desk, _: str, host: Host, where: str) -> None:
    desk.keeping(host).serve(5, "checkpoint", {"client": "c1"})
    assert desk.heard == []
    ((moment, function),) = desk.later
    assert moment == where
    function()
    user = image.decode(desk.sent[0]).user
    assert (user and CODEC.unpack(user)) == (None if host.state is NO_STATE else [{"n": 1}])


@pytest.mark.parametrize("op", ["checkpoint", "restore"])
def test_what_is_held_waits_for_nothing_that_is_queued(desk: Desk, op: str) -> None:
    desk.brought = [file_of(image.encode(Image("sup/qa", "manual", 1.0, None, 1)))]
    desk.keeping(Host(serial=True, state=1)).serve(5, op, {"client": "c1", "held": True})
    assert [moment for moment, _ in desk.later] == ["main"]
    desk.later[0][1]()
    assert desk.heard[0][0] == m.REPLY
    for fd in desk.brought:
        os.close(fd)


def test_of_what_an_owner_was_compiled_to_a_part_takes_its_share(desk: Desk) -> None:
    patch = Image("sup", "compile", 1.0, None, 0, {"answer": 1, "qa.k": 2, "qa.x.k": 3})
    desk.brought = [file_of(image.encode(patch))]
    share = {"path": "qa", "parts": ["qa", "qa.x"]}
    desk.keeping(Host(serial=False)).serve(5, "restore", {"who": "compile", "share": share})
    desk.later[0][1]()
    assert desk.owner.restored == [({"k": 2}, "compile")]


@pytest.mark.parametrize("error", [LookupError("no index"), SystemExit(3)])
def test_a_get_state_that_raises_fails_the_checkpoint_and_nothing_else(desk: Desk, error: BaseException) -> None:
    host = Host(serial=True, state=1)
    host.raises = error
    desk.keeping(host).serve(5, "checkpoint", {})
    desk.later[0][1]()
    ((kind, id, _),) = desk.heard
    assert (kind, id, desk.sent) == (m.FAULT, 5, [])


def test_a_state_that_cannot_be_packed_is_said(desk: Desk) -> None:
    desk.keeping(Host(serial=True, state=(line for line in ()))).serve(5, "checkpoint", {})
    desk.later[0][1]()
    assert desk.heard[0][2]["type"] == "UnserialisableError"


@pytest.mark.parametrize("serial", [True, False])
def test_a_restore_is_always_between_two_callbacks(desk: Desk, serial: bool) -> None:
    whole = Image("sup/qa", "manual", 1.0, None, 1, {"k": 1}, {"mode": "train"}, {}, {}, CODEC.pack(["old"]))
    host, fd = Host(serial=serial, state="new"), file_of(image.encode(whole))
    desk.brought = [fd]
    desk.keeping(host).serve(5, "restore", {"who": "somebody"})
    assert (desk.heard, host.state) == ([], "new")
    desk.later[0][1]()
    assert desk.heard == [[m.REPLY, 5, {"k": 8}]]
    assert desk.owner.restored == [({"k": 1}, "somebody")]
    assert host.state == "old"
    assert not is_open(fd)


def test_a_broken_checkpoint_changes_nothing(desk: Desk) -> None:
    host, fd = Host(serial=True, state="new"), file_of(b"broken")
    desk.brought = [fd]
    desk.keeping(host).serve(5, "restore", {})
    desk.later[0][1]()
    assert desk.heard[0][2]["type"] == CheckpointError.__name__
    assert (desk.owner.restored, host.state) == ([], "new")
    assert not is_open(fd)


def test_a_compile_is_a_call_of_its_process_and_of_a_program_only(desk: Desk) -> None:
    snapshot = file_of(image.encode(Image("sup/qa", "compile", 1.0, None, 1, {"k": 1})))
    job = file_of(b"a job")
    desk.brought = [snapshot, job]
    host = Host(serial=True)
    desk.keeping(host).serve(5, "compile", {"id": "sup/other"})
    ((moment, function),) = desk.later
    assert (moment, desk.calls) == ("main", [])
    function()
    ((kind, id, fault),) = desk.heard
    assert (kind, id, fault["type"]) == (m.FAULT, 5, "CompileError")
    assert fault["message"] == "'sup/other' is no dspy program: a GenServer has nothing to compile"
    assert desk.owner.restored == [({"k": 1}, "compile of sup/other")]
    assert desk.calls == ["begin compile", "end compile"]
    assert not is_open(snapshot)
    assert not is_open(job)


def test_a_copy_is_made_of_an_owner_and_its_parts(desk: Desk) -> None:
    images = {path: Image(path, "compile", 1.0, None, 1, {"k": n}) for n, path in enumerate(["", "near", "near.rank"])}
    desk.brought = fds = [*(file_of(image.encode(each)) for each in images.values()), file_of(b"a job")]
    fds = list(fds)
    desk.keeping(Host(serial=True)).serve(5, "compile", {"id": "sup/other", "parts": ["near", "near.rank"]})
    desk.later[0][1]()
    assert desk.owner.restored == [({"k": 0, "near.k": 1, "near.rank.k": 2}, "compile of sup/other")]
    assert not any(map(is_open, fds))


def test_a_snapshot_that_does_not_fit_is_said(desk: Desk) -> None:
    desk.brought = [file_of(b"broken"), file_of(b"a job")]
    desk.keeping(Host(serial=True)).serve(5, "compile", {"id": "sup/other"})
    desk.later[0][1]()
    assert desk.heard[0][2]["message"].startswith("a process with the state of 'sup/other' could not be made: CheckpointError")


def test_every_operation_is_listed() -> None:
    assert {KEPT, KEPT_PART, "checkpoint", "restore", "hand_over", "watched", "compile"} == KEEPING_OPS
