"""GenServers as real processes: the rows of OTP's gen_server and sys that need more than one process (otp-semantics §2)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.runtimes import kill_known
from helpers.system import FOLDER, Start
from helpers.waiting import is_alive, wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_genserver.py"


def server(id: str, name: str = "Desk", **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:{name}", "backoff": "none", **keys}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def events_of(rt: dx.Runtime, *types: str) -> list[dict[str, Any]]:
    """Return the events so far of these types."""
    return [event for event in rt.events(since=0, follow=False) if event["type"] in types]


# -- §2.1 start


def test_after_a_failed_start_process_name_and_resources_are_gone_when_the_call_returns(shared: Start, tmp_path: Path) -> None:
    rt = shared()
    path = tmp_path / "it"
    with pytest.raises(dx.StartError) as failed:
        rt.start(f"{PROGRAMS}:FailsOnce", str(path), id="x", backoff="none")
    (pid,) = map(int, re.findall(r": (\d+)$", failed.value.message))
    assert not is_alive(pid)
    with pytest.raises(dx.NoProcessError):
        rt.info("x")
    path.touch()
    assert rt.start(f"{PROGRAMS}:FailsOnce", str(path), id="x").call("?") == "up"


def test_a_quiet_failure_of_init_gives_its_reason_and_reports_no_crash(runtime: Start) -> None:
    rt = runtime()
    with pytest.raises(dx.StartError) as failed:
        rt.start(f"{PROGRAMS}:FailsQuietly", id="x", backoff="none")
    assert failed.value.reason == ("error", "Stop", "no licence", "")
    assert not failed.value.remote_traceback
    assert events_of(rt, "crash_report") == []


def test_what_init_sends_to_itself_comes_after_it_in_order_and_after_its_continue(shared: Start) -> None:
    rt = shared(server("x", "ToItself"))
    x = rt.server("x")
    wait_until(lambda: {"request", "later"} <= set(x.get_state()))
    assert [message for message in x.get_state() if message not in ("request", "later")] == ["continue", "first", "second", "third"]


def test_what_a_callback_sends_to_itself_comes_after_it_in_order(shared: Start) -> None:
    rt = shared(server("x", "ToItself"))
    x = rt.server("x")
    wait_until(lambda: {"request", "later"} <= set(x.get_state()))
    assert x.call("send") == "sent"
    wait_until(lambda: x.get_state() == [0, 0, 1, -1, 2, -2])


# -- §2.2 call


@pytest.mark.parametrize("what", ["call itself", "stop itself", "get_state of itself"])
def test_calling_oneself_is_detected_at_once(runtime: Start, what: str) -> None:
    rt = runtime(server("x"))
    assert rt.server("x").call([what, "x"]) == "calling_self"
    assert rt.info("x").incarnation == 1


@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "x"), ("error", "Own", "reason", "")])
def test_a_caller_whose_server_stops_before_it_replies_gets_the_reason(shared: Start, reason: Any) -> None:
    rt = shared(server("x", restart="temporary"))
    with pytest.raises(dx.ProcessDownError) as down:
        rt.server("x").call(["stop", reason])
    assert down.value.reason == reason


# -- §2.3 callback returns


def test_a_deferred_reply_may_be_given_by_another_server_and_exactly_one_wins(shared: Start, pool: ThreadPoolExecutor) -> None:
    rt = shared(server("front"), server("back"))
    assert rt.server("front").call(["to", "back"], timeout=20) == "from back"
    (from_,) = rt.server("back").call("open")
    assert dx.reply(from_, "too late") is False


def test_a_deferred_reply_may_be_given_by_a_client_while_the_server_is_busy_and_suspended(
    shared: Start, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    rt = shared(server("x"))
    x, gate = rt.server("x"), tmp_path / "gate"
    first, second = pool.submit(x.call, "later", 20), pool.submit(x.call, "later", 20)
    wait_until(lambda: len(x.get_state()["open"]) == 2)
    ours = x.get_state()["open"]
    x.cast(["wait", str(gate)])
    wait_until(Path(f"{gate}.begun").exists)
    assert dx.reply(ours[0], "while busy") is True
    wait_until(lambda: first.done() or second.done())
    gate.touch()
    x.suspend()
    assert dx.reply(ours[1], {"while": "suspended"}) is True
    assert {str(first.result(20)), str(second.result(20))} == {"while busy", "{'while': 'suspended'}"}
    assert dx.reply(ours[1], "again") is False


def test_a_reply_to_a_client_that_is_gone_or_of_a_server_that_is_gone_is_dropped(shared: Start, pool: ThreadPoolExecutor) -> None:
    rt = shared(server("x"))
    x = rt.server("x")
    x.call("pid")  # the pipe is there: the time is that of the request
    with pytest.raises(dx.CallTimeoutError):
        x.call("later", timeout=1.0)
    (gone,) = x.get_state()["open"]
    wait_until(lambda: dx.reply(gone, "late") is False)
    waiting = pool.submit(x.call, "later", 20)
    wait_until(lambda: len(x.get_state()["open"]) == 2)
    orphan = x.get_state()["open"][1]
    rt.kill("x")
    with pytest.raises(dx.ProcessDownError):
        waiting.result(20)
    rt.wait("x")
    assert dx.reply(orphan, "too late") is False


def test_terminate_runs_before_the_reply_of_a_stop(shared: Start, tmp_path: Path) -> None:
    rt = shared(server("x", restart="temporary"))
    goodbye = tmp_path / "goodbye"
    assert rt.server("x").call(["reply and stop", str(goodbye)]) == "the reply"
    assert goodbye.exists()


# -- §2.4 terminate


def test_a_shutdown_is_behind_what_was_queued_and_terminate_sees_it(
    shared: Start, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    rt = shared(server("x"))
    x, gate = rt.server("x"), tmp_path / "gate"
    x.cast(["wait", str(gate)])
    wait_until(Path(f"{gate}.begun").exists)
    for n in range(5):
        x.cast(n)
    stopping = pool.submit(rt.stop, "x")
    wait_until(lambda: rt.info("x").state == "STOPPING")
    gate.touch()
    stopping.result(20)
    assert f"terminated shutdown after {[['wait', str(gate)], 0, 1, 2, 3, 4]}" in "\n".join(rt.logs("x"))


def test_without_trapped_exits_a_shutdown_ends_at_once_without_terminate(shared: Start, tmp_path: Path) -> None:
    rt = shared(server("x", trap_exit=False))
    rt.server("x").cast(["wait", str(tmp_path / "never")])
    wait_until((tmp_path / "never.begun").exists)
    rt.stop("x", timeout=20)
    assert rt.info("x").last_exit == "shutdown"
    assert "terminated" not in "\n".join(rt.logs("x"))


# -- §2.5 stop


def test_stop_works_on_a_suspended_server_and_runs_nothing_queued(shared: Start) -> None:
    rt = shared(server("x", restart="temporary"))
    x = rt.server("x")
    x.suspend()
    x.cast("never")
    x.stop(timeout=20)
    assert "terminated normal after []" in "\n".join(rt.logs("x"))


def test_stop_of_what_does_not_run_is_noproc(shared: Start) -> None:
    rt = shared(server("x", restart="temporary"), server("y", restart="transient"))
    y = rt.server("y")
    y.stop(timeout=20)
    for ref in (y, dx.ServerRef(rt.session, "nobody")):
        with pytest.raises(dx.NoProcessError):
            ref.stop(timeout=20)


def test_stop_that_takes_too_long_is_a_time_out_and_goes_on(shared: Start, tmp_path: Path) -> None:
    rt = shared(server("x", restart="transient"))
    x, gate = rt.server("x"), tmp_path / "gate"
    x.cast(["wait", str(gate)])
    wait_until(Path(f"{gate}.begun").exists)
    with pytest.raises(dx.CallTimeoutError):
        x.stop(timeout=1.0)
    gate.touch()
    rt.wait("x", state="exited", timeout=20)


def test_stop_of_one_that_ends_for_another_reason_says_so(shared: Start, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    rt = shared(server("x", restart="temporary"))
    x = rt.server("x")
    x.cast(["wait", str(tmp_path / "never")])
    wait_until((tmp_path / "never.begun").exists)
    stopping = pool.submit(x.stop, "normal", 20)
    rt.kill("x")
    with pytest.raises(dx.ProcessDownError) as down:
        stopping.result(20)
    assert down.value.reason in ("killed", "noproc")


@pytest.mark.parametrize("reason", ["killed", ("exit_status", 3), "badthing"])
def test_a_reason_that_is_not_for_code_to_give_is_refused_by_stop_and_an_error_with_exit_and_dx_stop(
    shared: Start, reason: Any
) -> None:
    rt = shared(server("x", restart="temporary"), server("y", restart="temporary", trap_exit=False))
    text = reason if isinstance(reason, str) else repr(reason)
    with pytest.raises(dx.ConfigError, match="allowed: 'normal', 'shutdown'"):
        rt.server("x").stop(reason)
    down = rt.monitor("y")
    rt.exit("y", reason)
    assert down.wait(20) == dx.Down("y", 1, ("error", "Exit", text, ""))
    with pytest.raises(dx.ProcessDownError) as ended:
        rt.server("x").call(["stop", reason])
    assert ended.value.reason == ("error", "Stop", text, "")


# -- §2.6 requests


def test_multi_call_has_one_deadline_and_tells_who_did_not_answer(shared: Start) -> None:
    rt = shared(server("a"), server("b"), server("silent"))
    replies, bad = rt.multi_call(["a", "nobody", rt.server("b"), "a"], "pid", timeout=20)
    assert dict(replies) == {"a": rt.info("a").pid, "b": rt.info("b").pid}
    assert bad == ["nobody"]
    assert rt.multi_call(["silent"], "later", timeout=0.1) == ([], ["silent"])

    async def main() -> Any:
        async with await dx.aio.connect(rt.socket) as other:
            await other.abcast(["a", "nobody", "b"], "hello")
            return await other.multi_call(["a", "nobody", "b"], "pid", timeout=20)  # answered, so its casts are handled before ours

    assert asyncio.run(main()) == ([("a", rt.info("a").pid), ("b", rt.info("b").pid)], ["nobody"])
    rt.abcast(["a", "b"], "again")
    wait_until(lambda: all(rt.server(id).get_state()["seen"] == ["hello", "again"] for id in "ab"))


# -- §2.10 sys


def test_a_clients_own_casts_are_done_when_it_asks_for_the_state(shared: Start, tmp_path: Path) -> None:
    rt = shared(server("x"))
    x, gate = rt.server("x"), tmp_path / "gate"
    for n in range(200):
        x.cast(n)
        assert x.get_state()["seen"][-1] == n

    async def main() -> Any:
        async with await dx.aio.connect(rt.socket) as other:
            mine = await other.server("x")
            await mine.cast("mine")
            return (await mine.get_state())["seen"][-1]

    assert asyncio.run(main()) == "mine"
    gate.touch()


def test_calls_casts_infos_and_requests_of_one_sender_run_in_the_order_of_sending(shared: Start) -> None:
    rt = shared()
    expected = [n for n in range(40) if n % 4 != 3]
    for n in range(25):
        notes = rt.start(f"{PROGRAMS}:Notes", id=f"n{n}", backoff="none")
        if n % 2:
            notes.call("a pipe is open before the first request")
        requests = []
        for i in range(0, 40, 4):
            requests.append(notes.send_request(i))
            notes.cast(i + 1)
            notes.info_message(i + 2)
            if i % 3 == 0:
                notes.call("between")
        seen = notes.get_state()
        assert [message for message in seen if not isinstance(message, str)] == expected
        assert [request.wait(20) for request in requests] == [None] * 10


def test_system_messages_do_not_overtake_a_request_of_the_same_client(shared: Start) -> None:
    rt = shared()
    for n in range(15):
        notes = rt.start(f"{PROGRAMS}:Notes", id=f"n{n}", restart="temporary", backoff="none")
        before = [notes.send_request(i) for i in range(3)]
        assert notes.get_state() == [0, 1, 2]
        assert notes.replace_state(lambda state: [*state, "replaced"]) == [0, 1, 2, "replaced"]
        before.append(notes.send_request(3))
        notes.suspend()
        assert notes.get_state()[-1] == 3
        notes.resume()
        before.append(notes.send_request(4))
        notes.stop()
        assert [request.wait(20) for request in before] == [None] * 5


def test_requests_and_casts_of_one_task_run_in_the_order_of_sending(shared: Start) -> None:
    rt = shared()

    async def main() -> None:
        async with await dx.aio.connect(rt.socket) as aio:
            for n in range(15):
                rt.start(f"{PROGRAMS}:Notes", id=f"n{n}", backoff="none")
                notes = await aio.server(f"n{n}")
                requests = []
                for i in range(0, 30, 2):
                    requests.append(notes.send_request(i))
                    await notes.cast(i + 1)
                assert await notes.get_state() == list(range(30))
                for request in requests:
                    await request.wait(20)

    asyncio.run(main())


def test_sys_debug_functions_over_the_runtime(shared: Start, tmp_path: Path) -> None:
    rt = shared(server("x", args={"secret": "s3cret"}))
    x = rt.server("x")
    assert x.statistics("get") == "no_statistics"
    x.statistics(True)
    x.log()
    x.trace()
    x.log_to_file(tmp_path / "events")
    x.install("counter", lambda n, event, state: n + 1 if n < 3 else "done", 0)
    assert x.call("hello") == "hello"
    (_, kind, message, client), (_, reply, _, state) = x.log("get")
    assert (kind, message, reply, client, state["secret"]) == ("call", "hello", "hello", rt.session.client, "s3cret")
    assert x.statistics("get")["messages_out"] == 1
    status = x.get_status()
    assert (status["status"], status["state"]["secret"], len(status["log"])) == ("running", "***", 2)
    x.no_debug()
    assert x.log("get") == []
    assert "*DBG* x got call 'hello'" in (tmp_path / "events").read_text()
    assert "*DBG* x got call 'hello'" in "\n".join(rt.logs("x"))


def test_replace_state_refuses_what_it_could_not_return_and_survives_what_exits(runtime: Start) -> None:
    rt = runtime(server("x"))
    x, before = rt.server("x"), rt.server("x").get_state()
    with pytest.raises(dx.UnserialisableError, match="the state is as it was"):
        x.replace_state(lambda state: [state, __import__("threading").Lock()])
    with pytest.raises(dx.CallError, match="SystemExit") as failed:
        x.replace_state(lambda _: exit(3))
    assert failed.value.code == "callback_failed"
    assert (x.get_state(), rt.info("x").incarnation) == (before, 1)


# -- §2.11 reports


def test_a_crash_report_names_the_class_of_what_came_pickled(runtime: Start) -> None:
    class Inner(dx.GenServer):
        def init(self) -> None:
            return None

        def handle_cast(self, request: Any, state: None) -> Any:
            raise ValueError(request)

    rt = runtime()
    rt.start(Inner, id="x", restart="temporary").cast("boom")
    wait_until(lambda: events_of(rt, "crash_report"))
    (report,) = events_of(rt, "crash_report")
    assert report["initial_call"].endswith(":Inner")
    with pytest.raises(dx.StartError):
        rt.start(Inner, "one argument too many", id="y", restart="temporary")
    assert [report["initial_call"].rpartition(":")[2] for report in events_of(rt, "crash_report")] == ["Inner", "Inner"]


def test_a_crash_report_is_an_event_with_otps_fields_and_nothing_that_format_status_hides(runtime: Start) -> None:
    rt = runtime(server("x", args={"secret": "s3cret"}))
    x = rt.server("x")
    x.log()
    down = rt.monitor("x")
    with pytest.raises(dx.ProcessDownError):
        x.call("crash")
    assert down.wait(20) is not None
    (report,) = events_of(rt, "crash_report")
    assert (report["id"], report["incarnation"], report["module"]) == ("x", 1, "Desk")
    assert report["initial_call"].endswith("programs_genserver.py:Desk")
    assert report["reason"][:3] == ("error", "ValueError", "asked to crash")
    assert "raise ValueError" in report["reason"][3]
    assert (report["message"], report["client"], report["queued"]) == (("handle_call", "crash"), rt.session.client, 0)
    assert report["state"] == {"secret": "***", "open": 0, "seen": []}
    log = "\n".join(rt.logs("x"))
    assert "asked to crash" in log
    assert "s3cret" not in str({**report, "log": None}) + log


def test_a_format_status_that_fails_is_said_in_the_report_instead_of_the_state(runtime: Start) -> None:
    rt = runtime(server("x", "Leaky", args={"secret": "s3cret"}))
    down = rt.monitor("x")
    with pytest.raises(dx.ProcessDownError):
        rt.server("x").call("crash")
    assert down.wait(20) is not None
    rt.wait("x")
    (report,) = events_of(rt, "crash_report")
    assert report["format_status"] == "Leaky.format_status raised KeyError"
    assert "s3cret" not in str(report) + "\n".join(rt.logs("x")) + str(rt.server("x").get_status())


def test_the_runtime_makes_the_report_of_a_process_that_was_killed_and_names_the_offender(runtime: Start) -> None:
    rt = runtime(server("x"), server("y"))
    pid = rt.info("x").pid
    kill_known(rt, "x")
    rt.wait("x")
    rt.stop("y")
    crash, terminated = events_of(rt, "crash_report", "child_terminated")
    assert (crash["id"], crash["pid"], crash["reason"], crash["synthesised"]) == ("x", pid, "killed", True)
    assert (terminated["supervisor"], terminated["error_context"], terminated["reason"]) == ("root", "child_terminated", "killed")
    assert {key: terminated["offender"][key] for key in ("id", "pid", "restart_type", "significant", "child_type")} == {
        "id": "x", "pid": pid, "restart_type": "permanent", "significant": False, "child_type": "worker",
    }  # fmt: skip
