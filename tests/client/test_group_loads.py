"""A request counts as a replica's load from when it is taken to when it is over, however that comes about."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from dspex_runtime.client import aio
from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.errors import ProtocolError, UnserialisableError
from dspex_runtime.wire.messages import CALL, CANCEL, ITEM, REFUSED, REPLY
from helpers.looped import go
from helpers.waiting import PATIENCE_S

CANNOT_CROSS = threading.Lock()


def loads(session: Any) -> list[int]:
    return [member.mine for member in session.pool("qa").group.members]


def one_item(pipe: Any) -> None:
    """Answer calls; of a stream give one item."""
    while (message := pipe.next()) is not None:
        if message[0] == CALL and message[7]:
            pipe.say(ITEM, message[1], 0)
        elif message[0] == CALL:
            pipe.say(REPLY, message[1], message[3][0])


def test_a_stream_that_cannot_be_sent(session: Any, grouped: Any) -> None:
    grouped(None)
    ref = ModuleRef(session, "qa")
    assert ref.call("ask", 1) == 1
    with pytest.raises(UnserialisableError):
        ref.stream("words", CANNOT_CROSS)
    assert loads(session) == [0]


def test_a_stream_is_one_until_it_ends(session: Any, grouped: Any) -> None:
    grouped(one_item)
    stream = ModuleRef(session, "qa").stream("words")
    assert next(stream) == 0
    assert loads(session) == [1]
    stream.close()
    stream.close()
    assert loads(session) == [0]


class TestTasks:
    """The same in an event loop."""

    def test_a_request_that_cannot_be_sent(self, session: Any, grouped: Any) -> None:
        grouped(None)

        async def main() -> None:
            ref = aio.ServerRef(session, "qa")
            assert await ref.call(1) == 1
            with pytest.raises(UnserialisableError):
                await ref.send_request(CANNOT_CROSS).wait(PATIENCE_S)
            assert loads(session) == [0]

        go(session, main())

    def test_a_stream_that_cannot_be_sent(self, session: Any, grouped: Any) -> None:
        grouped(None)

        async def main() -> None:
            ref = aio.ModuleRef(session, "qa")
            assert await ref.call("ask", 1) == 1
            with pytest.raises(UnserialisableError):
                await anext(ref.stream("words", CANNOT_CROSS))
            assert loads(session) == [0]

        go(session, main())

    @pytest.mark.parametrize("streamed", [False, True], ids=["call", "stream"])
    def test_one_that_is_cancelled_while_its_pipe_is_full(self, session: Any, grouped: Any, streamed: bool) -> None:
        read, heard = threading.Event(), list[int]()
        done = threading.Event()

        def serve(pipe: Any) -> None:
            read.wait(PATIENCE_S)
            while (message := pipe.next()) is not None:
                heard.append(message[0])
                if message[0] == CANCEL:
                    done.set()

        grouped(serve)

        async def main() -> None:
            ref = aio.ModuleRef(session, "qa")
            large = bytes(8 * 1024 * 1024)
            work = anext(ref.stream("words", large)) if streamed else ref.call("ask", large)
            task = asyncio.ensure_future(work)
            link = None
            while link is None or not link.choked:
                await asyncio.sleep(0)
                link = session.mux(asyncio.get_running_loop()).ready(session.pool("qa#0"))
            assert loads(session) == [1]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loads(session) == [0]
            read.set()
            assert await asyncio.to_thread(done.wait, PATIENCE_S)

        go(session, main())
        assert heard == [CALL, CANCEL]

    def test_a_stream_whose_pipe_is_refused(self, session: Any, grouped: Any) -> None:
        grouped(lambda pipe: (pipe.next(), pipe.say(REFUSED, 0, {"message": "too old"}), pipe.next()))

        async def main() -> None:
            with pytest.raises(ProtocolError, match="too old"):
                await anext(aio.ModuleRef(session, "qa").stream("words"))
            assert loads(session) == [0]

        go(session, main())

    def test_a_stream_that_is_left(self, session: Any, grouped: Any) -> None:
        grouped(one_item)

        async def main() -> None:
            async for _ in aio.ModuleRef(session, "qa").stream("words"):
                assert loads(session) == [1]
                break
            gc.collect()
            assert loads(session) == [0]

        go(session, main())
