"""One compile, step by step: what is asked of whom, what becomes of a step whose process ends, and that nothing is left."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.core.child_spec import Limits
from dspex_runtime.errors import BusyError, CallTimeoutError, CheckpointError, CompileError, DspexError
from dspex_runtime.node.compile_copy import copy_id, copy_of
from dspex_runtime.types import Durability, RestartType
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import from_fault, to_fault
from dspex_runtime.wire.messages import EVENT, FAULT, REPLY
from helpers.fake_family import HELD, IDS, Family
from helpers.fake_node import Client, FakeNode
from helpers.fake_tree import FakeProcess

COPY = "a$compile"
RUN = {"optimizer": "COPRO", "score": 62.5, "seconds": 1.0}
INFO = {"id": "a", "created_at": 5.0, "size": 9, "version": None}


def fault(error: DspexError) -> dict[str, Any]:
    return to_fault(error, id="a", incarnation=1, codec=Codec())


def memfd(data: bytes = b"") -> int:
    fd = os.memfd_create("image")
    os.write(fd, data)
    return fd


class Run:
    """A compile of `a` that the test plays the processes of."""

    def __init__(self, runtime: FakeNode, **child: Any) -> None:
        self.runtime = runtime
        self.client = runtime.boot({"id": "a", "module": "pkg.mod:Name", "backoff": "none", **child}).owner
        numbers = iter(range(1, 100))
        runtime.keeper.answers["checkpoint"] = lambda args: {**INFO, "number": next(numbers), "kind": args["kind"]}
        self.number = 0

    def begin(self, client: Client | None = None, **args: Any) -> Run:
        self.number = (client or self.client).begin("compile", id="a", job=b"the job", **args)
        return self

    def process(self, id: str = "a") -> FakeProcess:
        return self.runtime.process(id)

    def image(self, error: DspexError | None = None) -> dict[str, Any]:
        """Answer the module's question for an image; return what was asked."""
        op, args, done = self.process().fd_requests.pop(0)
        assert op == "checkpoint"
        done(None, fault(error), None) if error is not None else done({"size": 5}, None, memfd(b"snapshot"))
        self.runtime.turn()
        return args

    def compiled(self, error: DspexError | None = None) -> None:
        """Answer for the copy."""
        op, args, done = self.process(COPY).fd_requests.pop(0)
        assert (op, args) == ("compile", {"id": "a", "parts": []})
        done(None, fault(error), None) if error is not None else done(dict(RUN), None, memfd(b"patch"))
        self.runtime.turn()

    def restored(self, error: DspexError | None = None) -> str:
        op, args, timeout_s, done = self.process().requests.pop(0)
        assert (op, timeout_s) == ("restore", None)
        done(None, fault(error)) if error is not None else done({"answer": 2}, None)
        self.runtime.turn()
        return str(args["who"])

    def to_commit(self) -> Run:
        self.begin()
        self.image()
        self.compiled()
        return self

    def answer(self) -> Any:
        (found,) = [message for message in self.client.heard() if message[0] in (REPLY, FAULT) and message[1] == self.number]
        if found[0] == FAULT:
            raise from_fault(found[2])
        return found[2]

    def told(self) -> list[dict[str, Any]]:
        return [message[2] for message in self.client.heard() if message[0] == EVENT and message[1] == self.number]

    def nothing_is_left(self) -> None:
        assert COPY not in self.runtime.shown()
        assert self.runtime.node.compiles == set()
        assert not self.runtime.node.waiters._by_id


@pytest.fixture
def run(runtime: FakeNode) -> Run:
    return Run(runtime, checkpoint={"keep": 4})


def test_the_snapshot_is_compiled_and_the_patch_given_to_the_module(run: Run) -> None:
    run.begin()
    assert run.image() == {"kind": "compile"}
    copy = run.process(COPY)
    assert copy.brought == [b"snapshot", b"the job"]
    assert copy.on_progress is not None
    copy.on_progress({"type": "evaluated", "score": 62.5})
    run.runtime.turn()
    assert run.told() == [{"type": "evaluated", "score": 62.5}]
    run.compiled()
    assert COPY not in run.runtime.shown()
    assert run.image() == {"kind": "before_compile"}
    assert run.told() == [{"type": "committing", "before": 1}]
    assert run.restored() == "compile (COPRO)"
    about = run.image()["about"]
    who = f"client#{os.getpid()}"
    assert about == {"note": "COPRO, score 62.5", "compile": {**RUN, "who": who, "before": 1, "versions": {"answer": 2}}}
    assert run.answer() == {**RUN, "who": who, "id": "a", "version": 2, "before": 1, "changes": {"answer": 2}}
    run.nothing_is_left()


