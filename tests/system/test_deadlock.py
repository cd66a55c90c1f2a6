"""Calls that come back to who waits for them are refused at once and say why; calls that only look so are not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import dspex_runtime as dx
from helpers.system import Start, asker, part
from helpers.waiting import wait_until

pytestmark = pytest.mark.process


def test_a_call_that_comes_back_is_refused_and_names_the_circle(shared: Start) -> None:
    rt = shared(part("a"), part("b"), part("c"))
    with pytest.raises(dx.DeadlockError, match="deadlock: a -> b -> c -> a: every call thread of 'a' waits") as caught:
        rt.ref("a").call(path=["b", "c", "a"])
    assert (caught.value.cycle, caught.value.id, caught.value.code) == (["a", "b", "c", "a"], "a", "deadlock")
    assert not caught.value.retryable
    assert rt.ref("a").call(path=["b", "c"]) == "c"


def test_whoever_made_the_call_may_go_on_without(shared: Start) -> None:
    rt = shared(part("a"), part("b"))
    assert rt.ref("b").call("catches", ["a", "b"]) == ["deadlock", ["b", "a", "b"], "b"]
    assert rt.info("a").restarts == rt.info("b").restarts == 0


def test_only_the_calls_that_are_in_the_circle_are_named(shared: Start) -> None:
    rt = shared(part("z"), part("a"), part("b"))
    with pytest.raises(dx.DeadlockError) as caught:
        rt.ref("z").call(path=["a", "b", "a"])
    assert caught.value.cycle == ["a", "b", "a"]


def test_a_module_with_a_free_thread_may_be_called_back(shared: Start) -> None:
    rt = shared(part("a", concurrency=2), part("b", concurrency=2))
    assert rt.ref("a").call(path=["b", "a", "b"]) == "b"
    with pytest.raises(dx.DeadlockError) as caught:
        rt.ref("a").call(path=["b", "a", "b", "a"])
    assert caught.value.cycle == ["a", "b", "a", "b", "a"]


def test_calls_on_the_loop_thread_hold_up_nobody(shared: Start) -> None:
    rt = shared(part("a", "AsyncHop"), part("b", concurrency=2))
    assert rt.ref("a").call(path=["b", "a", "b", "a"]) == "a"


def test_one_that_calls_itself_from_another_thread_is_a_circle_of_one(shared: Start) -> None:
    rt = shared(part("a"))
    assert rt.ref("a").call("around", [["a"]]) == [["deadlock", ["a", "a"]]]


def test_what_goes_elsewhere_meanwhile_is_not_concerned(shared: Start) -> None:
    rt = shared(part("a"), part("b", concurrency=2), part("c"))
    assert rt.ref("a").call("around", [["b", "a"], ["c"], ["b", "c"]]) == [["deadlock", ["a", "b", "a"]], "c", "c"]


def test_others_that_wait_are_served_when_the_circle_is_broken(shared: Start) -> None:
    rt = shared(part("a"), part("b"))
    with ThreadPoolExecutor(8) as pool:
        circles = [pool.submit(rt.ref("a").call, "catches", ["b", "a"]) for _ in range(8)]
        straight = [pool.submit(rt.ref("a").call, path=["b"]) for _ in range(8)]
        assert [future.result(30) for future in circles] == [["deadlock", ["a", "b", "a"], "a"]] * 8
        assert [future.result(30) for future in straight] == ["b"] * 8


def test_a_call_behind_another_callers_is_no_deadlock(shared: Start, tmp_path: Path) -> None:
    """One of two threads serves somebody else: it will be free, and is waited for."""
    rt = shared(part("a", concurrency=2), part("b", concurrency=2))
    gate = tmp_path / "gate"
    requests = dx.Requests()
    other = requests.call(rt.ref("a"), "hold", str(gate))
    wait_until(Path(f"{gate}.begun").exists)
    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(rt.ref("a").call, path=["b", "a", "b"], timeout=60)
        wait_until(lambda: rt.info("a").metrics["queued"] == 1, what="the call that comes back waits")
        other.cancel()
        assert back.result(30) == "b"


def test_a_server_that_calls_back_while_it_goes_on_from_a_call(shared: Start) -> None:
    rt = shared(asker("a"), asker("b"))
    a, b = rt.server("a"), rt.server("b")
    assert a.call(["ask", "b", ["ask", "a", "x"]]) == ["deadlock", ["a", "b", "a"]]
    assert a.call(["go on", "b", ["ask", "a", "x"]]) == "going on"
    assert a.call("answers", timeout=60) == [["deadlock", ["a", "b", "a"]]]
    assert b.call("x") == "x"


def test_a_request_that_nobody_waits_for_is_no_part_of_a_circle(shared: Start, tmp_path: Path) -> None:
    rt = shared(asker("a"), asker("b"))
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(rt.server("a").call, ["send", "b", ["ask", "a", "x"], str(gate)], 60)
        wait_until(lambda: rt.info("a").metrics["queued"] == 1, what="the call that comes back waits")
        gate.touch()
        assert sent.result(30) == ["b"]
    assert rt.server("b").call("x") == "x"


def test_the_log_says_it(shared: Start) -> None:
    rt = shared(part("a"), part("b"))
    rt.ref("a").call("catches", ["b", "a"])
    wait_until(lambda: any("deadlock: a -> b -> a" in line for line in rt.logs("a")))
