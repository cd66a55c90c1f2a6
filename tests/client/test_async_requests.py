"""Requests of tasks: the rules of `test_requests`, in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from dspex_runtime.client import ref
from dspex_runtime.client.aio import ModuleRef, Request, Requests, ServerRef
from dspex_runtime.client.via import AsyncNamedRef, Via
from dspex_runtime.errors import CallTimeoutError, ConfigError, NoProcessError, UnserialisableError
from dspex_runtime.wire.messages import CALL, CANCEL, REPLY
from tests.client.test_requests import holding


def run(session: Any, main: Coroutine[Any, Any, Any]) -> Any:
    async def whole() -> Any:
        try:
            return await main
        finally:
            session.mux(asyncio.get_running_loop()).close()

    return asyncio.run(whole())


def test_wait_goes_on_check_does_not_wait_and_receive_abandons(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("c", module(holding(release)))

    async def main() -> None:
        server = ServerRef(session, "c")
        request, left = server.send_request("x"), server.send_request("y")
        with pytest.raises(CallTimeoutError):
            await request.wait(0.02)
        assert request.check() == "no_reply"
        with pytest.raises(CallTimeoutError):
            await left.receive(0.02)
        release.set()
        assert await request.wait(20) == request.check() == "x"
        with pytest.raises(CallTimeoutError, match="cancelled"):
            await left.wait(20)
        with pytest.raises(CallTimeoutError, match="cancelled"):
            left.check()
        assert request.answered
        assert not left.answered

    run(session, main())


def test_a_collection_gives_responses_in_completion_order_errors_among_them(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("slow", module(holding(release)))
    runtime.start("fast", module())

    async def main() -> None:
        requests = Requests()
        assert [await requests.wait(), await requests.receive(), requests.check()] == ["no_request"] * 3
        slow = requests.send(ServerRef(session, "slow"), "tortoise", label="first")
        with pytest.raises(ConfigError, match="already"):
            requests.add(slow)
        requests.call(ModuleRef(session, "fast"), "ask", "hare")
        assert await requests.wait(20) == ("fast", "hare")
        requests.send(ServerRef(session, "nobody"), "?", label="dead")
        label, error = await requests.wait(20)
        assert (label, type(error)) == ("dead", NoProcessError)
        assert requests.check() == "no_reply"
        release.set()
        assert await requests.wait(20, delete=False) == ("first", "tortoise")
        with pytest.raises(CallTimeoutError):
            await requests.wait()
        assert len(requests) == 1

    run(session, main())


def test_at_its_time_out_receive_abandons_all(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("slow", module(holding(release)))

    async def main() -> list[Request]:
        requests = Requests()
        sent = [requests.send(ServerRef(session, "slow"), n) for n in range(2)]
        with pytest.raises(CallTimeoutError):
            await requests.wait(0.02)
        with pytest.raises(CallTimeoutError):
            await requests.receive(0.02)
        assert await requests.wait() == "no_request"
        await asyncio.wait([one.task for one in sent])
        return sent

    assert not any(one.answered for one in run(session, main()))
    release.set()


def test_at_the_deadline_iteration_gives_what_is_unanswered_as_time_outs(runtime: Any, session: Any, module: Any) -> None:
    release = threading.Event()
    runtime.start("slow", module(holding(release)))
    runtime.start("fast", module())

    async def main() -> dict[Any, Any]:
        assert await ServerRef(session, "fast").call("before") == "before"  # its pipe is there: the time is that of the requests
        requests = Requests(timeout=1.0)
        requests.send(ServerRef(session, "slow"), "x", label="late")
        requests.send(ServerRef(session, "fast"), "y", label="in time")
        return {label: response async for label, response in requests}

    results = run(session, main())
    release.set()
    assert results["in time"] == "y"
    with pytest.raises(CallTimeoutError, match=r"'slow' did not answer within 1(\.0\d*)? s"):
        raise results["late"]


def test_a_request_or_a_target_and_its_inputs_is_added(runtime: Any, session: Any, module: Any) -> None:
    runtime.start("c", module())

    async def main() -> dict[Any, Any]:
        requests = Requests(timeout=20)
        sent = requests.add(ServerRef(session, "c").send_request("sent"), label="sent")
        with pytest.raises(ConfigError, match="already"):
            requests.add(sent, label="again")
        with pytest.raises(ConfigError, match="takes no inputs"):
            requests.add(sent, "inputs")
        for wrong in (ServerRef(session, "c"), AsyncNamedRef(session, Via("k"), "server")):
            with pytest.raises(ConfigError, match="and its inputs"):
                requests.add(wrong)
        for cls in (ServerRef, ref.ServerRef, ModuleRef, ref.ModuleRef):
            requests.add(cls(session, "c"), ["inputs"], label=cls)
        return {label: response async for label, response in requests}

    servers = {ServerRef: ["inputs"], ref.ServerRef: ["inputs"]}
    assert run(session, main()) == {"sent": "sent", **servers, ModuleRef: "inputs", ref.ModuleRef: "inputs"}


class TestOrder:
    """What a task sends to one server is in the order in which it was sent, also while no pipe is open (otp-semantics §4)."""

    def test_requests_and_casts_stay_in_order_cold_and_warm(self, runtime: Any, session: Any, module: Any) -> None:
        seen: list[Any] = []
        runtime.start("c", module(noting(seen)))

        async def main() -> None:
            server, requests = ServerRef(session, "c"), []
            for n in range(0, 30, 3):
                requests += [server.send_request(n), server.send_request(n + 1)]
                await server.cast(n + 2)
            for request in requests:
                await request.wait(20)
            assert await server.call(30) == 30

        run(session, main())
        assert seen == list(range(31))

    def test_what_waits_for_a_target_that_is_not_ready_is_sent_in_order(self, runtime: Any, session: Any, module: Any) -> None:
        seen: list[Any] = []
        runtime.modules["c"] = None

        async def main() -> None:
            server = ServerRef(session, "c")
            first, gone = server.send_request(0), server.send_request("gone")
            cast = asyncio.ensure_future(server.cast(1))
            last = Requests()
            await asyncio.sleep(0)
            last.send(server, 2)
            gone.cancel()
            await asyncio.to_thread(runtime.parked, "c")
            runtime.start("c", module(noting(seen)))
            await cast
            assert [await first.wait(20), await last.wait(20)] == [0, ("c", 2)]

        run(session, main())
        assert seen == [0, 1, 2]

    def test_a_request_that_is_cancelled_before_its_task_ran_is_taken_back(self, runtime: Any, session: Any, module: Any) -> None:
        got, cancelled = threading.Event(), threading.Event()

        def serve(pipe: Any) -> None:
            pipe.say(REPLY, pipe.next()[1], "warm")
            number = pipe.next()[1]
            got.set()
            if pipe.next() == [CANCEL, number]:
                cancelled.set()
            pipe.next()

        runtime.start("c", module(serve))

        async def main() -> None:
            server = ServerRef(session, "c")
            assert await server.call("x") == "warm"
            server.send_request("y").cancel()
            await asyncio.to_thread(cancelled.wait, 20)

        run(session, main())
        assert got.is_set()
        assert cancelled.is_set()

    def test_bad_input_comes_as_the_answer(self, runtime: Any, session: Any, module: Any) -> None:
        runtime.start("c", module())

        async def main() -> None:
            server = ServerRef(session, "c")
            await server.call("x")
            with pytest.raises(UnserialisableError):
                await server.send_request(threading.Lock()).wait(20)

        run(session, main())


def noting(seen: list[Any]) -> Any:
    """Serve pipes that note what comes, and answer calls with it."""

    def serve(pipe: Any) -> None:
        while (message := pipe.next()) is not None:
            seen.append(message[3][0])
            if message[0] == CALL:
                pipe.say(REPLY, message[1], message[3][0])

    return serve