def test_the_copy_is_the_module_without_what_would_keep_or_kill_it(run: Run) -> None:
    process: Any = run.process()
    spec = copy_of(process)
    assert (spec.id, spec.restart, spec.metadata) == (COPY, RestartType.TEMPORARY, {"compiles": "a"})
    launch = spec.launch
    assert launch is not None
    assert launch.target == process.launch.target
    assert (launch.durability, launch.liveness, launch.checkpoint, launch.concurrency) == (Durability.MEMORY, None, None, 1)
    assert launch.limits == Limits(nice=5)
    assert copy_id("sup/a") == "sup+a$compile"


def test_the_second_compile_of_a_module_is_refused(run: Run) -> None:
    run.begin()
    with pytest.raises(BusyError, match="'a' is being compiled already"):
        run.client.ask("compile", id="a", job=b"")


def test_a_module_that_gives_no_snapshot_is_not_compiled(run: Run) -> None:
    run.begin()
    run.image(CheckpointError("its get_state failed"))
    with pytest.raises(CheckpointError, match="its get_state failed"):
        run.answer()
    run.nothing_is_left()


def test_a_copy_that_does_not_start_is_an_error_with_its_traceback(run: Run) -> None:
    run.runtime.launcher.script[COPY] = ["fail"]
    run.begin()
    run.image()
    with pytest.raises(CompileError, match=r"the process that was to compile 'a' did not start: .*no") as caught:
        run.answer()
    assert caught.value.remote_traceback is not None
    run.nothing_is_left()


def test_an_optimizer_that_fails_is_its_own_error(run: Run) -> None:
    run.begin()
    run.image()
    run.compiled(CompileError("COPRO failed", remote_traceback="Traceback ..."))
    with pytest.raises(CompileError, match="COPRO failed"):
        run.answer()
    run.nothing_is_left()


def test_a_copy_that_ends_says_how(run: Run) -> None:
    run.begin()
    run.image()
    copy = run.process(COPY)
    _, _, done = copy.fd_requests.pop()
    copy.ended = True  # as the real one, which answers its open questions before it is reported
    done(None, fault(BusyError("it ended")), None)
    copy.ended = False
    copy.end(("limit", "memory", "too much"))
    run.runtime.turn()
    with pytest.raises(CompileError, match=r"ended before it was done: .*too much") as caught:
        run.answer()
    assert caught.value.reason == ("limit", "memory", "too much")
    run.nothing_is_left()


def test_a_module_that_is_restarting_gets_the_result_in_its_next_incarnation(run: Run) -> None:
    run.begin()
    run.image()
    run.runtime.launcher.script["a"] = ["hang"]
    run.runtime.crash("a")
    run.compiled()
    assert run.told() == [{"type": "waiting", "state": "STARTING"}]
    run.process().become_ready()
    run.runtime.turn()
    assert run.image() == {"kind": "before_compile"}
    run.restored()
    run.image()
    assert run.answer()["version"] == 2
    run.nothing_is_left()


@pytest.mark.parametrize("step", ["before", "restore", "after"])
def test_a_step_whose_process_ended_is_done_again_by_the_next_one(run: Run, step: str) -> None:
    run.to_commit()

    def again(answer: Any) -> None:
        process = run.process()
        process.ended, process.serving = True, False  # as the real one, which answers open questions before its end is told
        answer(BusyError("it ended before it answered"))
        process.ended = False
        run.runtime.crash("a")

    if step == "before":
        again(run.image)
    run.image()
    if step == "restore":
        again(run.restored)
    run.restored()
    if step == "after":
        again(run.image)
    run.image()
    assert run.answer()["before"] == 1
    run.nothing_is_left()


def test_a_module_that_is_busy_is_waited_for_however_long_a_call_of_it_takes(run: Run) -> None:
    run.to_commit()
    run.image()
    run.restored()
    run.image()
    assert run.process().fd_timeouts[1:] == [None, None], "there is no way back, and asked again it would not be faster"
    run.answer()


@pytest.mark.parametrize(("fails", "says"), [("restore", "'a' is as it was"), ("after", "'a' has it, but there is no checkpoint")])
def test_a_commit_that_fails_says_what_holds(run: Run, fails: str, says: str) -> None:
    run.to_commit()
    run.image()
    if fails == "restore":
        run.restored(CheckpointError("of another module"))
    else:
        run.restored()
        run.image(CheckpointError("the disk is full"))
    with pytest.raises(CompileError, match=f"the result could not be committed: .*; {says}"):
        run.answer()
    run.nothing_is_left()


def test_a_module_that_was_deleted_gets_nothing(run: Run) -> None:
    run.begin()
    run.image()
    run.client.begin("delete", id="a")
    run.runtime.turn()
    run.compiled()
    with pytest.raises(CompileError, match="'a' was deleted while it was compiled"):
        run.answer()
    run.nothing_is_left()


