"""Which dspy modules can be hosted and how their methods behave in a process of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

import dspex_runtime.host.behaviours as dx
from dspex_runtime.core.child_spec import Limits
from dspex_runtime.errors import StartError
from dspex_runtime.host.context import check_cancelled
from dspex_runtime.modules.values import register
from dspex_runtime.osproc.board import ENDED, RUNNING
from dspex_runtime.types import Down
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.faults import from_fault
from helpers.hosted_process import Client, Gate, HostedProcess, pass_through
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


class Fixed(DummyLM):
    """Answers always the same; made by class from a spec."""

    def __init__(self, answer: str = "42") -> None:
        super().__init__([{"answer": answer}] * 100)


LM = {"class": f"{__name__}:Fixed", "args": {"answer": "forty-two"}}


class Answerer(dspy.Module):
    def __init__(self, style: str = "plain") -> None:
        super().__init__()
        self.style = style
        self.answer = dspy.Predict("question -> answer")
        self.ready = False

    def setup(self) -> None:
        self.ready = True

    def terminate(self, reason: Any) -> None:
        print("terminate", reason)

    def forward(self, question: str) -> Any:
        return self.answer(question=question)

    def about(self) -> Any:
        return self.style, self.ready, threading.current_thread().name

    def wait(self, path: str) -> str:
        pass_through(path)
        return threading.current_thread().name

    def fail(self) -> None:
        raise KeyError("inside")

    def leave(self) -> None:
        raise SystemExit(3)

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)
        return "done"

    def endless(self, path: str) -> Iterator[int]:
        try:
            n = 0
            while True:
                yield n
                n += 1
        finally:
            Path(path).write_text("closed")

    def checks(self, path: str) -> None:
        pass_through(path)
        check_cancelled()
        print("must not get here")

    @dx.idempotent
    def once(self) -> int:
        self.runs = getattr(self, "runs", 0) + 1
        return self.runs

    @dx.idempotent
    def once_at(self, path: str) -> int:
        pass_through(path)
        return self.once()

    async def sleeps(self, path: str) -> str:
        try:
            while not Path(path).exists():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            print("cancelled")
            raise
        return threading.current_thread().name

    async def ticks(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    def _private(self) -> None:
        print("must not be reachable")

    def get_state(self) -> Any:
        return {"style": self.style}

    def set_state(self, state: Any) -> None:
        self.style = state["style"]


class Asynchronous(dspy.Module):
    async def aforward(self, path: str) -> Any:
        while not Path(path).exists():
            await asyncio.sleep(0.005)
        return dspy.Prediction(lm=str(dspy.settings.lm is not None), thread=threading.current_thread().name)


class NoForward(dspy.Module):
    pass


class Informed(Answerer):
    def handle_info(self, message: Any) -> None:
        self.messages = [*self.got(), message]

    def got(self) -> list[Any]:
        return getattr(self, "messages", [])


class InformedTask(Informed):
    async def handle_info(self, message: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().handle_info(message)


@pytest.fixture
def process(fork: Any) -> HostedProcess:
    process: HostedProcess = fork()
    register(process.codec)
    return process


def test_a_module_is_called_as_in_process_with_the_lm_of_its_spec(process: HostedProcess) -> None:
    info = process.start(Answerer, kwargs={"style": "short"}, lm=LM, dspy={"track_usage": True})
    client = process.client()
    result = client.call("__call__", question="what?")
    assert isinstance(result, dspy.Prediction)
    assert result.answer == "forty-two"
    assert result.get_lm_usage() is not None
    assert info["kind"] == "module"
    assert client.call("about") == ("short", True, "MainThread")


def test_an_instance_is_hosted_as_it_is(process: HostedProcess) -> None:
    module = Answerer("made by the client")
    process.start(module)
    assert process.client().call("about")[0] == "made by the client"


def test_a_saved_program_is_hosted(process: HostedProcess, tmp_path: Path) -> None:
    dspy.ChainOfThought("question -> answer").save(str(tmp_path / "saved"), save_program=True)
    process.start(str(tmp_path / "saved"), lm={"class": "dspy.utils:DummyLM", "args": [[{"reasoning": "r", "answer": "a"}]]})
    assert process.client().call("__call__", question="q").answer == "a"


def test_a_module_without_forward_does_not_start(process: HostedProcess) -> None:
    with pytest.raises(StartError, match="forward_not_implemented"):
        process.start(NoForward)


def test_an_instance_takes_no_arguments(process: HostedProcess) -> None:
    with pytest.raises(StartError, match="an instance already"):
        process.start(Answerer(), 1)


@pytest.mark.parametrize("name", ["_private", "__init__", "nothing", "style", "named.sub"])
def test_only_public_methods_can_be_called(process: HostedProcess, name: str) -> None:
    process.start(Answerer)
    with pytest.raises(AttributeError, match="no public method"):
        process.client().call(name)


def test_an_exception_in_a_call_is_its_callers_and_the_process_lives(process: HostedProcess) -> None:
    process.start(Answerer)
    client = process.client()
    client.begin("fail")
    kind, _, fault = client.answer()
    assert kind == m.FAULT
    assert isinstance(from_fault(fault), KeyError)
    assert "in fail" in fault["traceback"]
    assert "dspex_runtime" not in fault["traceback"]
    assert client.call("about")[0] == "plain"
    newest = process.ask("executions", n=2)
    assert [(e["method"], e["ok"]) for e in newest] == [("about", True), ("fail", False)]
    assert process.ask("metrics")["last_error"] == "KeyError: 'inside'"


def test_wrong_arguments_are_the_callers_error(process: HostedProcess) -> None:
    process.start(Answerer)
    with pytest.raises(TypeError, match="unexpected keyword"):
        process.client().call("__call__", colour="red")


def test_sys_exit_in_a_call_ends_the_process(process: HostedProcess) -> None:
    process.start(Answerer)
    process.client().begin("leave")
    assert process.bye() == ("exit_status", 3)
    assert process.wait() == 3
    assert process.text() == "terminate ('exit_status', 3)\n" or process.text().endswith("terminate ('exit_status', 3)\n")


def busy(process: HostedProcess, n: int, *call: Any) -> list[Client]:
    clients = [process.client() for _ in range(n)]
    for client in clients:
        client.begin(*call)
    wait_until(lambda: process.slot()[RUNNING] == n, what=f"{n} run")
    return clients


def test_concurrency_runs_that_many_at_a_time(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer, concurrency=3)
    gate = Gate(tmp_path / "gate")
    clients = busy(process, 3, "wait", gate.path)
    fourth = process.client()
    fourth.begin("about")
    assert fourth.recv() == [m.BEGUN, 1, False]
    gate.open()
    names = {client.result() for client in clients}
    assert names == {"MainThread", "dspex-call-2", "dspex-call-3"}
    fourth.result()
    for _ in range(20):  # whoever is idle now: reader or follower
        assert fourth.call("about")[0] == "plain"
    clients = busy(process, 3, "wait", gate.path)
    gate.open()
    assert len({client.result() for client in clients}) == 3


def test_async_methods_share_one_loop_thread_and_take_no_call_thread(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer)
    go = tmp_path / "go"
    clients = busy(process, 5, "sleeps", str(go))
    assert process.client().call("about")[0] == "plain"
    go.touch()
    assert {client.result() for client in clients} == {"dspex-loop"}


def test_a_module_with_only_aforward_is_called_on_the_loop(process: HostedProcess, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    process.start(Asynchronous, lm=LM)
    result = process.client().call("__call__", str(tmp_path / "go"))
    assert (result.lm, result.thread) == ("True", "dspex-loop")


def test_async_calls_in_flight_share_the_mailbox_limit(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer, limits=Limits(mailbox=2))
    go = tmp_path / "go"
    clients = busy(process, 2, "sleeps", str(go))
    third = process.client()
    third.begin("sleeps", str(go))
    assert third.recv() == [m.OVERLOADED, 1, 2]
    go.touch()
    assert [client.result() for client in clients] == ["dspex-loop"] * 2


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_an_async_call_is_cancelled_with_its_client(process: HostedProcess, tmp_path: Path, how: str) -> None:
    process.start(Answerer)
    (client,) = busy(process, 1, "sleeps", str(tmp_path / "never"))
    if how == "cancel":
        client.send([m.CANCEL, 1])
    else:
        client.close()
    wait_until(lambda: process.slot()[ENDED] == 1)
    assert process.text() == "cancelled\n"


def test_a_sync_call_learns_of_its_cancellation_at_its_next_call_of_ours(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer)
    gate = Gate(tmp_path / "gate")
    (client,) = busy(process, 1, "checks", gate.path)
    client.send([m.CANCEL, 1])
    other = process.client()
    other.begin("about")
    other.recv()  # queued: the control thread has read what came before as well
    gate.open()
    other.result()
    assert "must not" not in process.text()


def test_a_stream_goes_as_far_as_its_credit(process: HostedProcess) -> None:
    process.start(Answerer)
    client = process.client()
    number = client.begin("count", 5, credit=2)
    assert [client.recv() for _ in range(2)] == [[m.ITEM, number, 0], [m.ITEM, number, 1]]
    client.send([m.CREDIT, number, 2])
    assert [client.recv()[2] for _ in range(2)] == [2, 3]
    client.send([m.CREDIT, number, 1])
    assert client.recv() == [m.ITEM, number, 4]
    assert client.recv() == [m.REPLY, number, "done"]


def test_an_async_stream_goes_as_far_as_its_credit(process: HostedProcess) -> None:
    process.start(Answerer)
    client = process.client()
    number = client.begin("ticks", 3, credit=2)
    assert [client.recv()[2] for _ in range(2)] == [0, 1]
    client.send([m.CREDIT, number, 9])
    assert client.recv() == [m.ITEM, number, 2]
    assert client.recv() == [m.REPLY, number, None]


@pytest.mark.parametrize("method", ["count", "ticks"])
def test_a_generator_without_credit_is_an_error_that_names_stream(process: HostedProcess, method: str) -> None:
    process.start(Answerer)
    with pytest.raises(TypeError, match="stream"):
        process.client().call(method, 3)


def test_a_plain_value_may_be_streamed_as_no_items(process: HostedProcess) -> None:
    process.start(Answerer)
    client = process.client()
    number = client.begin("once", credit=5)
    assert client.recv() == [m.REPLY, number, 1]


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_stream_that_nobody_reads_any_more_closes_its_generator(process: HostedProcess, tmp_path: Path, how: str) -> None:
    process.start(Answerer)
    client = process.client()
    client.begin("endless", str(tmp_path / "closed"), credit=1)
    client.recv()
    if how == "cancel":
        client.send([m.CANCEL, 1])
    else:
        client.close()
    wait_until((tmp_path / "closed").exists)
    assert process.client().call("about")[0] == "plain"


def test_a_key_is_run_once(process: HostedProcess) -> None:
    info = process.start(Answerer)
    assert sorted(info["methods"]["idempotent"]) == ["once", "once_at"]
    client, other = process.client(), process.client()
    assert client.call("once", key="a") == 1
    assert other.call("once", key="a") == 1
    assert client.call("once", key="b") == 2
    assert client.call("once") == 3


def test_a_key_that_is_running_is_waited_for_not_run_again(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer)
    gate = Gate(tmp_path / "gate")
    first, again, other = process.client(), process.client(), process.client()
    first.begin("once_at", gate.path, key="k")
    wait_until(lambda: process.slot()[RUNNING] == 1)
    again.begin("once_at", gate.path, key="k")
    other.begin("about")
    assert other.recv() == [m.BEGUN, 1, False]
    gate.open()
    assert first.result() == again.result() == 1


@pytest.mark.parametrize("module", ["Informed", "InformedTask"])
def test_a_message_of_the_parent_reaches_its_handle_info(process: HostedProcess, module: str) -> None:
    process.start(globals()[module])
    process.control.send([m.EVENT, 0, {"type": "message", "message": Down("a", 1, "killed", 5)}])
    client = process.client()
    assert wait_until(lambda: client.call("got")) == [Down("a", 1, "killed", 5)]


def test_a_message_for_a_module_without_handle_info_is_dropped(process: HostedProcess) -> None:
    process.start(Answerer)
    process.control.send([m.EVENT, 0, {"type": "message", "message": "hello"}])
    assert process.client().call("about")[1] is True
    assert "hello" not in process.text()


def test_a_stop_ends_what_still_runs_after_its_drain(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer)
    gate = Gate(tmp_path / "gate")
    (client,) = busy(process, 1, "wait", gate.path)
    process.tell("stop", reason="shutdown", drain_s=0.01)
    assert process.bye() == "shutdown"
    with pytest.raises(EOFError):
        client.answer()
    assert process.wait() == 0
    assert process.text() == "terminate shutdown\n"


def test_a_stop_waits_for_async_calls(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer)
    (client,) = busy(process, 1, "sleeps", str(tmp_path / "go"))
    process.tell("stop", reason="shutdown", drain_s=20.0)
    (tmp_path / "go").touch()
    assert client.result() == "dspex-loop"
    assert process.bye() == "shutdown"
    assert process.wait() == 0


def test_a_stop_reaches_every_call_thread(process: HostedProcess, tmp_path: Path) -> None:
    process.start(Answerer, concurrency=3)
    gate = Gate(tmp_path / "gate")
    clients = busy(process, 3, "wait", gate.path)
    gate.open()
    for client in clients:
        client.result()
    process.tell("stop", reason="shutdown", drain_s=20.0)
    assert process.bye() == "shutdown"
    assert process.wait() == 0


def test_state_goes_through_the_modules_own_hooks(process: HostedProcess) -> None:
    import cloudpickle

    process.start(Answerer)
    assert process.ask("get_state") == {"style": "plain"}
    assert process.ask("replace_state", function=cloudpickle.dumps(lambda s: {"style": s["style"] + "er"})) == {"style": "plainer"}
    assert process.client().call("about")[0] == "plainer"
    assert process.ask("status")["predictors"] == ["answer"]


def test_a_bad_lm_is_a_failed_start(process: HostedProcess) -> None:
    with pytest.raises(StartError, match="lm needs a model or a class"):
        process.start(Answerer, lm={"temperature": 1})


def test_a_spare_that_was_prefaulted_serves(fork: Any) -> None:
    process = fork(warmth=2)
    process.start(Answerer)
    assert process.client().call("about")[0] == "plain"


def test_history_of_the_zygote_is_not_the_modules(process: HostedProcess) -> None:
    process.start(Answerer)
    assert process.client().call("deepcopy").history == []