def test_what_is_not_done_in_time_is_ended(run: Run) -> None:
    run.begin(timeout=5.0)
    run.image()
    run.runtime.advance(5.1)
    with pytest.raises(CallTimeoutError, match="'a' is not compiled after 5 s; it serves on as it was"):
        run.answer()
    assert f"kill {COPY}" in run.runtime.launcher.did()
    run.nothing_is_left()


def test_what_is_not_done_in_time_says_that_its_module_does_not_serve(run: Run) -> None:
    run.begin(timeout=5.0)
    run.image()
    run.client.begin("stop", id="a")
    run.runtime.turn()
    run.compiled()
    run.runtime.advance(5.1)
    with pytest.raises(CallTimeoutError, match="not compiled after 5 s; it is STOPPED, and has nothing of the result") as caught:
        run.answer()
    assert caught.value.hint == "`dspex start a` brings it back"
    run.nothing_is_left()


def test_a_client_that_goes_takes_its_compile_along(run: Run) -> None:
    client = run.runtime.connect()
    run.begin(client)
    run.image()
    assert COPY in run.runtime.shown()
    client.close()
    run.runtime.turn()
    run.nothing_is_left()


def test_from_the_commit_on_it_is_finished_without_its_client(run: Run) -> None:
    client = run.runtime.connect()
    run.begin(client, timeout=5.0)
    run.image()
    run.compiled()
    run.image()
    client.close()
    run.runtime.advance(6.0)
    run.restored()
    assert run.image()["kind"] == "compiled"
    run.nothing_is_left()


class TestAnOwner:
    """Its parts are in its copy, and have the result with it."""

    @pytest.fixture
    def family(self, runtime: FakeNode) -> Family:
        return Family(runtime).boot()

    def begin(self, family: Family, **args: Any) -> int:
        number = family.runtime.owner.begin("compile", id="qa", job=b"the job", **args)
        assert family.images() == [{"kind": "compile"}] * 4
        return number

    def compiled(self, family: Family) -> dict[str, Any]:
        _, args, done = family.process("qa$compile").fd_requests.pop(0)
        done(dict(RUN), None, memfd(b"patch"))
        family.runtime.turn()
        return dict(args)

    def answer(self, family: Family, number: int) -> Any:
        (found,) = [each for each in family.runtime.owner.heard() if each[0] in (REPLY, FAULT) and each[1] == number]
        if found[0] == FAULT:
            raise from_fault(found[2])
        return found[2]

    def test_it_is_compiled_with_its_parts_and_all_have_the_result(self, family: Family) -> None:
        number = self.begin(family)
        assert family.node.compiles == set(IDS)
        copy = family.process("qa$compile")
        assert list(copy.launch.inline or {}) == ["near", "far"]
        assert copy.brought == [*[f"{id} compile".encode() for id in IDS], b"the job"]
        assert self.compiled(family) == {"id": "qa", "parts": ["near", "near.rank", "far"]}
        family.hold()
        family.images()
        for id in HELD:
            assert family.restored(id)["who"] == "compile (COPRO)"
        about = family.images()[0]["about"]
        versions = {"k": 2, "far.k": 2, "near.k": 2, "near.rank.k": 2}
        assert (about["note"], about["compile"]["before"], about["compile"]["versions"]) == ("COPRO, score 62.5", 1, versions)
        found = self.answer(family, number)
        assert (found["version"], found["before"], found["changes"]) == (2, 1, versions)
        assert family.node.compiles == set()
        assert "qa$compile" not in family.runtime.shown()

    def test_where_one_refuses_it_all_are_as_they_were(self, family: Family) -> None:
        number = self.begin(family)
        self.compiled(family)
        family.hold()
        family.images()
        family.restored("qa", "no such field")
        with pytest.raises(CompileError, match="no such field; 'qa' and its parts are as they were"):
            self.answer(family, number)
        assert family.released()

    def test_it_waits_for_all_of_them_and_can_be_given_up(self, family: Family) -> None:
        number = self.begin(family, timeout=30.0)
        family.runtime.launcher.script["qa/far"] = ["hang"]
        family.runtime.crash("qa/far")
        self.compiled(family)
        assert family.process("qa").asked == []
        family.process("qa/far").become_ready()
        family.runtime.turn()
        assert family.process("qa").asked == ["hold"]
        family.runtime.advance(30.0)
        with pytest.raises(CallTimeoutError, match="'qa' is not compiled after 30 s"):
            self.answer(family, number)
        assert family.released()
        assert family.node.compiles == set()

    def test_what_belongs_to_it_is_busy_too(self, family: Family) -> None:
        self.begin(family)
        with pytest.raises(BusyError, match="'qa/far' is being compiled already"):
            family.runtime.owner.ask("compile", id="qa/far", job=b"the job")
